//! Commands that talk to no agent.

use super::{
    super::{
        complete,
        output::{Json, bytes, line},
    },
    ALL, CommandSpec, FORMAT, Failure, Parsed, wants_json,
};
use crate::agent::{self, FileConfig, Settings};

pub(super) const VALIDATE: CommandSpec = CommandSpec {
    name: "validate",
    synopsis: "Checks configuration files without starting an agent",
    arguments: "file-or-directory ...",
    about: "Checks all that the agent checks before it opens a socket, tells the first mistake in the \
            agent's words, and what only a start can tell.",
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
    let (settings, warnings) = Settings::build(config).map_err(message)?;
    let unchecked = agent::check(&settings).map_err(message)?;
    if !wants_json(args)? {
        warnings.iter().for_each(|warning| line(warning));
        line("Configuration is valid!");
        for what in unchecked {
            line(&format!("Not checked: {what}"));
        }
        return Ok(());
    }
    let texts = |texts: Vec<String>| Json::List(texts.into_iter().map(Json::Text).collect());
    let json = [
        ("valid", Json::Bool(true)),
        ("warnings", texts(warnings)),
        ("not_checked", texts(unchecked)),
    ];
    line(&Json::object(json).pretty());
    Ok(())
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
