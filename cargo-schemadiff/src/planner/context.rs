//! What all operations share while a plan is being made.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use schemadiff::{
    model::{Column, Delta, Index, IndexPart, ObjectName, Schema, SortOrder, Table, hex},
    plan::{Assignment, Envelope, Hazard, KeyColumn},
};
use sha2::{Digest, Sha256};

use super::{
    PlanRequest,
    proto::{Fill, Proto, Work, rank, tag},
    shield,
};
use crate::{
    Error, Kind, Result,
    dialect::{Capabilities, CompareSpec, Ddl, SyncSpec},
    diff::Change,
    hazard,
};

/// Tables up to this size may be rewritten or built under a lock: it takes milliseconds.
pub(super) const SMALL: u64 = 10_000;

/// A fill that waits for the others of its table.
struct PendingFill {
    fill: Fill,
    cause: String,
}

/// A column whose values a function of the application gives.
#[derive(Debug, Clone)]
pub(super) struct GivenFill {
    /// The function.
    pub by: String,
    /// What it is given.
    pub reads: Vec<KeyColumn>,
    /// The column, with its type.
    pub gives: KeyColumn,
    /// The column, with the call in place of an expression.
    pub assignment: Assignment,
    /// The trigger that looks after it.
    pub sync: String,
}

/// How a column that changes its type gets there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Retype {
    /// One ALTER, in contract.
    InPlace,
    /// Through a synced column of the first name, swapped in contract. Where the retiring version has views they are swapped
    /// before that: the old column then lives on under the second name, which only the view and the trigger know.
    Shadow(String, Option<String>),
}

/// The plan in the making.
pub(super) struct Context<'a> {
    pub request: &'a PlanRequest<'a>,
    pub ddl: &'a dyn Ddl,
    pub caps: Capabilities,
    /// The managed part of the current schema, with tables under their desired names.
    pub base: Schema,
    pub protos: Vec<Proto>,
    /// Sync triggers of the plan by name, for rebuilds that must make them again.
    pub syncs: BTreeMap<String, SyncSpec>,
    /// Columns whose type changes, by table and name.
    pub retypes: BTreeMap<(ObjectName, String), Retype>,
    /// Foreign keys that stay, but go and come back around a change of type.
    pub parted: BTreeSet<(ObjectName, String)>,
    /// Indexes and constraints that get another name, by table and name.
    pub renames: BTreeMap<(ObjectName, String), String>,
    /// Tables whose old name stays as a view for everybody.
    pub viewed: BTreeSet<ObjectName>,
    /// The database schemas with the retiring version's views; empty where it has none.
    pub views: Vec<String>,
    /// Tables with such views.
    pub shields: BTreeSet<ObjectName>,
    /// Whether something in the plan can be done in two ways.
    pub chosen: bool,
    fills: BTreeMap<ObjectName, Vec<PendingFill>>,
    /// By table and call.
    given: BTreeMap<(ObjectName, String), Vec<GivenFill>>,
    /// The change that is being planned, in words.
    pub cause: String,
}

impl<'a> Context<'a> {
    pub fn new(request: &'a PlanRequest<'a>, base: Schema) -> Self {
        Self {
            request,
            ddl: request.ddl,
            caps: request.ddl.capabilities(),
            base,
            protos: Vec::new(),
            syncs: BTreeMap::new(),
            retypes: BTreeMap::new(),
            renames: BTreeMap::new(),
            parted: BTreeSet::new(),
            viewed: BTreeSet::new(),
            views: shield::schemas(request),
            shields: BTreeSet::new(),
            chosen: false,
            fills: BTreeMap::new(),
            given: BTreeMap::new(),
            cause: String::new(),
        }
    }

    /// Adds a step for the change that is being planned. A table must exist under its new name before anything else.
    pub fn push(&mut self, mut proto: Proto) {
        proto.cause.clone_from(&self.cause);
        let waits_for = tag::table(proto.table());
        // A column that is renamed in place waits for the view on its table to go, and the rest of the table for the column.
        // So does a sequence that is called after the table.
        let before_columns = [tag::unviewed(proto.table()), tag::step(&format!("rename-sequence {}", proto.table()))];
        if before_columns.iter().any(|tag| proto.tags.contains(tag)) {
            proto.after.push(tag::step(&format!("rename-table {}", proto.table())));
        } else if !proto.tags.contains(&waits_for) && !proto.tags.contains(&tag::vacant(proto.table())) {
            proto.after.push(waits_for);
        }
        if proto.tags.iter().any(|tag| tag.starts_with("column ") || tag.starts_with("table ")) {
            proto.tags.push(tag::ADDED.to_owned());
        }
        self.protos.push(proto);
    }

