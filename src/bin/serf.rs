//! The `serf` program: see the library's `cli`.

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    ruserf::cli::run(std::env::args_os().skip(1).collect())
}

/// Signals, handlers' process groups and sockets of the file system are Unix's.
#[cfg(not(unix))]
fn main() -> Result<(), &'static str> {
    Err("serf needs Unix; the library does not")
}
