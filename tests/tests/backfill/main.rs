//! Backfills on real databases.

mod given;
mod rows;
