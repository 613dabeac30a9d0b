//! The `serf` program: see the library's `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ruserf::cli::run(std::env::args_os().skip(1).collect())
}
