//! Backfills on real databases.

mod compared;
mod failing;
mod given;
mod own;
mod rows;
