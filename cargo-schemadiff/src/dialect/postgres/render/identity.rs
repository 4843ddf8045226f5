//! Identity columns, serial, and the sequences behind them.

use schemadiff::model::{Column, Identity, IdentityKind, ObjectName};

use super::{
    Postgres,
    names::{default_name, ident, literal, qualified, temporary},
    sequence::Altered,
    table::{alter, in_parentheses},
    view::block,
};
use crate::dialect::Numbering;

impl Numbering for Postgres {
    fn alter_identity(&self, table: &ObjectName, before: &Column, after: &Column) -> Vec<String> {
        change(table, before, after)
    }

    fn begin_numbers(&self, table: &ObjectName, column: &Column) -> Vec<String> {
        let sequence = sequence_name(table, column);
        vec![
            create(&sequence, column),
            as_its_table(table, &sequence),
            alter_column(table, column, &format!("SET DEFAULT {}", nextval(&sequence))),
            own_sequence(table, column),
        ]
    }

    fn owned_sequence(&self, table: &ObjectName, column: &Column) -> Option<ObjectName> {
        column.identity.as_ref().map(|_| sequence_name(table, column))
    }

    fn next_number(&self, table: &ObjectName, column: &Column) -> Option<String> {
        Some(nextval(&sequence_name(table, column)))
    }

    fn follow_type(&self, table: &ObjectName, column: &Column) -> Vec<String> {
        follow_type(table, column).into_iter().collect()
    }

    fn adopt_sequence(&self, table: &ObjectName, column: &Column) -> Vec<String> {
        adopt(table, column)
    }

    fn hand_over_numbers(&self, table: &ObjectName, column: &Column, shadow: &str) -> (Vec<String>, Vec<String>) {
        hand_over(table, column, shadow)
    }

    fn go_on_behind(&self, sequence: &ObjectName, table: &ObjectName, column: &Column) -> Vec<String> {
        go_on_behind(sequence, table, column).into_iter().collect()
    }
}

/// Gives a sequence the owner of its table, and whoever may insert there the right to take numbers.
fn as_its_table(table: &ObjectName, sequence: &ObjectName) -> String {
    block(&format!(
        "DECLARE
  command text;
BEGIN
  FOR command IN
    SELECT pg_catalog.format('ALTER SEQUENCE %s OWNER TO %I', {sequence}, pg_catalog.pg_get_userbyid(relowner))
      FROM pg_catalog.pg_class WHERE oid = {table}::pg_catalog.regclass AND relowner <> current_user::regrole
    UNION ALL
    SELECT pg_catalog.format('GRANT USAGE ON SEQUENCE %s TO %s', {sequence},
        CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(grantee)) END)
      FROM (SELECT relacl AS acl FROM pg_catalog.pg_class WHERE oid = {table}::pg_catalog.regclass
          UNION ALL SELECT attacl FROM pg_catalog.pg_attribute WHERE attrelid = {table}::pg_catalog.regclass) AS rights,
        pg_catalog.aclexplode(rights.acl) AS granted
      WHERE privilege_type = 'INSERT'
  LOOP
    EXECUTE command;
  END LOOP;
END
",
        sequence = literal(&qualified(sequence)),
        table = literal(&qualified(table)),
    ))
}

/// The owned sequence: the one that is named, or the server's choice.
pub(super) fn sequence_name(table: &ObjectName, column: &Column) -> ObjectName {
    let named = column.identity.as_ref().and_then(|identity| identity.sequence.as_deref());
    match named {
        // The name may say its schema; most sequences live in their table's.
        Some(name) if name.contains('.') => name.parse().unwrap_or_else(|_| table.sibling(name)),
        Some(name) => table.sibling(name),
        None => table.sibling(default_name(&table.name, &[&column.name], "seq")),
    }
}

/// The default of a serial column.
pub(super) fn nextval(sequence: &ObjectName) -> String {
    format!("nextval({}::regclass)", literal(&qualified(sequence)))
}

