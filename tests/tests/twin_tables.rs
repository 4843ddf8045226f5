//! Changes of whole tables, with old and new code running through every step.

#[macro_use]
mod common;

use common::{USERS, users};
use schemadiff_tests::twin::case::Case;

const NOTES: &str = "CREATE TABLE notes ({id}, user_id bigint NOT NULL REFERENCES users (id), body text)";

both_engines! {
    create_table => Case::new(USERS, &format!("{USERS}; {NOTES}; CREATE INDEX notes_user ON notes (user_id)")),

    drop_table => Case::new(&format!("{USERS}; {NOTES}"), USERS).allow_drop("notes"),

    drop_parent_and_child =>
        Case::new(&format!("{USERS}; {NOTES}"), "CREATE TABLE orgs ({id}, name text NOT NULL)")
            .allow_drop("notes")
            .allow_drop("users"),

    composite_key =>
        Case::new(
            "CREATE TABLE readings (sensor text NOT NULL, at bigint NOT NULL, reading integer, PRIMARY KEY (sensor, at))",
            "CREATE TABLE readings (sensor text NOT NULL, at bigint NOT NULL, amount integer, PRIMARY KEY (sensor, at))",
        )
        .rename("readings.reading=readings.amount"),

    text_key =>
        Case::new(
            "CREATE TABLE flags (name text NOT NULL PRIMARY KEY, state text NOT NULL)",
            "CREATE TABLE flags (name text NOT NULL PRIMARY KEY, state text NOT NULL, label text NOT NULL)",
        )
        .backfill("flags.label", "upper(state)")
        .derive("flags.label", |row| row.get("state")?.as_ref().map(|s| s.to_uppercase())),

    names_that_need_quotes =>
        Case::new(
            r#"CREATE TABLE "Order Items" ({id}, "select" text NOT NULL, "we""ird" integer)"#,
            r#"CREATE TABLE "Order Items" ({id}, "select" text NOT NULL, "od'd" integer);
               CREATE INDEX "In dex" ON "Order Items" ("od'd", "select")"#,
        )
        .rename(r#"Order Items."we""ird"=Order Items.od'd"#),

    self_reference =>
        Case::new(
            "CREATE TABLE nodes ({id}, parent bigint REFERENCES nodes (id), label text)",
            "CREATE TABLE nodes ({id}, parent bigint REFERENCES nodes (id), title text)",
        )
        .rename("nodes.label=nodes.title"),

    several_at_once =>
        Case::new(
            &users("fullname text, nick text"),
            &format!(
                "{}; {NOTES}; CREATE INDEX users_display ON users (display_name)",
                users("display_name text, active boolean NOT NULL DEFAULT true")
            ),
        )
        .rename("users.fullname=users.display_name")
        .allow_drop("users.nick"),
}

on_postgres! {
    rename_table =>
        Case::new(&format!("{USERS}; {NOTES}"), &format!("{USERS}; {}", NOTES.replace("notes", "remarks")))
            .rename("notes=remarks"),

    rename_parent_table =>
        Case::new(&format!("{USERS}; {NOTES}"), &format!("{USERS}; {NOTES}").replace("users", "people"))
            .rename("users=people"),

    table_in_another_schema =>
        Case::new(
            "CREATE SCHEMA app; CREATE TABLE app.items ({id}, title text)",
            "CREATE SCHEMA app; CREATE TABLE app.items ({id}, headline text, kind text NOT NULL DEFAULT 'plain')",
        )
        .rename("app.items.title=app.items.headline"),
}

mod sqlite_only {
    use super::*;
    use schemadiff::model::Dialect;

    #[tokio::test]
    async fn rename_table() {
        let after = format!("{USERS}; {}", NOTES.replace("notes", "remarks"));
        let case = Case::new(&format!("{USERS}; {NOTES}"), &after).rename("notes=remarks").without_overlap();
        common::print("rename_table", &case.run(Dialect::Sqlite).await);
    }

    #[tokio::test]
    async fn strict_and_without_rowid() {
        let table = |column: &str| {
            format!("CREATE TABLE flags (name TEXT NOT NULL PRIMARY KEY, {column} TEXT) STRICT, WITHOUT ROWID")
        };
        let case = Case::new(&table("state"), &table("status")).rename("flags.state=flags.status");
        common::print("strict_and_without_rowid", &case.run(Dialect::Sqlite).await);
    }
}
