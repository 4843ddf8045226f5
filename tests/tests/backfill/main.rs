//! Backfills on real databases.

mod compared;
mod given;
mod rows;
