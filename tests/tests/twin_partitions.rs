//! Partitioned tables, with old and new code running through every step.

#[macro_use]
mod common;

use common::USERS;
use schemadiff_tests::twin::case::Case;

/// Events of users: in two partitions by their number's hash, one of them divided again.
fn events(columns: &str, rest: &str) -> String {
    format!(
        "{USERS}; CREATE SEQUENCE event_ids; \
         CREATE TABLE events (id bigint NOT NULL DEFAULT nextval('event_ids') PRIMARY KEY, {columns}) PARTITION BY HASH (id); \
         CREATE TABLE events_0 PARTITION OF events FOR VALUES WITH (MODULUS 2, REMAINDER 0); \
         CREATE TABLE events_1 PARTITION OF events FOR VALUES WITH (MODULUS 2, REMAINDER 1) PARTITION BY HASH (id); \
         CREATE TABLE events_1_0 PARTITION OF events_1 FOR VALUES WITH (MODULUS 2, REMAINDER 0); \
         CREATE TABLE events_1_1 PARTITION OF events_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1); {rest}"
    )
}

const COLUMNS: &str =
    "user_id bigint NOT NULL REFERENCES users (id), kind text NOT NULL, size integer NOT NULL, note text";

/// Events in the ranges of their numbers: every one of them is in the first.
fn ranges(partitions: &str) -> String {
    format!(
        "{USERS}; CREATE SEQUENCE event_ids; \
         CREATE TABLE events (id bigint NOT NULL DEFAULT nextval('event_ids') PRIMARY KEY, {COLUMNS}) PARTITION BY RANGE (id); \
         CREATE INDEX events_kind ON events (kind); \
         CREATE TABLE events_low PARTITION OF events FOR VALUES FROM (MINVALUE) TO (1000000000000); {partitions}"
    )
}

const HIGH: &str = "CREATE TABLE events_high PARTITION OF events FOR VALUES FROM (1000000000000) TO (2000000000000)";

on_postgres! {
    add_column =>
        Case::new(&events(COLUMNS, ""), &events(&format!("{COLUMNS}, seen timestamptz DEFAULT now()"), "")),

    add_column_filled_from_another =>
        Case::new(&events(COLUMNS, ""), &events(&format!("{COLUMNS}, slug text NOT NULL"), ""))
            .backfill("events.slug", "lower(kind)")
            .derive("events.slug", |row| row.get("kind")?.as_ref().map(|kind| kind.to_lowercase())),

    rename_column =>
        Case::new(&events(COLUMNS, ""), &events(&COLUMNS.replace("kind text", "label text"), ""))
            .rename("events.kind=events.label"),

    rename_table =>
        Case::new(&events(COLUMNS, ""), &events(COLUMNS, "").replace("TABLE events (", "TABLE happenings (").replace("OF events F", "OF happenings F"))
            .rename("events=happenings"),

    widen_a_column =>
        Case::new(&events(COLUMNS, ""), &events(&COLUMNS.replace("size integer", "size bigint"), "")).without_overlap(),

    set_not_null =>
        Case::new(&events(COLUMNS, ""), &events(&COLUMNS.replace("note text", "note text NOT NULL"), ""))
            .always_writes("note")
            .values_for("note", |seq| Some(format!("note {seq}")))
            .without_overlap(),

    drop_column =>
        Case::new(&events(COLUMNS, ""), &events(&COLUMNS.replace(", note text", ""), ""))
            .allow_drop("events.note"),

    index_comes => Case::new(&events(COLUMNS, ""), &events(COLUMNS, "CREATE INDEX events_kind ON events (kind, user_id)")),

    index_changes =>
        Case::new(
            &events(COLUMNS, "CREATE INDEX events_kind ON events (kind)"),
            &events(COLUMNS, "CREATE INDEX events_kind ON events (kind, size)"),
        ),

    unique_comes =>
        Case::new(&events(COLUMNS, ""), &events(&format!("{COLUMNS}, CONSTRAINT events_once UNIQUE (id, kind)"), "")),

    check_comes =>
        Case::new(&events(COLUMNS, ""), &events(&format!("{COLUMNS}, CONSTRAINT events_kind CHECK (kind <> '')"), ""))
            .without_overlap(),

    foreign_key_comes =>
        Case::new(&events(&COLUMNS.replace(" REFERENCES users (id)", ""), ""), &events(COLUMNS, "")).without_overlap(),

    foreign_key_goes =>
        Case::new(&events(COLUMNS, ""), &events(&COLUMNS.replace(" REFERENCES users (id)", ""), "")).without_overlap(),

    partition_comes => Case::new(&ranges(""), &ranges(HIGH)),

    partition_goes => Case::new(&ranges(HIGH), &ranges("")).allow_drop("events_high"),
}
