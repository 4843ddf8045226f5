//! Every state of nine real services is built from its facts, read, rendered, and read again.
//!
//! A table counts as exact when three things hold: both databases give one model; both give the same text for every
//! column, constraint, index and sequence; and that text is the one in the facts, apart from what PostgreSQL itself spells
//! in another way when its own words are run again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use cargo_schemadiff::dialect::{Connection, Ddl, Scope, postgres::Postgres as Renderer};
use schemadiff::model::{ObjectKind, ObjectName, Schema};
use schemadiff_tests::{
    engine::Postgres,
    histories::{self, State, reference::RESET},
};

const DDL: Renderer = Renderer::new(150_000);

/// What the server says about every table, line by line: `schema.table` and the line.
const LINES: &str = r"SELECT string_agg(tbl || E'\x1f' || line, E'\x1e') FROM (
  SELECT n.nspname || '.' || c.relname AS tbl, 'column ' || attname || ' ' || format_type(atttypid, atttypmod)
      || CASE WHEN attcollation <> typcollation THEN ' collate ' || (SELECT collname FROM pg_collation WHERE oid = attcollation) ELSE '' END
      || CASE WHEN attgenerated <> '' THEN format(' generated %s ', attgenerated) ELSE '' END || coalesce(' = ' || pg_get_expr(adbin, adrelid), '')
      || CASE WHEN attidentity <> '' THEN format(' identity %s', attidentity) ELSE '' END || CASE WHEN attnotnull THEN ' not null' ELSE '' END
      || coalesce(' -- ' || col_description(c.oid, attnum), '') AS line
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped
    JOIN pg_type t ON t.oid = atttypid LEFT JOIN pg_attrdef ON adrelid = c.oid AND adnum = attnum WHERE relkind IN ('r', 'p')
  UNION ALL SELECT n.nspname || '.' || c.relname, 'constraint ' || conname || ' ' || pg_get_constraintdef(k.oid)
      || coalesce(' -- ' || obj_description(k.oid, 'pg_constraint'), '')
    FROM pg_constraint k JOIN pg_class c ON c.oid = conrelid JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'p') AND contype <> 'n' AND conparentid = 0
  UNION ALL SELECT n.nspname || '.' || c.relname, 'index ' || pg_get_indexdef(indexrelid) || coalesce(' -- ' || obj_description(indexrelid, 'pg_class'), '')
    FROM pg_index JOIN pg_class c ON c.oid = indrelid JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'p')
  UNION ALL SELECT n.nspname || '.' || c.relname, format('table %s%s%s%s', relpersistence, ' by ' || CASE WHEN relkind = 'p' THEN pg_get_partkeydef(c.oid) END,
      ' of ' || inhparent::regclass::text || ' ' || pg_get_expr(relpartbound, c.oid), ' -- ' || obj_description(c.oid, 'pg_class'))
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace LEFT JOIN pg_inherits ON relispartition AND inhrelid = c.oid WHERE relkind IN ('r', 'p')
  UNION ALL SELECT n.nspname || '.' || c.relname, format('sequence %s of %s: %s', s.relname, attname, (q.seqtypid::regtype, seqstart, seqincrement,
      seqmin, seqmax, seqcache, seqcycle)::text)
    FROM pg_sequence q JOIN pg_class s ON s.oid = seqrelid JOIN pg_depend d ON objid = seqrelid AND deptype IN ('a', 'i')
    JOIN pg_class c ON c.oid = refobjid JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute ON attrelid = c.oid AND attnum = refobjsubid
) all_lines WHERE tbl !~ '^(pg_|information_schema)'";

type Lines = BTreeMap<String, BTreeSet<String>>;

async fn lines(connection: &mut Connection) -> Lines {
    let row = connection.query_row(LINES, &[]).await.unwrap().unwrap_or_default();
    let mut lines = Lines::new();
    for pair in row[0].as_deref().unwrap_or_default().split('\u{1e}').filter_map(|l| l.split_once('\u{1f}')) {
        lines.entry(pair.0.to_owned()).or_default().insert(pair.1.to_owned());
    }
    lines
}

