//! What the derive puts into the link section, read back by the test program from itself.

use schemadiff::{
    ColumnType, Table,
    artifact::{IdentityDecl, TableDecl, own_tables},
    model::{Deferrable, FkAction, NullsOrder, SortOrder},
};

#[derive(ColumnType)]
struct OrgId(#[allow(dead_code)] i64);

#[derive(ColumnType)]
struct Wrapper<T>(#[allow(dead_code)] T);

type Email = String;

#[derive(ColumnType)]
#[column_type(name = "mood", rename_all = "snake_case", renamed_from = "app.temper")]
#[allow(dead_code)]
enum Mood {
    VeryHappy,
    #[column_type(renamed_from = "un\"happy")]
    Sad,
    #[column_type(rename = "it's \"complicated\"")]
    Complicated,
}

#[derive(ColumnType)]
#[repr(i16)]
#[allow(dead_code)]
enum Level {
    Low = 1,
}

#[derive(Table)]
#[table(name = "orgs", schema = "app", comment = "customers' \"orgs\"\n\\second line")]
#[allow(dead_code)]
struct Org {
    #[column(primary_key, identity = "always")]
    id: OrgId,
    name: String,
}

// An inherent constant and function of a field's name must not get in the derive's way.
impl Org {
    #[allow(dead_code, non_upper_case_globals)]
    const name: u8 = 3;

    #[allow(dead_code)]
    fn id() -> u8 {
        4
    }
}

#[derive(Table)]
#[table(
    name = "users",
    renamed_from = "people",
    primary_key(id, org_id, name = "pk_users"),
    unique(columns(email, org_id), name = "one_mail", nulls_not_distinct, deferrable = "deferred"),
    check(name = "positive", expr = "score > 0"),
    index(columns(org_id, score desc nulls_last), where = "score > 10", unique, include(email), name = "ix"),
    index(expr = "lower(email)", method = "btree", opclass = "text_pattern_ops"),
    foreign_key(columns(boss, boss_org), references(User::id, User::org_id), on_delete = "no action"),
)]
#[allow(dead_code)]
struct User<'a, P = String, const N: usize = 4> {
    id: i64,
    #[column(references = Org::id, on_delete = "cascade", on_update = "restrict", index)]
    org_id: OrgId,
    #[column(name = "e-mail", unique, check = "\"e-mail\" <> ''", renamed_from = "mail", backfill = "lower(name)")]
    email: Email,
    #[column(default = 0, comment = "points")]
    score: i32,
    boss: Option<i64>,
    boss_org: Option<Wrapper<OrgId>>,
    tags: Vec<String>,
    mood: Option<Mood>,
    moods: Vec<Mood>,
    level: Level,
    #[column(generated = "score * 2")]
    double: i32,
    #[column(generated(expr = "score * 3", virtual))]
    r#type: i32,
    #[column(ty = "varchar(20)", collation = "C")]
    short: Option<std::time::Duration>,
    #[column(ty(postgres = "numeric(10,2)", sqlite = "TEXT"))]
    price: std::time::Duration,
    text: std::borrow::Cow<'a, str>,
    payload: P,
    hash: [u8; N],
    #[column(skip)]
    cache: std::sync::Mutex<()>,
}

#[derive(Table)]
#[table(name = "ring_a")]
#[allow(dead_code)]
struct RingA {
    #[column(primary_key)]
    id: i64,
    #[column(references(RingB::id, name = "a_to_b", deferrable = "deferred"))]
    b: Option<i64>,
}

#[derive(Table)]
#[table(name = "ring_b")]
#[allow(dead_code)]
struct RingB {
    #[column(primary_key)]
    id: i64,
    #[column(references = RingA::id, on_delete = "set null")]
    a: Option<i64>,
    #[column(references = RingB::id)]
    parent: Option<i64>,
}

fn table(name: &str) -> TableDecl {
    let mut tables = own_tables().expect("the test's own section is readable");
    let at = tables.iter().position(|t| t.name == name).unwrap_or_else(|| panic!("no table {name}"));
    tables.swap_remove(at)
}

#[test]
fn texts_arrive_as_they_were_written() {
    let orgs = table("orgs");
    assert_eq!(orgs.schema.as_deref(), Some("app"));
    assert_eq!(orgs.comment.as_deref(), Some("customers' \"orgs\"\n\\second line"));
    assert_eq!(orgs.rust, "derive::Org");
    assert!(orgs.location.starts_with("tests/tests/derive.rs:"), "{}", orgs.location);
    assert_eq!(orgs.columns[0].identity, Some(IdentityDecl::Always));
}