fn options(column: &Column) -> String {
    let given = column.identity.as_ref().and_then(|identity| identity.options.as_deref());
    given.map(|text| format!(" {text}")).unwrap_or_default()
}

fn is_sequence_type(ty: &str) -> bool {
    matches!(ty, "smallint" | "integer" | "bigint")
}

/// The type that the sequence counts in. `AS` in the options is for one that is not the column's.
fn counts_in(column: &Column, options: &str) -> String {
    let follows = is_sequence_type(&column.ty) && !options.starts_with(" AS ");
    if follows { format!(" AS {}", column.ty) } else { String::new() }
}

fn create(name: &ObjectName, column: &Column) -> String {
    let options = options(column);
    format!("CREATE SEQUENCE {}{}{options}", qualified(name), counts_in(column, &options))
}

/// The sequence of a serial column, before its table exists.
pub(super) fn create_sequence(table: &ObjectName, column: &Column) -> String {
    create(&sequence_name(table, column), column)
}

/// Ties the sequence to its column.
pub(super) fn own_sequence(table: &ObjectName, column: &Column) -> String {
    let sequence = qualified(&sequence_name(table, column));
    format!("ALTER SEQUENCE {sequence} OWNED BY {}.{}", qualified(table), ident(&column.name))
}

/// Makes a sequence that is there the one of a serial column. Its position stays.
fn adopt(table: &ObjectName, column: &Column) -> Vec<String> {
    let sequence = sequence_name(table, column);
    let ty = Some(column.ty.as_str()).filter(|ty| is_sequence_type(ty));
    let (name, of) = (qualified(&sequence), (qualified(table), ident(&column.name)));
    let altered = Altered { sequence: &name, ty, column: Some((&of.0, &of.1)) };
    // What it was set to is not known here.
    let mut sql =
        vec![altered.statement("MINVALUE -9223372036854775808 MAXVALUE 9223372036854775807", &options(column))];
    sql.push(alter_column(table, column, &format!("SET DEFAULT {}", nextval(&sequence))));
    sql.push(own_sequence(table, column));
    sql
}

/// See [`Numbering::hand_over_numbers`]. `column` is as it shall be. The sequence of an identity column goes with it, so that
/// the stand-in counts on from a new one; a serial column's sequence is a thing of its own.
fn hand_over(table: &ObjectName, column: &Column, shadow: &str) -> (Vec<String>, Vec<String>) {
    let Some(identity) = &column.identity else { return (Vec::new(), Vec::new()) };
    let sequence = sequence_name(table, column);
    if identity.kind == IdentityKind::Serial {
        let mut taken = follow_type(table, column).into_iter().collect::<Vec<_>>();
        taken.push(alter_column(table, column, &format!("SET DEFAULT {}", nextval(&sequence))));
        taken.push(own_sequence(table, column));
        return (vec![format!("ALTER SEQUENCE {} OWNED BY NONE", qualified(&sequence))], taken);
    }
    let interim = sequence.sibling(temporary(&sequence.name));
    let stand_in = Column { name: shadow.to_owned(), ..column.clone() };
    let clause = clause_with(identity, &format!("SEQUENCE NAME {}", qualified(&interim)), &options(column));
    let handed = vec![
        alter_column(table, &stand_in, &format!("ADD {clause}")),
        format!(
            "SELECT pg_catalog.setval({}, last_value, is_called) FROM {}",
            literal(&qualified(&interim)),
            qualified(&sequence)
        ),
    ];
    (handed, vec![format!("ALTER SEQUENCE {} RENAME TO {}", qualified(&interim), ident(&sequence.name))])
}

