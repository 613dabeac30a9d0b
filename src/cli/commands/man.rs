//! `serf man`

use super::{
    super::{complete, output::bytes},
    ALL, CommandSpec, Failure, Parsed, SPEC,
};

pub(super) const MAN: CommandSpec = CommandSpec {
    name: "man",
    synopsis: "Prints the manual page",
    arguments: "",
    about: "Prints the manual page of this program in roff. Use it to read or install the page: \
            serf man | man -l -. The exit code is always 0.",
    flags: &[],
    run,
    ..SPEC
};

fn run(_: &Parsed) -> Result<(), Failure> {
    bytes(complete::manual(ALL).as_bytes());
    Ok(())
}
