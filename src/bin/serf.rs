//! The `serf` program: see the library's `cli`.

use std::process::ExitCode;

#[cfg(unix)]
fn main() -> ExitCode {
    ruserf::cli::run(std::env::args_os().skip(1).collect())
}

/// Signals, handlers' process groups and sockets of the file system are Unix's.
#[cfg(not(unix))]
fn main() -> ExitCode {
    eprintln!("serf: the program needs Unix; the library does not");
    ExitCode::FAILURE
}