/// See [`Numbering::go_on_behind`]. A sequence that counts down, or is too small, is left as it is.
fn go_on_behind(sequence: &ObjectName, table: &ObjectName, column: &Column) -> Option<String> {
    let (name, quoted) = (literal(&qualified(sequence)), qualified(sequence));
    is_sequence_type(&column.ty).then(|| {
        format!(
            "SELECT pg_catalog.setval({name}, q.seqstart + (top.value - q.seqstart + q.seqincrement - 1) / q.seqincrement * q.seqincrement) \
             FROM (SELECT CAST(max({}) AS bigint) AS value FROM {}) AS top, {quoted} AS at, pg_catalog.pg_sequence AS q \
             WHERE q.seqrelid = CAST({name} AS pg_catalog.regclass) AND q.seqincrement > 0 AND top.value BETWEEN at.last_value AND q.seqmax - q.seqincrement",
            ident(&column.name),
            qualified(table)
        )
    })
}

/// The sequence of a serial column counts in a type of its own, which does not follow the column's: a `bigint` column would
/// run out of `integer` numbers. Unless its options say otherwise. The sequence of an identity column follows by itself.
fn follow_type(table: &ObjectName, column: &Column) -> Option<String> {
    let identity = column.identity.as_ref()?;
    let said = identity.options.as_deref().and_then(|options| options.strip_prefix("AS "));
    let ty = said.map_or(column.ty.as_str(), |typed| typed.split(' ').next().unwrap_or(typed));
    let follows = identity.kind == IdentityKind::Serial && is_sequence_type(ty);
    follows.then(|| format!("ALTER SEQUENCE {} AS {ty}", qualified(&sequence_name(table, column))))
}

fn kind_words(kind: IdentityKind) -> &'static str {
    match kind {
        IdentityKind::Always => "ALWAYS",
        _ => "BY DEFAULT",
    }
}

/// `GENERATED .. AS IDENTITY (..)`.
pub(super) fn clause(table: &ObjectName, column: &Column) -> String {
    let Some(identity) = &column.identity else {
        return String::new();
    };
    let name = match &identity.sequence {
        Some(_) => format!("SEQUENCE NAME {}", qualified(&sequence_name(table, column))),
        None => String::new(),
    };
    clause_with(identity, &name, &options(column))
}

fn clause_with(identity: &Identity, sequence: &str, options: &str) -> String {
    let inside = format!("{sequence}{options}");
    let inside = if inside.is_empty() { String::new() } else { format!(" ({})", inside.trim()) };
    format!("GENERATED {} AS IDENTITY{inside}", kind_words(identity.kind))
}

fn alter_column(table: &ObjectName, column: &Column, what: &str) -> String {
    alter(table, &format!("ALTER COLUMN {} {what}", ident(&column.name)))
}

/// From, to and between the forms of numbering; the next number stays the next number.
///
/// The table is locked first and at once with the strongest lock: a lock that is raised later can deadlock.
fn change(table: &ObjectName, before: &Column, after: &Column) -> Vec<String> {
    let serial = |column: &Column| column.identity.as_ref().is_some_and(|i| i.kind == IdentityKind::Serial);
    let lock = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", qualified(table));
    let work = match (&before.identity, &after.identity) {
        (None, None) => return Vec::new(),
        (None, Some(_)) => from_plain(table, before, after),
        (Some(_), None) => to_plain(table, before, after),
        (Some(_), Some(_)) if serial(before) != serial(after) => convert(table, before, after),
        (Some(old), Some(new)) => adjust(table, before, after, old, new),
    };
    // Another name for the sequence is the sequence's own matter.
    let only_named = match (&before.identity, &after.identity) {
        (Some(old), Some(new)) => old.kind == new.kind && old.options == new.options && before.ty == after.ty,
        _ => false,
    };
    if work.is_empty() || only_named { work } else { [lock].into_iter().chain(work).collect() }
}

fn from_plain(table: &ObjectName, before: &Column, after: &Column) -> Vec<String> {
    let sequence = sequence_name(table, after);
    let mut work = Vec::new();
    if before.default.is_some() {
        work.push(alter_column(table, after, "DROP DEFAULT"));
    }
    work.extend(number(table, after, &sequence));
    work
}

