//! Types, sequences, deferrable keys, and objects that follow the columns they use, with old and new code running through every
//! step.

#[macro_use]
mod common;

use common::{USERS, users};
use schemadiff_tests::twin::case::Case;

const NOTES: &str = "CREATE TABLE notes ({id}, user_id bigint NOT NULL REFERENCES users (id), body text)";
const SHOP: &str =
    "CREATE TYPE state AS ENUM ('new', 'paid', 'sent'); CREATE TABLE orders ({id}, state state NOT NULL)";

fn below_a_hundred(seq: u64) -> Option<String> {
    Some((seq % 90).to_string())
}

/// A domain for ages with these rules, and users who have one.
fn aged(rules: &str) -> String {
    format!("CREATE DOMAIN years AS integer {rules}; {}", USERS.replace("age integer", "age years"))
}

/// Everything that can use the column of that name and type.
fn used(column: &str, ty: &str) -> String {
    format!(
        "{}; CREATE VIEW shown AS SELECT id, {column} FROM users WHERE {column} IS NOT NULL; \
         CREATE VIEW shown_again AS SELECT count(id) AS n FROM shown; \
         CREATE MATERIALIZED VIEW stored AS SELECT {column} FROM users; \
         CREATE FUNCTION first_one() RETURNS {ty} BEGIN ATOMIC SELECT {column} FROM users ORDER BY id LIMIT 1; END; \
         CREATE TABLE seen (at timestamptz NOT NULL DEFAULT now()); \
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen DEFAULT VALUES; RETURN NULL; END $$; \
         CREATE TRIGGER noted AFTER UPDATE OF {column} ON users FOR EACH ROW WHEN (NEW.{column} IS NOT NULL) \
             EXECUTE FUNCTION note(); \
         CREATE POLICY own ON users USING ({column} IS NOT NULL)",
        users(&format!("{column} {ty}"))
    )
}

on_postgres! {
    domain_gets_a_rule =>
        Case::new(&aged("CHECK (VALUE >= 0)"), &aged("CHECK (VALUE >= 0) CONSTRAINT years_most CHECK (VALUE < 200)"))
            .values_for("age", below_a_hundred),

    domain_loses_a_rule =>
        Case::new(&aged("CHECK (VALUE >= 0) CONSTRAINT years_most CHECK (VALUE < 200)"), &aged("CHECK (VALUE >= 0)"))
            .values_for("age", below_a_hundred),

    domain_gets_a_default => Case::new(&aged(""), &aged("DEFAULT 7")).always_writes("age").values_for("age", below_a_hundred),

    add_column_of_a_new_domain =>
        Case::new(
            USERS,
            &format!("CREATE DOMAIN mark AS text CHECK (VALUE <> ''); {}", users("mark mark NOT NULL DEFAULT 'none'")),
        ),

    column_gets_a_domain =>
        Case::new(
            &format!("CREATE DOMAIN years AS integer CHECK (VALUE >= 0); {USERS}"),
            &aged("CHECK (VALUE >= 0)"),
        )
        .values_for("age", below_a_hundred)
        .without_overlap(),

    unique_becomes_deferrable =>
        Case::new(
            &users("login text NOT NULL UNIQUE"),
            &users("login text NOT NULL UNIQUE DEFERRABLE INITIALLY DEFERRED"),
        ),

    deferrable_unique_becomes_plain =>
        Case::new(
            &users("login text NOT NULL UNIQUE DEFERRABLE INITIALLY DEFERRED"),
            &users("login text NOT NULL UNIQUE"),
        ),

    foreign_key_is_checked_at_the_end =>
        Case::new(
            &users("boss bigint REFERENCES users (id) DEFERRABLE"),
            &users("boss bigint REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED"),
        ),

    rename_enum_label =>
        Case::new(SHOP, &SHOP.replace("'sent'", "'shipped'"))
            .rename("state.sent=state.shipped")
            .uncompared("orders.state")
            .without_overlap(),

    remove_enum_label =>
        Case::new(SHOP, &SHOP.replace(", 'sent'", ""))
            .allow_drop("state.sent")
            .values_for("state", |seq| Some(if seq % 2 == 0 { "new" } else { "paid" }.into()))
            .without_overlap(),

    reorder_enum_labels => Case::new(SHOP, &SHOP.replace("'new', 'paid'", "'paid', 'new'")).without_overlap(),

    rename_enum =>
        Case::new(SHOP, &SHOP.replace("TYPE state", "TYPE phase").replace("state state", "state phase"))
            .rename("state=phase")
            .without_overlap(),

    move_table_to_another_schema =>
        Case::new(
            &format!("CREATE SCHEMA app; {USERS}; {NOTES}"),
            &format!("CREATE SCHEMA app; {USERS}; {}", NOTES.replace("TABLE notes", "TABLE app.notes")),
        )
        .rename("notes=app.notes"),

    objects_follow_a_renamed_column =>
        Case::new(&used("fullname", "text"), &used("display_name", "text"))
            .rename("users.fullname=users.display_name")
            .without_overlap(),

    objects_follow_a_changed_type => Case::new(&used("qty", "integer"), &used("qty", "bigint")).without_overlap(),

    objects_let_go_of_a_column =>
        Case::new(
            &format!("{}; CREATE VIEW shown AS SELECT id, age, nick FROM users", users("nick text")),
            &format!("{USERS}; CREATE VIEW shown AS SELECT id, age FROM users"),
        )
        .allow_drop("users.nick")
        .without_overlap(),

    objects_of_a_table_that_is_renamed =>
        Case::new(
            &format!("{USERS}; {NOTES}; CREATE VIEW shown AS SELECT body FROM notes"),
            &format!("{USERS}; {}; CREATE VIEW shown AS SELECT body FROM remarks", NOTES.replace("notes", "remarks")),
        )
        .rename("notes=remarks"),

    view_and_trigger_come =>
        Case::new(USERS, &used("nick", "text")),

    serial_becomes_identity =>
        Case::new(
            "CREATE TABLE jobs (id serial PRIMARY KEY, title text)",
            "CREATE TABLE jobs (id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, title text)",
        ),

    identity_becomes_serial =>
        Case::new(
            "CREATE TABLE jobs (id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, title text)",
            "CREATE TABLE jobs (id serial PRIMARY KEY, title text)",
        ),

    sequence_changes =>
        Case::new(
            "CREATE SEQUENCE numbers; CREATE TABLE jobs ({id}, number bigint NOT NULL DEFAULT nextval('numbers'), title text)",
            "CREATE SEQUENCE numbers INCREMENT 5 CACHE 10; \
             CREATE TABLE jobs ({id}, number bigint NOT NULL DEFAULT nextval('numbers'), title text)",
        ),

    change_collation =>
        Case::new(
            &format!("{}; CREATE INDEX users_nick ON users (nick)", users("nick text")),
            &format!("{}; CREATE INDEX users_nick ON users (nick)", users("nick text COLLATE \"C\"")),
        )
        .without_overlap(),

    table_becomes_unlogged =>
        Case::new(
            "CREATE TABLE jobs ({id}, title text)",
            "CREATE UNLOGGED TABLE jobs ({id}, title text)",
        ),

    replace_index_in_place =>
        Case::new(
            &format!("{USERS}; CREATE UNIQUE INDEX users_email ON users (email)"),
            &format!("{USERS}; CREATE UNIQUE INDEX users_email ON users (email) INCLUDE (age)"),
        ),
}