/// The same lines, from the facts.
fn expected(state: &State, table: &str) -> BTreeSet<String> {
    let comment = |text: &Option<String>| text.as_ref().map(|t| format!(" -- {t}")).unwrap_or_default();
    let facts = &state.tables[table];
    let by = facts.partkey.as_ref().map(|key| format!(" by {key}")).unwrap_or_default();
    let of = facts.partbound.as_ref().map(|bound| format!(" of {} {bound}", facts.parents[0])).unwrap_or_default();
    let mut lines = BTreeSet::from([format!("table {}{by}{of}{}", facts.persistence, comment(&facts.comment))]);
    for (name, column) in state.columns.get(table).into_iter().flatten() {
        let mut line = format!("column {name} {}", column.ty);
        if let Some(collation) = &column.collation {
            let _ = write!(line, " collate {collation}");
        }
        if let Some(expr) = &column.generated {
            let _ = write!(line, " generated s  = {expr}");
        }
        if let Some(expr) = &column.default {
            let _ = write!(line, " = {expr}");
        }
        if let Some(kind) = &column.identity {
            let _ = write!(line, " identity {kind}");
        }
        let not_null = if column.notnull { " not null" } else { "" };
        lines.insert(format!("{line}{not_null}{}", comment(&column.comment)));
    }
    for (name, constraint) in state.constraints_of(table) {
        lines.insert(format!("constraint {name} {}{}", constraint.def, comment(&constraint.comment)));
    }
    for (_, index) in state.indexes_of(table) {
        lines.insert(format!("index {}{}", index.def, comment(&index.comment)));
    }
    for (key, column, s) in state.sequences_of(table) {
        let name = key.split_once('.').map_or(key, |(_, name)| name);
        let cycle = if s.cycle { 't' } else { 'f' };
        let options = format!("({},{},{},{},{},{},{cycle})", s.ty, s.start, s.inc, s.min, s.max, s.cache);
        lines.insert(format!("sequence {name} of {column}: {options}"));
    }
    lines
}

/// What became of a table.
#[derive(Clone, PartialEq, Eq)]
enum Verdict {
    Exact,
    /// PostgreSQL itself spells the facts in another way when it runs them.
    Respelled,
    /// A sequence that the table owns, and that numbers nothing, is left alone.
    ExactBesides,
    Different(String),
}

async fn run(connection: &mut Connection, statements: Vec<String>) -> Result<(), String> {
    let statements: Vec<_> = statements.into_iter().filter(|s| !s.is_empty()).collect();
    if statements.is_empty() {
        return Ok(());
    }
    connection.run(&[statements.join(";\n")]).await.map_err(|e| e.cause.unwrap_or_default())
}

/// The first difference of two sets of lines.
fn difference(left: &BTreeSet<String>, right: &BTreeSet<String>) -> String {
    let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).next().cloned().unwrap_or_default();
    format!("`{}` became `{}`", only(left, right), only(right, left))
}

fn object_name(key: &str) -> ObjectName {
    let (schema, name) = key.split_once('.').unwrap_or(("public", key));
    ObjectName::in_schema((schema != "public").then_some(schema), name)
}

