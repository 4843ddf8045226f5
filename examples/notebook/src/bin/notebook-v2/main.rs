//! Version 2 of the notebook.

#![allow(missing_docs, reason = "diesel::table! writes none")]

use diesel::prelude::*;
use notebook::{Database, Held, Load, Result, on};
use schemadiff::embed::Migrations;

diesel::table! {
    notes (id) {
        id -> BigInt,
        headline -> Text,
        slug -> Text,
    }
}

/// A note: one struct for Diesel and for schemadiff.
#[derive(schemadiff::Table, Queryable, Selectable, Identifiable)]
#[diesel(table_name = notes)]
#[table(index(columns(slug)))]
struct Note {
    #[column(primary_key, identity)]
    id: i64,
    #[column(renamed_from = "title")]
    headline: String,
    #[column(backfill = "lower(title)")]
    slug: String,
}

/// The statements of this version.
struct V2;

impl Load for V2 {
    fn add(database: &Database, title: &str) -> Result<i64> {
        let row = (notes::headline.eq(title), notes::slug.eq(title.to_lowercase()));
        on!(database, c => {
            Ok(diesel::insert_into(notes::table).values(row).returning(notes::id).get_result(c)?)
        })
    }

    fn retitle(database: &Database, id: i64, title: &str) -> Result<()> {
        let row = (notes::headline.eq(title), notes::slug.eq(title.to_lowercase()));
        on!(database, c => {
            diesel::update(notes::table.find(id)).set(row).execute(c)?;
        });
        Ok(())
    }

    fn title(database: &Database, id: i64) -> Result<String> {
        let note: Note = on!(database, c => notes::table.find(id).select(Note::as_select()).first(c)?);
        debug_assert_eq!(note.id, id);
        Ok(note.headline)
    }

    fn list(database: &Database) -> Result<Vec<Held>> {
        let all: Vec<Note> = on!(database, c => notes::table.select(Note::as_select()).load(c)?);
        Ok(all.into_iter().map(|note| Held { title: note.headline, slug: Some(note.slug) }).collect())
    }
}

/// A service for one engine has one directory.
fn migrations(url: &str) -> Migrations {
    if url.starts_with("sqlite:") {
        schemadiff::embed!("v2/migrations/sqlite")
    } else {
        schemadiff::embed!("v2/migrations/postgres")
    }
}

fn main() -> Result<()> {
    notebook::main::<V2>(migrations)
}
