//! Commands that talk to no agent.

use super::{
    super::{
        complete,
        output::{Json, bytes, line},
    },
    ALL, CommandSpec, FORMAT, Failure, Parsed, say,
};
use crate::agent::{FileConfig, Settings};

pub(super) const VALIDATE: CommandSpec = CommandSpec {
    name: "validate",
    synopsis: "Checks configuration files without starting an agent",
    arguments: "file-or-directory ...",
    about: "Reads configuration files as the agent does, one after the other, and tells the \
            first mistake.",
    flags: &[FORMAT],
    ignores_flags: false,
    error_prefix: "",
    run: validate,
};

fn validate(args: &Parsed) -> Result<(), Failure> {
    if args.positionals.is_empty() {
        return Err(Failure::Usage("At least one file must be specified.".to_owned()));
    }
    let message = |error: crate::agent::AgentError| Failure::Message(error.to_string());
    let config = FileConfig::read_all(&args.positionals).map_err(message)?;
    let (_, warnings) = Settings::build(config).map_err(message)?;
    for warning in warnings {
        line(&warning);
    }
    say(args, "Configuration is valid!", Json::object([("valid", Json::Bool(true))]))
}

pub(super) const COMPLETION: CommandSpec = CommandSpec {
    name: "completion",
    synopsis: "Prints a completion script for a shell",
    arguments: "bash|zsh|fish",
    about: "Prints a script that completes commands and flags.",
    flags: &[],
    ignores_flags: false,
    error_prefix: "",
    run: completion,
};

fn completion(args: &Parsed) -> Result<(), Failure> {
    let script = match args.positionals.as_slice() {
        [shell] => complete::script(shell, ALL),
        _ => None,
    };
    let usage = || Failure::Usage("One of bash, zsh, fish must be specified.".to_owned());
    bytes(script.ok_or_else(usage)?.as_bytes());
    Ok(())
}

pub(super) const MAN: CommandSpec = CommandSpec {
    name: "man",
    synopsis: "Prints the manual page",
    arguments: "",
    about: "Prints the manual page in roff, for man(1).",
    flags: &[],
    ignores_flags: false,
    error_prefix: "",
    run: man,
};

fn man(_: &Parsed) -> Result<(), Failure> {
    bytes(complete::manual(ALL).as_bytes());
    Ok(())
}
