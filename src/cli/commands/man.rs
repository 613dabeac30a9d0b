//! `serf man`

use super::{
    super::{complete, output::bytes, settings_page},
    ALL, CommandSpec, Failure, Parsed, SPEC,
};

pub(super) const MAN: CommandSpec = CommandSpec {
    name: "man",
    synopsis: "Prints the manual page",
    arguments: "[serf | serf.json]",
    about: "Prints a manual page in roff: of this program, serf(1), or of its configuration files, \
            serf.json(5). Use it to read or install the pages: serf man serf.json | man -l -.\n\n\
            The exit code is 1 for a page that does not exist, and 0 otherwise.",
    flags: &[],
    run,
    ..SPEC
};

fn run(args: &Parsed) -> Result<(), Failure> {
    let page = match args.positionals.first().map(String::as_str) {
        None | Some("serf") => complete::manual(ALL),
        Some("serf.json") => settings_page::manual(),
        Some(other) => {
            return Err(Failure::Usage(format!("No manual page '{other}': serf or serf.json.")));
        }
    };
    bytes(page.as_bytes());
    Ok(())
}