/// Builds tables from facts in the one database and from the model in the other, and compares.
async fn judge(
    state: &State,
    wanted: &BTreeSet<String>,
    facts: &mut Connection,
    copy: &mut Connection,
) -> BTreeMap<String, Verdict> {
    let mut verdicts = BTreeMap::new();
    let all = state.with_parents(wanted);
    // What is left alone is there in the copy too, for the foreign keys that reference it.
    let (all, left_alone): (BTreeSet<_>, BTreeSet<_>) = all.into_iter().partition(|t| state.unsupported(t).is_none());
    for connection in [&mut *facts, &mut *copy] {
        run(connection, vec![RESET.to_owned()]).await.unwrap();
        run(connection, state.surroundings(&all)).await.unwrap_or_else(|e| panic!("{}: {e}", state.id));
    }
    run(facts, state.create_enums()).await.unwrap();
    let mut failed = |table: &String, why: &str, what: String| {
        verdicts.entry(table.clone()).or_insert_with(|| Verdict::Different(format!("{why}: {what}")));
    };
    for table in state.parents_first(&all) {
        if let Err(e) = run(facts, state.create_table(table)).await {
            failed(table, "cannot be built from the facts", e);
        }
    }
    for table in &left_alone {
        run(facts, state.create_table(table)).await.unwrap();
    }
    for table in &all {
        if let Err(e) = run(facts, state.create_foreign_keys(table)).await {
            failed(table, "cannot be built from the facts", e);
        }
    }
    let original = facts.introspect(&Scope::default()).await.unwrap().schema;
    // An owned sequence that numbers nothing is left alone, as a trigger is, and reported as such.
    let sequences: Vec<_> = original.objects.keys().filter(|key| key.kind == ObjectKind::Sequence).collect();
    let is_left_alone =
        |line: &str| sequences.iter().any(|o| line.starts_with(&format!("sequence {} of ", o.name.name)));
    render(&original, state, &left_alone, copy, &mut failed).await;
    let again = copy.introspect(&Scope::default()).await.unwrap().schema;
    let (mut of_facts, of_copy) = (lines(facts).await, lines(copy).await);
    let nothing = BTreeSet::new();
    for table in wanted.iter().filter(|t| state.unsupported(t).is_none()) {
        let before = of_facts.get(table).map_or(0, BTreeSet::len);
        of_facts.entry(table.clone()).or_default().retain(|line| !is_left_alone(line));
        let (left, right) = (&of_facts[table], of_copy.get(table).unwrap_or(&nothing));
        let mut stated = expected(state, table);
        stated.retain(|line| !is_left_alone(line));
        let name = object_name(table);
        let verdict = if !original.tables.contains_key(&name) {
            Verdict::Different("the model does not hold it".into())
        } else if left != right {
            Verdict::Different(difference(left, right))
        } else if original.tables.get(&name) != again.tables.get(&name) || original.enums != again.enums {
            Verdict::Different("the models differ although the server says the same".into())
        } else if stated != *left {
            Verdict::Respelled
        } else if before > left.len() {
            Verdict::ExactBesides
        } else {
            Verdict::Exact
        };
        verdicts.entry(table.clone()).or_insert(verdict);
    }
    verdicts.retain(|table, _| wanted.contains(table));
    verdicts
}

async fn render(
    schema: &Schema,
    state: &State,
    left_alone: &BTreeSet<String>,
    copy: &mut Connection,
    failed: &mut impl FnMut(&String, &str, String),
) {
    let key = |name: &ObjectName| format!("{}.{}", name.schema.as_deref().unwrap_or("public"), name.name);
    for enumeration in schema.enums.values() {
        run(copy, DDL.create_enum(enumeration)).await.unwrap();
    }
    for table in schema.parents_first() {
        if let Err(e) = run(copy, DDL.create_table(table)).await {
            failed(&key(&table.name), "cannot be rendered", e);
        }
    }
    for table in left_alone {
        run(copy, state.create_table(table)).await.unwrap();
    }
    for table in schema.tables.values() {
        for (name, foreign) in table.foreign_keys.iter().filter(|(_, f)| f.ref_table != table.name) {
            let mut statements = DDL.add_foreign_key(&table.name, name, foreign);
            if foreign.comment.is_some() {
                statements.extend(DDL.comment_on_constraint(&table.name, name, foreign.comment.as_deref()));
            }
            if let Err(e) = run(copy, statements).await {
                failed(&key(&table.name), "cannot be rendered", e);
            }
        }
    }
}

/// Tables of all states, and of all different contents.
#[derive(Default)]
struct Tally {
    states: usize,
    tables: usize,
    exact: usize,
    contents: usize,
    exact_contents: usize,
    respelled: usize,
    besides: usize,
    reasons: BTreeMap<String, usize>,
}