    /// Whether a difference is one of what the plan is about: objects that are left alone are made again where they would stand
    /// in the way, but no state speaks of them.
    pub fn speaks_of(&self, delta: &Delta) -> bool {
        !self.request.options.objects_left_alone || !matches!(delta, Delta::Object { .. })
    }

    /// The table before the plan, under its desired name.
    pub fn before(&self, table: &ObjectName) -> Option<&Table> {
        self.base.table(table)
    }

    /// The table after the plan.
    pub fn after(&self, table: &ObjectName) -> Option<&'a Table> {
        self.request.desired.table(table)
    }

    /// The table before and after the plan, as far as it is there; a partition with the columns that it has from its parent.
    pub fn whole(&self, table: &ObjectName) -> impl Iterator<Item = Cow<'_, Table>> {
        let before = self.before(table).map(|t| self.base.whole(t));
        before.into_iter().chain(self.after(table).map(|t| self.request.desired.whole(t)))
    }

    /// Estimated rows; `None` when not known.
    pub fn rows(&self, table: &ObjectName) -> Option<u64> {
        let old = self.request.hints.renamed_tables.get(table);
        let sizes = self.request.sizes;
        sizes.get(table).or_else(|| old.and_then(|old| sizes.get(old))).map(|size| size.rows)
    }

    /// Whether the table is known to be so small that a lock for its whole length is short.
    pub fn is_small(&self, table: &ObjectName) -> bool {
        self.rows(table).is_some_and(|rows| rows <= SMALL)
    }

    /// Whether the column is there before the plan and not after it.
    pub fn goes(&self, table: &ObjectName, column: &str) -> bool {
        let has = |t: Option<&Table>| t.is_some_and(|t| t.column(column).is_some());
        has(self.before(table)) && !has(self.after(table))
    }

    /// Whether the column gets another name.
    pub fn is_renamed(&self, table: &ObjectName, column: &str) -> bool {
        self.request.hints.renamed_columns.iter().any(|((of, _), old)| of == table && old == column)
    }

    /// A step that is one ALTER where the engine has it, and a rebuild of the table where it has not.
    pub fn in_place(&self, proto: Proto, sql: Vec<String>, undo: Vec<String>) -> Proto {
        if self.caps.alter_constraints { proto.sql(sql).undo(undo) } else { self.rebuild(proto, Vec::new()) }
    }

    /// A step that is a rebuild; `copy` says how columns get their values where the name does not say it.
    pub fn rebuild(&self, proto: Proto, copy: Vec<(String, String)>) -> Proto {
        proto.rebuild(copy, Vec::new())
    }

    /// Says how rows that exist get a value. `sync` is the trigger that fills the column for writers, `compared` what the
    /// column should hold in every row.
    pub fn fill(
        &mut self,
        table: &ObjectName,
        column: &Column,
        expr: &str,
        sync: Option<String>,
        compared: Option<CompareSpec>,
    ) {
        let ident = self.ddl.ident(&column.name);
        let pending = match column.nullable {
            true => format!("{ident} IS NULL AND {}", self.has_value(table, expr)),
            false => format!("{ident} IS NULL"),
        };
        let value = self.ddl.value_of(expr, self.request.desired.base_type(&column.ty));
        let assignment = Assignment { column: column.name.clone(), expr: value, not_null: !column.nullable };
        let fill = Fill { assignment, expr: expr.to_owned(), pending, sync, compared };
        let pending = PendingFill { fill, cause: self.cause.clone() };
        self.fills.entry(table.clone()).or_default().push(pending);
    }

    /// Whether the expression is not NULL: asked of its columns where those tell, so that it is not worked out twice for each row.
    fn has_value(&self, table: &ObjectName, expr: &str) -> String {
        let columns = self.before(table).into_iter().flat_map(|t| &t.columns);
        let columns: Vec<_> = columns.map(|c| (c.name.as_str(), self.base.base_type(&c.ty))).collect();
        match self.ddl.null_with(expr, &columns) {
            Some(with) if !with.is_empty() => {
                let some = with.iter().map(|column| format!("{} IS NOT NULL", self.ddl.ident(column)));
                some.collect::<Vec<_>>().join(" AND ")
            }
            _ => format!("({expr}) IS NOT NULL"),
        }
    }

    /// The columns that no backfill of this migration writes, and that can be assigned.
    pub fn restored(&self, table: &ObjectName) -> Vec<String> {
        let (before, after) = (self.before(table), self.after(table));
        let filled = |c: &Column| c.nullable && after.and_then(|t| t.column(&c.name)).is_some_and(|c| !c.nullable);
        let columns = before.iter().flat_map(|t| &t.columns);
        columns.filter(|c| c.generated.is_none() && !filled(c)).map(|c| c.name.clone()).collect()
    }

    /// Says that a function of the application gives rows their value.
    pub fn fill_with(&mut self, table: &ObjectName, call: &str, fill: GivenFill) {
        self.given.entry((table.clone(), call.to_owned())).or_default().push(fill);
    }

    /// Two backfills for each call: for the rows that exist, and, when nobody is left who does not know the columns, for
    /// those that were written without them.
    fn push_given(&mut self) {
        for ((table, call), fills) in std::mem::take(&mut self.given) {
            let columns: Vec<_> = fills.iter().map(|f| f.gives.name.clone()).collect();
            let list = columns.iter().map(|c| format!("`{table}.{c}`")).collect::<Vec<_>>().join(", ");
            let of = |what: &str| format!("{what}-{}", slug(&[&table.to_string(), &columns.join("-")]));
            self.cause = format!("{list} by `{call}` of the application");
            let make = |slug: String, title: String| {
                let mut proto = Proto::new(rank::BACKFILL, slug, title, &table)
                    .envelope(Envelope::Batches)
                    .locks(self.ddl.locks("backfill", &table, &[]))
                    .hazard([hazard::needs_application::hazard(&fills[0].by)])
                    .scans();
                proto.work = Work::Given(fills.clone());
                proto
            };
            let filled: Vec<_> = fills.iter().map(|f| (f.sync.clone(), f.gives.name.clone())).collect();
            let mut first = make(of("backfill"), format!("let the application fill {list} for the rows that exist"))
                .effect(on(&table, move |t| {
                    for (sync, column) in &filled {
                        t.syncs.get_mut(sync).into_iter().for_each(|sync| sync.filled.push(column.clone()));
                    }
                }));
            let mut last =
                make(of("backfill-last"), format!("let the application fill {list} where it was left empty"));
            for fill in &fills {
                let column = &fill.gives.name;
                first = first.tag(tag::first_filled(&table, column)).after(tag::column(&table, column));
                if !fill.assignment.not_null {
                    first = first.tag(tag::filled(&table, column));
                }
                last = last
                    .tag(tag::backfilled(&table, column))
                    .after(tag::step(&super::ops::end_slug(&table, column)))
                    .tags(fill.reads.iter().map(|read| tag::unused(&table, &read.name)));
            }
            self.push(first);
            self.push(last);
        }
    }

    /// One backfill a table, whatever it fills: each pass over a table costs the same.
    pub fn push_backfills(&mut self) {
        self.push_given();
        for (table, fills) in std::mem::take(&mut self.fills) {
            let columns: Vec<_> = fills.iter().map(|f| f.fill.assignment.column.clone()).collect();
            let list = columns.iter().map(|c| format!("`{table}.{c}`")).collect::<Vec<_>>().join(", ");
            let slug = format!("backfill-{}", slug(&[&table.to_string(), &columns.join("-")]));
            let mut causes: Vec<_> = fills.iter().map(|f| f.cause.clone()).collect();
            causes.dedup();
            self.cause = causes.join("; ");
            let filled: Vec<_> =
                fills.iter().filter_map(|f| Some((f.fill.sync.clone()?, f.fill.assignment.column.clone()))).collect();
            let mut proto = Proto::new(rank::BACKFILL, slug, format!("fill {list} for the rows that exist"), &table)
                .envelope(Envelope::Batches)
                .locks(self.ddl.locks("backfill", &table, &[]))
                .scans()
                .effect(on(&table, move |t| {
                    for (sync, column) in &filled {
                        if let Some(sync) = t.syncs.get_mut(sync).filter(|s| !s.filled.contains(column)) {
                            sync.filled.push(column.clone());
                            sync.filled.sort();
                        }
                    }
                }));
            for column in &columns {
                let tags = [tag::backfilled(&table, column), tag::filled(&table, column)];
                proto = proto.tags(tags).after(tag::column(&table, column));
            }
            proto.work = Work::Backfill(fills.into_iter().map(|f| f.fill).collect());
            self.push(proto);
        }
    }

    /// The key a backfill walks along and a trigger finds its row by.
    pub fn key(&self, table: &ObjectName) -> Result<Vec<KeyColumn>> {
        let Some(t) = self.before(table) else { return Ok(Vec::new()) };
        let not_null = |columns: &[String]| columns.iter().all(|c| t.column(c).is_some_and(|c| !c.nullable));
        let primary = t.primary_key.iter().map(|key| &key.columns);
        let primary = primary.cloned();
        let unique = t.uniques.values().map(|unique| unique.columns.clone());
        let indexed = t.indexes.values().filter_map(walkable);
        match primary.chain(unique).chain(indexed).find(|columns| not_null(columns)) {
            Some(columns) => {
                let types = columns.iter().filter_map(|c| t.column(c));
                Ok(types.map(|c| KeyColumn { name: c.name.clone(), ty: c.ty.clone() }).collect())
            }
            // Places of rows in several partitions are not told apart by the place.
            None if self.ddl.has_row_identifier() && t.partition_by.is_none() => Ok(Vec::new()),
            None => Err(Error::new(
                Kind::Refused,
                "SD0608",
                format!("the rows of `{table}` cannot be filled in batches: no key tells them apart"),
            )
            .cause("a backfill walks along a primary key or a unique constraint on NOT NULL columns")
            .help(format!("give `{table}` a primary key in a migration before this one"))),
        }
    }

    /// A hazard when things outside of the model hang on the table, or name it and what changes of it: the column, or all.
    pub fn opaque_hazard(&self, table: &ObjectName, column: Option<&str>) -> Option<Hazard> {
        let is_concerned = |o: &&schemadiff::model::Opaque| {
            let names = |sql: &str| {
                names_word(sql, &table.name) && column.is_none_or(|column| names_word(sql, column) || sql.contains('*'))
            };
            o.table.as_ref() == Some(table) || o.definition.as_deref().is_some_and(names)
        };
        let concerned = self.request.current.opaque.iter().filter(is_concerned);
        let names: Vec<_> = concerned.map(|o| format!("{} `{}`", o.kind, o.name)).collect();
        let what = column.map_or_else(|| format!("table `{table}`"), |column| format!("`{table}.{column}`"));
        (!names.is_empty()).then(|| hazard::opaque_dependents::hazard(&what, &names.join(", ")))
    }
}

