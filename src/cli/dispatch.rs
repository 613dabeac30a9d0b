//! Parses arguments, runs the command and determines the exit code.

use std::{ffi::OsString, process::ExitCode};

use super::{
    CommandSpec, Failure, ParseError, Parsed, commands, flags, help, non_utf8, output, similar,
};

/// Runs the program with the arguments after its name.
pub fn run(args: Vec<OsString>) -> ExitCode {
    ExitCode::from(dispatch(&args))
}

/// Runs a command; the only place that determines the exit code.
fn dispatch(raw: &[OsString]) -> u8 {
    let texts: Vec<_> = raw.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let args = texts.as_slice();
    // Go's main handles these two before anything else, at any position.
    if args.iter().any(|arg| arg == "-v" || arg == "--version") {
        return finish(commands::VERSION, (commands::VERSION.run)(&Parsed::default()));
    }
    let invocation = Invocation::of(args);
    let Some(name) = invocation.command else {
        help::print_commands(commands::ALL);
        return if invocation.help { 0 } else { 127 };
    };
    let Some((command, rest)) = command(name, invocation.rest) else {
        help::print_commands(commands::ALL);
        output::error_line(&unknown_command(name));
        return if invocation.help { 0 } else { 127 };
    };
    if invocation.help {
        output::error_line(&help::text(command));
        return 0;
    }
    if !invocation.flags_before.is_empty() {
        output::error_line(
            "Invalid flags before the subcommand. If these flags are for\n\
             the subcommand, please put them after the subcommand.\n",
        );
        output::error_line(&help::text(command));
        return 1;
    }
    let result = match flags::parse(command.flags, rest) {
        Ok(mut parsed) => {
            non_utf8::keep(&mut parsed, raw);
            non_utf8::unchanged(command.name, &parsed).and_then(|()| (command.run)(&parsed))
        }
        Err(_) if command.ignores_flags => (command.run)(&Parsed::default()),
        Err(error) => Err(Failure::Flags(error)),
    };
    finish(*command, result)
}

/// Finds a command by one or two words; returns it with the remaining arguments.
fn command<'r>(name: &str, rest: &'r [String]) -> Option<(&'static CommandSpec, &'r [String])> {
    let of = |wanted: &str| commands::ALL.iter().find(|command| command.name == wanted);
    if let Some((second, after)) = rest.split_first()
        && let Some(command) = of(&format!("{name} {second}"))
    {
        return Some((command, after));
    }
    Some((of(name)?, rest))
}

/// The suggestion for an unknown command, printed after Go's list of commands.
fn unknown_command(name: &str) -> String {
    let mut text = format!("Unknown command '{name}'.");
    let names = commands::ALL.iter().map(|command| command.name);
    if let Some(near) = similar::nearest(name, names) {
        text.push_str(&format!(" Did you mean '{near}'?"));
    }
    text
}

fn finish(command: CommandSpec, result: Result<(), Failure>) -> u8 {
    let prefix = command.error_prefix;
    match result {
        Ok(()) => return 0,
        Err(Failure::Code(code)) => return code,
        Err(Failure::Silent) => {}
        Err(Failure::Message(message)) => output::line(&format!("{prefix}{message}")),
        Err(Failure::Hinted(message, hint)) => {
            output::line(&format!("{prefix}{message}"));
            output::error_line(hint);
        }
        Err(Failure::Usage(message)) => {
            output::line(&format!("{message}\n\n{}", help::text(&command)));
        }
        Err(Failure::Help) => output::line(&help::text(&command)),
        Err(Failure::Flags(ParseError::Help)) => {
            output::line(&format!("{prefix}{}", help::text(&command)));
        }
        Err(Failure::Flags(error)) => {
            output::error_line(&error.to_string());
            output::line(&format!("{prefix}{}", help::text(&command)));
            if let ParseError::Undefined(name) = error {
                let names = command.flags.iter().copied().flatten().map(|flag| flag.name);
                let near = similar::nearest(&name, names);
                // Repeated here, as the help text may have scrolled the error away.
                if let Some(near) = near {
                    output::error_line(&format!("Unknown flag -{name}. Did you mean -{near}?"));
                }
            }
        }
    }
    1
}

/// The arguments, split as by Go's CLI library.
struct Invocation<'a> {
    command: Option<&'a str>,
    help: bool,
    flags_before: Vec<&'a str>,
    rest: &'a [String],
}

impl<'a> Invocation<'a> {
    fn of(args: &'a [String]) -> Self {
        let at = args.iter().position(|arg| !arg.starts_with('-'));
        let (before, rest) = args.split_at(at.unwrap_or(args.len()));
        let is_help = |arg: &&String| ["-h", "-help", "--help"].contains(&arg.as_str());
        let help = args.iter().take_while(|arg| *arg != "--").any(|arg| is_help(&arg));
        Self {
            command: rest.first().map(String::as_str),
            help,
            flags_before: before.iter().map(String::as_str).collect(),
            rest: rest.get(1..).unwrap_or_default(),
        }
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    #[test]
    fn the_simulator_is_a_command() {
        let run = |args: &[&str]| {
            super::dispatch(&args.iter().map(|arg| (*arg).into()).collect::<Vec<_>>())
        };
        assert_eq!(run(&["simulate", "--help"]), 0);
        assert_eq!(run(&["simulate", "--nodes", "10", "--minutes", "1"]), 0);
        assert_eq!(run(&["simulate", "--no-such-flag"]), 1);
        assert_eq!(run(&["simulate", "-loss", "2"]), 1);
    }
}