/// Gives a plain column the form that `after` says, on a new sequence of that name.
fn number(table: &ObjectName, after: &Column, sequence: &ObjectName) -> Vec<String> {
    let Some(identity) = &after.identity else {
        return Vec::new();
    };
    if identity.kind == IdentityKind::Serial {
        let owner = format!("{}.{}", qualified(table), ident(&after.name));
        vec![
            create(sequence, after),
            alter_column(table, after, &format!("SET DEFAULT {}", nextval(sequence))),
            format!("ALTER SEQUENCE {} OWNED BY {owner}", qualified(sequence)),
        ]
    } else {
        let clause = clause_with(identity, &format!("SEQUENCE NAME {}", qualified(sequence)), &options(after));
        vec![alter_column(table, after, &format!("ADD {clause}"))]
    }
}

fn to_plain(table: &ObjectName, before: &Column, after: &Column) -> Vec<String> {
    let mut work = forget(table, before);
    if let Some(default) = &after.default {
        work.push(alter_column(table, after, &format!("SET DEFAULT {}", in_parentheses(default))));
    }
    work
}

/// Ends the numbering; the sequence goes.
fn forget(table: &ObjectName, before: &Column) -> Vec<String> {
    if before.identity.as_ref().is_some_and(|i| i.kind == IdentityKind::Serial) {
        vec![
            alter_column(table, before, "DROP DEFAULT"),
            format!("DROP SEQUENCE {}", qualified(&sequence_name(table, before))),
        ]
    } else {
        vec![alter_column(table, before, "DROP IDENTITY")]
    }
}

/// Serial to identity and back. The new sequence has another name until the old one is gone, and takes its position.
fn convert(table: &ObjectName, before: &Column, after: &Column) -> Vec<String> {
    let (old, new) = (sequence_name(table, before), sequence_name(table, after));
    let interim = new.sibling(temporary(&new.name));
    let was_serial = before.identity.as_ref().is_some_and(|i| i.kind == IdentityKind::Serial);
    let position = format!(
        "SELECT pg_catalog.setval({}, last_value, is_called) FROM {}",
        literal(&qualified(&interim)),
        qualified(&old)
    );
    let rename = format!("ALTER SEQUENCE {} RENAME TO {}", qualified(&interim), ident(&new.name));
    let mut work = Vec::new();
    if was_serial {
        work.push(alter_column(table, before, "DROP DEFAULT"));
        work.push(format!("ALTER SEQUENCE {} OWNED BY NONE", qualified(&old)));
        work.extend(number(table, after, &interim));
        work.push(position);
        work.push(format!("DROP SEQUENCE {}", qualified(&old)));
        work.push(rename);
    } else {
        work.push(create(&interim, after));
        work.push(position);
        work.push(alter_column(table, before, "DROP IDENTITY"));
        work.push(rename);
        work.push(alter_column(table, after, &format!("SET DEFAULT {}", nextval(&new))));
        let owner = format!("{}.{}", qualified(table), ident(&after.name));
        work.push(format!("ALTER SEQUENCE {} OWNED BY {owner}", qualified(&new)));
    }
    work
}

/// The same form with other words, another name or other options.
fn adjust(table: &ObjectName, before: &Column, after: &Column, old: &Identity, new: &Identity) -> Vec<String> {
    let mut work = Vec::new();
    let (from, to) = (sequence_name(table, before), sequence_name(table, after));
    if from != to {
        work.push(format!("ALTER SEQUENCE {} RENAME TO {}", qualified(&from), ident(&to.name)));
    }
    if old.kind != new.kind {
        work.push(alter_column(table, after, &format!("SET GENERATED {}", kind_words(new.kind))));
    }
    if old.options != new.options {
        // What it counts in follows the column's type, unless the options say otherwise.
        let ty = Some(after.ty.as_str()).filter(|ty| is_sequence_type(ty));
        let (name, of) = (qualified(&to), (qualified(table), ident(&after.name)));
        let altered = Altered { sequence: &name, ty, column: Some((&of.0, &of.1)) };
        let [from, to] = [old, new].map(|identity| identity.options.as_deref().unwrap_or_default());
        work.push(altered.statement(from, to));
    }
    work
}
