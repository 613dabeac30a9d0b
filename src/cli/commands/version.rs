//! `serf version`

use serde::Serialize;

use super::{CommandSpec, FORMAT, Failure, Parsed, SPEC, print};

pub(in crate::cli) const VERSION: CommandSpec = CommandSpec {
    name: "version",
    synopsis: "Prints the Serf version",
    arguments: "[options]",
    about: "Prints the version of this program and the range of protocol versions that its agent \
            speaks. Use it to check before an upgrade that old and new agents understand each \
            other. The exit code is always 0.",
    flags: &[FORMAT],
    ignores_flags: true,
    run,
    ..SPEC
};

/// What `-format json` prints.
#[derive(Serialize)]
struct Version {
    version: &'static str,
    protocol: u8,
    protocol_min: u8,
}

fn run(args: &Parsed) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let json = Version { version, protocol: 5, protocol_min: 2 };
    print(args, &format!("{version}\nAgent Protocol: 5 (Understands back to: 2)"), &json)
}