#[test]
fn types_are_what_the_compiler_resolves() {
    let users = table("users");
    let column = |name: &str| users.columns.iter().find(|c| c.field == name).unwrap_or_else(|| panic!("{name}"));
    let ty = |name: &str| (column(name).ty.postgres.as_str(), column(name).ty.sqlite.as_str(), column(name).nullable);
    assert_eq!(ty("org_id"), ("bigint", "INTEGER", false));
    assert_eq!(ty("email"), ("text", "TEXT", false));
    assert_eq!(ty("boss"), ("bigint", "INTEGER", true));
    assert_eq!(ty("boss_org"), ("bigint", "INTEGER", true));
    assert_eq!(ty("tags"), ("text[]", "", false));
    assert_eq!(ty("mood"), ("mood", "TEXT", true));
    assert_eq!(ty("moods"), ("mood[]", "", false));
    assert_eq!(ty("level"), ("smallint", "INTEGER", false));
    assert_eq!(ty("short"), ("varchar(20)", "varchar(20)", true));
    assert_eq!(ty("price"), ("numeric(10,2)", "TEXT", false));
    assert_eq!(ty("text"), ("text", "TEXT", false));
    assert_eq!(ty("payload"), ("text", "TEXT", false));
    assert_eq!(ty("hash"), ("bytea", "BLOB", false));
    let mood = column("mood").ty.enumeration.clone().expect("an enumeration");
    assert_eq!(
        (mood.name.as_str(), mood.values.clone()),
        ("mood", vec!["very_happy".to_owned(), "sad".into(), "it's \"complicated\"".into()])
    );
    assert_eq!(mood.renamed_from.as_deref(), Some("app.temper"));
    let renamed: Vec<_> = mood.renamed_values.iter().map(|value| (value.from.as_str(), value.to.as_str())).collect();
    assert_eq!(renamed, [("un\"happy", "sad")]);
    assert!(users.columns.iter().all(|c| c.field != "cache"));
    assert_eq!(column("type").name, "type");
}

#[test]
fn keys_and_constraints_follow_their_fields() {
    let users = table("users");
    assert_eq!(users.renamed_from.as_deref(), Some("people"));
    let key = users.primary_key.expect("a key");
    assert_eq!((key.name.as_deref(), key.columns), (Some("pk_users"), vec!["id".to_owned(), "org_id".into()]));
    assert_eq!(users.uniques[0].columns, ["e-mail"]);
    let unique = &users.uniques[1];
    assert_eq!(unique.columns, ["e-mail", "org_id"]);
    assert!(unique.nulls_not_distinct);
    assert_eq!(unique.deferrable, Deferrable::Deferred);
    assert_eq!(users.checks[0].column.as_deref(), Some("e-mail"));
    assert_eq!(users.checks[1].name.as_deref(), Some("positive"));
    let [to_org, to_boss] = users.foreign_keys.as_slice() else { panic!("{:?}", users.foreign_keys) };
    assert_eq!((to_org.on_delete, to_org.on_update), (FkAction::Cascade, FkAction::Restrict));
    let target = &to_org.references[0];
    assert_eq!((target.schema.as_deref(), &*target.table, &*target.column), (Some("app"), "orgs", "id"));
    assert_eq!(to_boss.columns, ["boss", "boss_org"]);
    assert_eq!(to_boss.references.iter().map(|r| &*r.column).collect::<Vec<_>>(), ["id", "org_id"]);
}

#[test]
fn indexes_keep_order_and_modifiers() {
    let indexes = table("users").indexes;
    assert_eq!(indexes[0].parts[0].column.as_deref(), Some("org_id"));
    let partial = &indexes[1];
    assert_eq!((partial.unique, partial.predicate.as_deref()), (true, Some("score > 10")));
    assert_eq!((partial.parts[1].order, partial.parts[1].nulls), (SortOrder::Desc, Some(NullsOrder::Last)));
    assert_eq!(partial.include, ["e-mail"]);
    let expression = &indexes[2];
    assert_eq!(expression.parts[0].expr.as_deref(), Some("lower(email)"));
    assert_eq!(expression.parts[0].opclass.as_deref(), Some("text_pattern_ops"));
    assert_eq!(expression.method.as_deref(), Some("btree"));
}

#[test]
fn two_structs_may_refer_to_each_other_and_one_to_itself() {
    let (a, b) = (table("ring_a"), table("ring_b"));
    assert_eq!(a.foreign_keys[0].name.as_deref(), Some("a_to_b"));
    assert_eq!(a.foreign_keys[0].references[0].table, "ring_b");
    assert_eq!(b.foreign_keys[0].references[0].table, "ring_a");
    assert_eq!(b.foreign_keys[0].on_delete, FkAction::SetNull);
    assert_eq!(b.foreign_keys[1].references[0].table, "ring_b");
}

#[test]
fn columns_say_how_they_came_and_how_they_are_filled() {
    let users = table("users");
    let column = |name: &str| users.columns.iter().find(|c| c.field == name).unwrap_or_else(|| panic!("{name}"));
    assert_eq!(column("email").renamed_from.as_deref(), Some("mail"));
    assert_eq!(column("email").backfill.as_deref(), Some("lower(name)"));
    assert_eq!(column("score").default.as_ref().map(|d| &*d.expr), Some("0"));
    assert_eq!(column("score").comment.as_deref(), Some("points"));
    assert_eq!(column("double").generated.as_ref().map(|g| g.stored), Some(true));
    assert_eq!(column("type").generated.as_ref().map(|g| g.stored), Some(false));
    assert_eq!(column("short").collation.as_deref(), Some("C"));
}
