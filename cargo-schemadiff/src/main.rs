//! `cargo schemadiff`.

fn main() -> std::process::ExitCode {
    cargo_schemadiff::commands::main(std::env::args_os())
}
