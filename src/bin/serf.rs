//! The `serf` program: see the library's `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args = std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned());
    ruserf::cli::run(args.collect())
}
