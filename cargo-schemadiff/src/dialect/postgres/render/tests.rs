//! The text of the statements that are reviewed most: what they do on a server is tested against one.

use schemadiff::{
    model::{Check, Column, CompatView, Generated, Identity, IdentityKind, Index, IndexPart, ObjectName, Table},
    plan::{Assignment, KeyColumn},
};

use super::Postgres;
use crate::dialect::{Ddl as _, Numbering as _, SyncSpec};

const DDL: Postgres = Postgres::new(150_000);

fn users() -> ObjectName {
    ObjectName::in_schema(Some("app"), "users")
}

#[test]
fn a_table_with_what_belongs_to_it() {
    let mut table = Table::new(users());
    let serial = Identity { kind: IdentityKind::Serial, sequence: None, options: None };
    table.columns = vec![
        Column { identity: Some(serial), ..Column::new("id", "bigint") },
        Column { default: Some("now() AT TIME ZONE 'UTC'::text".into()), ..Column::new("at", "timestamp") },
        Column {
            generated: Some(Generated { expr: "lower(name)".into(), stored: true }),
            nullable: true,
            ..Column::new("we\"ird", "text")
        },
    ];
    let check = Check { expr: "id > 0".into(), not_valid: false, no_inherit: false, comment: None };
    table.checks.insert("unproven".into(), Check { not_valid: true, ..check.clone() });
    table.checks.insert("proven".into(), check);
    let part = IndexPart { expr: Some("lower(name)".into()), ..IndexPart::default() };
    let index = Index { parts: vec![part], predicate: Some("id > 1".into()), ..Index::default() };
    table.indexes.insert("by name".into(), index);
    table.comment = Some("it's\\ours".into());
    insta::assert_snapshot!(DDL.create_table(&table).join(";\n"));
}

#[test]
fn a_sync_trigger() {
    let spec = SyncSpec {
        table: users(),
        name: DDL.sync_name(&users(), "amount_new"),
        old: Some("amount".into()),
        new: "amount_new".into(),
        forward: DDL.cast("\"amount\"", "bigint"),
        backward: Some("amount_new::integer".into()),
        refuses_null: false,
        key: vec!["id".into()],
        columns: vec!["id".into(), "amount".into(), "amount_new".into()],
        later: Vec::new(),
        restores: Vec::new(),
        may_fail: false,
        default: None,
    };
    insta::assert_snapshot!(DDL.create_sync(&spec).join(";\n"));
}

#[test]
fn a_derived_column() {
    let spec = SyncSpec {
        table: users(),
        name: DDL.sync_name(&users(), "email_key"),
        old: None,
        new: "email_key".into(),
        forward: "lower(email)".into(),
        backward: None,
        refuses_null: false,
        key: vec!["id".into()],
        columns: vec!["id".into(), "email".into(), "email_key".into()],
        later: Vec::new(),
        restores: Vec::new(),
        may_fail: false,
        default: None,
    };
    insta::assert_snapshot!(DDL.create_sync(&spec)[0]);
}

#[test]
fn a_backfill_over_two_key_columns() {
    let key = [("org", "bigint"), ("at", "timestamp with time zone")]
        .map(|(name, ty)| KeyColumn { name: name.into(), ty: ty.into() });
    let set = [Assignment { column: "key".into(), expr: "lower(email)".into(), not_null: false }];
    let backfill = DDL.backfill(&users(), &key, &set, "\"key\" IS NULL");
    let texts = [
        backfill.upper_sql,
        backfill.batch_sql,
        backfill.update_sql,
        backfill.skip_locked_sql.unwrap_or_default(),
        backfill.remaining_sql,
        backfill.left_sql,
    ];
    insta::assert_snapshot!(texts.join("\n\n"));
}

#[test]
fn a_compatibility_view() {
    let view = CompatView {
        name: ObjectName::new("clients"),
        table: users(),
        columns: [("id".into(), "id".into()), ("name".into(), "full name".into())].into(),
    };
    insta::assert_snapshot!(DDL.create_compat_view(&view, &Table::new(users())).join(";\n"));
    assert!(
        !Postgres::new(140_000).create_compat_view(&view, &Table::new(users())).join("").contains("security_invoker")
    );
}

#[test]
fn serial_becomes_identity_and_keeps_its_position() {
    let column = |kind| Column {
        identity: Some(Identity { kind, sequence: None, options: None }),
        ..Column::new("id", "integer")
    };
    let statements = DDL.alter_identity(&users(), &column(IdentityKind::Serial), &column(IdentityKind::Always));
    insta::assert_snapshot!(statements.join(";\n"));
}
