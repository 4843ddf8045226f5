//! Changes of columns, with old and new code running through every step.

#[macro_use]
mod common;

use common::{USERS, users};
use schemadiff_tests::twin::case::Case;

both_engines! {
    add_nullable_column => Case::new(USERS, &users("nick text")),

    add_column_with_constant_default => Case::new(USERS, &users("plan text NOT NULL DEFAULT 'free', credit integer NOT NULL DEFAULT 7")),

    add_nullable_column_with_backfill =>
        Case::new(USERS, &users("email_key text"))
            .backfill("users.email_key", "lower(email)")
            .derive("users.email_key", |row| row.get("email")?.as_ref().map(|e| e.to_lowercase())),

    add_not_null_column_with_backfill =>
        Case::new(USERS, &users("email_key text NOT NULL"))
            .backfill("users.email_key", "lower(email)")
            .derive("users.email_key", |row| row.get("email")?.as_ref().map(|e| e.to_lowercase())),

    add_not_null_column_with_backfill_and_index =>
        Case::new(USERS, &format!("{}; CREATE INDEX users_email_key ON users (email_key)", users("email_key text NOT NULL")))
            .backfill("users.email_key", "lower(email)")
            .derive("users.email_key", |row| row.get("email")?.as_ref().map(|e| e.to_lowercase())),

    drop_nullable_column => Case::new(&users("nick text"), USERS).allow_drop("users.nick"),

    drop_not_null_column => Case::new(&users("nick text NOT NULL"), USERS).allow_drop("users.nick"),

    drop_column_with_default => Case::new(&users("nick text NOT NULL DEFAULT 'x'"), USERS).allow_drop("users.nick"),

    drop_indexed_column =>
        Case::new(&format!("{}; CREATE INDEX users_nick ON users (nick)", users("nick text")), USERS)
            .allow_drop("users.nick"),

    rename_nullable_column =>
        Case::new(&users("fullname text"), &users("display_name text")).rename("users.fullname=users.display_name"),

    rename_not_null_column =>
        Case::new(&users("fullname text NOT NULL"), &users("display_name text NOT NULL"))
            .rename("users.fullname=users.display_name"),

    // `RETURNING` does not show what an AFTER trigger fills in, and SQLite has no other: the new version names the column.
    rename_column_with_default =>
        Case::new(&users("state text NOT NULL DEFAULT 'new'"), &users("status text NOT NULL DEFAULT 'new'"))
            .rename("users.state=users.status")
        .always_writes("status"),

    rename_indexed_column =>
        Case::new(
            &format!("{}; CREATE INDEX users_fullname ON users (fullname)", users("fullname text")),
            &format!("{}; CREATE INDEX users_display ON users (display_name)", users("display_name text")),
        )
        .rename("users.fullname=users.display_name"),

    rename_unique_column =>
        Case::new(
            &format!("{}; CREATE UNIQUE INDEX users_login ON users (login)", users("login text NOT NULL")),
            &format!("{}; CREATE UNIQUE INDEX users_handle ON users (handle)", users("handle text NOT NULL")),
        )
        .rename("users.login=users.handle"),

    rename_two_columns =>
        Case::new(&users("a text, b text NOT NULL"), &users("x text, y text NOT NULL"))
            .rename("users.a=users.x")
            .rename("users.b=users.y"),

    rename_and_retype_column =>
        Case::new(&users("qty integer NOT NULL"), &users("quantity bigint NOT NULL")).rename("users.qty=users.quantity"),

    change_type_in_place => Case::new(&users("qty integer NOT NULL"), &users("qty bigint NOT NULL")).without_overlap(),

    change_type_to_text => Case::new(&users("qty integer"), &users("qty text")).without_overlap(),

    widen_varchar => Case::new(&users("code varchar(20)"), &users("code varchar(60)")).without_overlap(),

    // The new version is served before the constraint goes, so it writes no NULL as long as the old one lives.
    drop_not_null =>
        Case::new(&users("nick text NOT NULL"), &users("nick text")).values_for("nick", |seq| Some(format!("n{seq}"))).always_writes("nick"),

    // The old version may write NULL and read it back: what is filled for the new one waits until it is gone.
    set_not_null =>
        Case::new(&users("nick text"), &users("nick text NOT NULL"))
            .backfill("users.nick", "'none'")
            .derive("users.nick", |row| Some(row.get("nick").cloned().flatten().unwrap_or("none".into())))
            .without_overlap(),

    set_default => Case::new(&users("nick text"), &users("nick text DEFAULT 'none'")),

    change_default =>
        Case::new(&users("nick text NOT NULL DEFAULT 'a'"), &users("nick text NOT NULL DEFAULT 'b'")),

    rename_and_add_and_drop =>
        Case::new(&users("fullname text, old_note text"), &users("display_name text, fresh integer NOT NULL DEFAULT 3"))
            .rename("users.fullname=users.display_name")
            .allow_drop("users.old_note"),
}

on_postgres! {
    rename_column_with_default_left_out =>
        Case::new(&users("state text NOT NULL DEFAULT 'new'"), &users("status text NOT NULL DEFAULT 'new'"))
            .rename("users.state=users.status"),

    // Old code has no default for it, new code has and leaves it out.
    rename_column_that_gets_a_default =>
        Case::new(&users("state text NOT NULL"), &users("status text NOT NULL DEFAULT 'new'"))
            .rename("users.state=users.status"),

    // Old code goes on leaving it out until contract; rows without a value would stop that.
    rename_column_that_becomes_not_null =>
        Case::new(&users("nick text"), &users("alias text NOT NULL"))
            .rename("users.nick=users.alias")
            .values_for("nick", |seq| Some(format!("n{seq}")))
            .always_writes("nick")
            .without_overlap(),
}
