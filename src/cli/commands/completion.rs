//! `serf completion`

use super::{
    super::{complete, output::bytes},
    ALL, CommandSpec, Failure, Parsed, SPEC,
};

pub(super) const COMPLETION: CommandSpec = CommandSpec {
    name: "completion",
    synopsis: "Prints a completion script for a shell",
    arguments: "bash|zsh|fish",
    about: "Prints a script that completes the commands and flags of this program. Use it in the \
            start-up file of a shell: source <(serf completion bash).\n\n\
            Exits with 0, or with 1 for an unknown shell.",
    flags: &[],
    run,
    ..SPEC
};

fn run(args: &Parsed) -> Result<(), Failure> {
    let script = match args.positionals.as_slice() {
        [shell] => complete::script(shell, ALL),
        _ => None,
    };
    let usage = || Failure::Usage("One of bash, zsh, fish must be specified.".to_owned());
    bytes(script.ok_or_else(usage)?.as_bytes());
    Ok(())
}
