//! Changes of indexes, constraints, enumerated types and comments, with old and new code running through every step.

#[macro_use]
mod common;

use common::{USERS, users};
use schemadiff_tests::twin::case::Case;

fn with(more: &str) -> String {
    format!("{USERS}; {more}")
}

both_engines! {
    add_index => Case::new(USERS, &with("CREATE INDEX users_email ON users (email, age)")),

    add_partial_and_expression_index =>
        Case::new(
            USERS,
            &with("CREATE INDEX users_adult ON users (age) WHERE age > 17; CREATE INDEX users_lower ON users (lower(email))"),
        ),

    drop_index => Case::new(&with("CREATE INDEX users_email ON users (email)"), USERS),

    change_index =>
        Case::new(
            &with("CREATE INDEX users_email ON users (email)"),
            &with("CREATE INDEX users_email ON users (email, org_id)"),
        ),

    add_unique_index => Case::new(USERS, &with("CREATE UNIQUE INDEX users_email ON users (email)")),

    drop_unique_index => Case::new(&with("CREATE UNIQUE INDEX users_email ON users (email)"), USERS),

    add_unique_constraint =>
        Case::new(&users("login text NOT NULL"), &users("login text NOT NULL, CONSTRAINT users_login_key UNIQUE (login)")),

    drop_unique_constraint =>
        Case::new(&users("login text NOT NULL, CONSTRAINT users_login_key UNIQUE (login)"), &users("login text NOT NULL")),

    add_check =>
        Case::new(USERS, &users("CONSTRAINT users_age_check CHECK (age >= 0)"))
            .values_for("age", |seq| Some((seq % 90).to_string())),

    drop_check =>
        Case::new(&users("CONSTRAINT users_age_check CHECK (age >= 0)"), USERS)
            .values_for("age", |seq| Some((seq % 90).to_string())),

    add_foreign_key =>
        Case::new(&users("boss bigint"), &users("boss bigint REFERENCES users (id)")),

    drop_foreign_key =>
        Case::new(&users("boss bigint REFERENCES users (id)"), &users("boss bigint")),

    add_column_with_foreign_key => Case::new(USERS, &users("home bigint REFERENCES orgs (id)")),
}

const SHOP: &str = "CREATE TYPE state AS ENUM ('new', 'paid'); CREATE TABLE orders ({id}, state state NOT NULL)";

on_postgres! {
    add_enum_value => Case::new(SHOP, &SHOP.replace("'paid'", "'paid', 'sent'"))
        .values_for("state", |seq| Some(if seq % 2 == 0 { "new" } else { "paid" }.into())),

    add_enum_value_in_the_middle => Case::new(SHOP, &SHOP.replace("'paid'", "'open', 'paid'"))
        .values_for("state", |seq| Some(if seq % 2 == 0 { "new" } else { "paid" }.into())),

    add_column_with_new_enum =>
        Case::new(
            USERS,
            &format!("CREATE TYPE role AS ENUM ('admin', 'guest'); {}", users("role role NOT NULL DEFAULT 'guest'")),
        ),

    comments =>
        Case::new(
            USERS,
            &with("COMMENT ON TABLE users IS 'people''s accounts'; COMMENT ON COLUMN users.email IS 'where we write to'"),
        ),

    nulls_not_distinct_and_include =>
        Case::new(
            USERS,
            &with(
                "CREATE UNIQUE INDEX users_email ON users (email) INCLUDE (age) NULLS NOT DISTINCT; \
                 CREATE INDEX users_hash ON users USING hash (email); CREATE INDEX users_desc ON users (age DESC NULLS LAST)",
            ),
        ),

    foreign_key_becomes_deferrable =>
        Case::new(&users("boss bigint REFERENCES users (id)"), &users("boss bigint REFERENCES users (id) DEFERRABLE")),

    widen_the_end_of_a_foreign_key =>
        Case::new(&users("boss integer REFERENCES users (id)"), &users("boss bigint REFERENCES users (id)"))
            .without_overlap(),

    // The foreign key is made again in the transaction that replaces the key.
    key_that_a_foreign_key_stands_on =>
        Case::new(
            &users("boss bigint REFERENCES users (id)"),
            &format!(
                "{}; ALTER TABLE users DROP CONSTRAINT users_pkey; ALTER TABLE users ADD CONSTRAINT users_pkey \
                 PRIMARY KEY (id) INCLUDE (age); ALTER TABLE users ADD CONSTRAINT users_boss_fkey FOREIGN KEY (boss) \
                 REFERENCES users (id)",
                users("boss bigint")
            ),
        ),

    add_column_with_volatile_default =>
        Case::new(USERS, &users("token uuid NOT NULL DEFAULT gen_random_uuid()")),

    add_column_with_stable_default =>
        Case::new(USERS, &users("created_at timestamp with time zone NOT NULL DEFAULT now()")),

    add_generated_column =>
        Case::new(USERS, &users("email_key text GENERATED ALWAYS AS (lower(email)) STORED")),

    many_types =>
        Case::new(
            &users(
                "price numeric(10,2), born date, seen timestamp with time zone, token uuid, doc jsonb, raw bytea, \
                 tags text[], host inet, ratio double precision, small smallint, ok boolean",
            ),
            &users(
                "cost numeric(10,2), birthday date, last_seen timestamp with time zone, key uuid, body jsonb, bytes bytea, \
                 labels text[], address inet, share double precision, little smallint, fine boolean",
            ),
        )
        .rename("users.price=users.cost")
        .rename("users.born=users.birthday")
        .rename("users.seen=users.last_seen")
        .rename("users.token=users.key")
        .rename("users.doc=users.body")
        .rename("users.raw=users.bytes")
        .rename("users.tags=users.labels")
        .rename("users.host=users.address")
        .rename("users.ratio=users.share")
        .rename("users.small=users.little")
        .rename("users.ok=users.fine"),

    json_without_equality =>
        Case::new(&users("doc json"), &users("body json")).rename("users.doc=users.body"),
}

mod sqlite_only {
    use super::*;
    use schemadiff::model::Dialect;

    #[tokio::test]
    async fn add_column_with_volatile_default() {
        let case = Case::new(USERS, &users("token text NOT NULL DEFAULT (lower(hex(randomblob(8))))"));
        common::print("add_column_with_volatile_default", &case.run(Dialect::Sqlite).await);
    }

    #[tokio::test]
    async fn add_column_with_current_timestamp() {
        let case = Case::new(USERS, &users("created_at text NOT NULL DEFAULT CURRENT_TIMESTAMP"));
        common::print("add_column_with_current_timestamp", &case.run(Dialect::Sqlite).await);
    }

    #[tokio::test]
    async fn autoincrement_keeps_its_numbers() {
        let table = |column: &str| {
            format!(
                "CREATE TABLE jobs (id INTEGER PRIMARY KEY AUTOINCREMENT, {column} TEXT NOT NULL, CHECK ({column} <> ''))"
            )
        };
        let case = Case::new(&table("state"), &table("status")).rename("jobs.state=jobs.status");
        common::print("autoincrement_keeps_its_numbers", &case.run(Dialect::Sqlite).await);
    }
}
