//! The program as its users run it: arguments in, text and exit code out, real servers behind it.

mod bad_input;
mod migrations;
mod sides;
mod support;