async fn project(name: &str) -> Tally {
    let (first, second) = (Postgres::shared().database(), Postgres::shared().database());
    let mut facts = Connection::open(&first.url).await.unwrap();
    let mut copy = Connection::open(&second.url).await.unwrap();
    let mut known: BTreeMap<(String, String), Verdict> = BTreeMap::new();
    let mut tally = Tally::default();
    for state in histories::states(name) {
        let contents: BTreeMap<_, _> = state.tables.keys().map(|t| (t.clone(), state.content(t))).collect();
        let is_new = |table: &&String| !known.contains_key(&((*table).clone(), contents[*table].clone()));
        let new: BTreeSet<String> = state.tables.keys().filter(is_new).cloned().collect();
        if !new.is_empty() {
            let mut verdicts = judge(&state, &new, &mut facts, &mut copy).await;
            for table in new {
                let unsupported = state.unsupported(&table).map(|why| Verdict::Different(why.to_owned()));
                let verdict = verdicts.remove(&table).or(unsupported).expect("a verdict for every table");
                tally.contents += 1;
                tally.exact_contents += usize::from(!matches!(verdict, Verdict::Different(_)));
                tally.respelled += usize::from(verdict == Verdict::Respelled);
                tally.besides += usize::from(verdict == Verdict::ExactBesides);
                known.insert((table.clone(), contents[&table].clone()), verdict);
            }
        }
        tally.states += 1;
        for (table, content) in contents {
            tally.tables += 1;
            match &known[&(table.clone(), content)] {
                Verdict::Different(why) => *tally.reasons.entry(format!("{table}: {why}")).or_default() += 1,
                _ => tally.exact += 1,
            }
        }
    }
    tally
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.states += other.states;
        self.tables += other.tables;
        self.exact += other.exact;
        self.contents += other.contents;
        self.exact_contents += other.exact_contents;
        self.respelled += other.respelled;
        self.besides += other.besides;
        self.reasons.extend(other.reasons);
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:4} states, {:5} tables {:6.2} % exact; {:4} different tables {:6.2} % exact, \
             of these {} spelled anew by the server, {} beside a sequence that is left alone",
            self.states,
            self.tables,
            percent(self.exact, self.tables),
            self.contents,
            percent(self.exact_contents, self.contents),
            self.respelled,
            self.besides
        )
    }
}

fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole as f64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_table_of_real_services_round_trips() {
    let running: Vec<_> = histories::projects()
        .into_iter()
        .map(|name| (name.clone(), tokio::spawn(async move { project(&name).await })))
        .collect();
    let (mut all, mut report, mut missed) = (Tally::default(), String::new(), Vec::new());
    for (name, tally) in running {
        let tally = tally.await.unwrap();
        let _ = writeln!(report, "{name:16} {tally}");
        for (reason, times) in &tally.reasons {
            let _ = writeln!(report, "    {reason} ({times} states)");
        }
        // Every table of these services is in the model. One that is not, or not exactly, is named with the reason.
        missed.extend(tally.reasons.keys().map(|reason| format!("{name}: {reason}")));
        all.add(tally);
    }
    println!("{report}\n{:16} {all}", "all");
    assert!(all.exact * 100 > all.tables * 95, "{all}");
    assert_eq!(all.respelled, 0, "{all}");
    assert!(missed.is_empty(), "{missed:#?}");
}

/// The statements that others plan on build every state of a project as a whole.
#[tokio::test]
async fn a_whole_state_can_be_built() {
    for name in ["docs.rs", "crates-io", "appflowy-cloud"] {
        let database = Postgres::shared().database();
        let state = histories::states(name).pop().unwrap();
        database.execute(&state.sql()).await;
        let mut connection = Connection::open(&database.url).await.unwrap();
        let schema = connection.introspect(&Scope::default()).await.unwrap().schema;
        let held = state.tables.keys().filter(|table| state.unsupported(table).is_none()).count();
        assert_eq!(schema.tables.len(), held, "{name}");
    }
}
