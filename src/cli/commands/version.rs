//! `serf version`

use serde::Serialize;

use super::{CommandSpec, FORMAT, Failure, Parsed, SPEC, print};

pub(in crate::cli) const VERSION: CommandSpec = CommandSpec {
    name: "version",
    synopsis: "Prints the Serf version",
    arguments: "[options]",
    about: "Prints the version of this program, the range of protocol versions that its agent \
            understands, which is Go's, and the commit it was built from, if known. Use it to \
            check before an upgrade that old and new agents understand each other. The exit code \
            is always 0.",
    flags: &[FORMAT],
    ignores_flags: true,
    run,
    ..SPEC
};

/// The output of `-format json`.
#[derive(Serialize)]
struct Version {
    version: &'static str,
    protocol: u8,
    protocol_min: u8,
    commit: Option<&'static str>,
}

fn run(args: &Parsed) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    // Cargo rebuilds this file when the variable changes; other builds are not affected.
    let commit = option_env!("RUSERF_COMMIT");
    let json = Version { version, protocol: 5, protocol_min: 2, commit };
    let shown = commit.unwrap_or("unknown");
    let protocol = "Agent Protocol: 5 (Understands back to: 2)";
    print(args, &format!("{version}\n{protocol}\nCommit: {shown}"), &json)
}