/// Whether the text names something of that name, in whatever case. A name of several words is looked for as it stands.
pub(super) fn names_word(sql: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    sql.split(|c| !is_word(c)).any(|word| word.eq_ignore_ascii_case(name))
        || (!name.chars().all(is_word) && sql.contains(name))
}

/// The columns of a unique index along which rows can be read in the order that ORDER BY gives.
fn walkable(index: &Index) -> Option<Vec<String>> {
    let plain = index.unique && !index.invalid && index.predicate.is_none();
    let ordered = index.method.as_deref().is_none_or(|method| method == "btree");
    let part = |part: &IndexPart| {
        let as_the_column = part.order == SortOrder::default() && part.nulls.is_none() && part.opclass.is_none();
        part.column.clone().filter(|_| as_the_column && part.collation.is_none())
    };
    if plain && ordered { index.parts.iter().map(part).collect() } else { None }
}

/// An effect on one table.
pub(super) fn on(table: &ObjectName, change: impl Fn(&mut Table) + 'static) -> impl Fn(&mut Schema) + 'static {
    let table = table.clone();
    move |schema| {
        if let Some(table) = schema.tables.get_mut(&table) {
            change(table);
        }
    }
}

/// A name that stands in for `name` until that is free, within every engine's length limit.
pub(super) fn temporary(name: &str) -> String {
    const LIMIT: usize = 57;
    if name.len() <= LIMIT {
        return format!("{name}__new");
    }
    let hash = hex(&Sha256::digest(name.as_bytes())[..4]);
    let kept = &name[..name.floor_char_boundary(48)];
    format!("{kept}_{hash}__new")
}

/// A private name for a column that only the retiring version's view still shows.
pub(super) fn retained(name: &str) -> String {
    let new = temporary(name);
    format!("{}__old", new.strip_suffix("__new").unwrap_or(&new))
}

/// Part of a step's id: letters, digits, `_`, `-` and `.`.
pub(super) fn slug(parts: &[&str]) -> String {
    let joined = parts.join("-");
    joined.chars().map(|c| if c.is_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '-' }).collect()
}

/// What two schemas differ in, for people.
pub(crate) fn describe(deltas: &[Delta]) -> String {
    deltas.iter().map(|delta| serde_json::to_string(delta).unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The change in words, as steps quote it.
pub(super) fn cause(change: &Change) -> String {
    change.to_string()
}

impl Context<'_> {
    /// A column more changes what `SELECT *` returns, which cached statements of old code do not survive.
    pub fn more_columns_hazard(&self, table: &ObjectName) -> Hazard {
        hazard::result_shape::gets(table, self.caps.cached_star)
    }

    /// One less likewise, for new code. A version that is retired by then has no statements.
    pub fn fewer_columns_hazard(&self, table: &ObjectName) -> Hazard {
        hazard::result_shape::loses(table, self.caps.cached_star)
    }
}
