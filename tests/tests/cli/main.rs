//! The program as its users run it: arguments in, text and exit code out, real servers behind it.

mod bad_input;
mod bad_rows;
mod bad_values;
mod demo;
mod deploying;
mod deploying_code;
mod expressions;
mod fleet;
mod interruption;
mod kills;
mod left_alone;
mod losses;
mod migrations;
mod output;
mod quickstart;
mod servers;
mod sides;
mod structs;
mod support;
mod undeclared;
mod undo;
