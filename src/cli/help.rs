//! Generates help texts from the flag tables.

use super::{Failure, Flag, Kind, Parsed, output};

/// A command of the program.
#[derive(Clone, Copy)]
pub struct CommandSpec {
    /// Name of the command.
    pub name: &'static str,
    /// Description in the list of commands.
    pub synopsis: &'static str,
    /// Placeholders after the name in the usage line.
    pub arguments: &'static str,
    /// Its purpose, when to use it, and the meaning of its exit codes. Paragraphs are separated by
    /// an empty line.
    pub about: &'static str,
    /// Tables of its flags.
    pub flags: &'static [&'static [Flag]],
    /// Whether it runs despite invalid flags.
    pub ignores_flags: bool,
    /// Prefix of its error messages.
    pub error_prefix: &'static str,
    /// Entry point.
    pub run: fn(&Parsed) -> Result<(), Failure>,
}

/// The help text of a command.
pub(super) fn text(command: &CommandSpec) -> String {
    let mut out = format!("Usage: serf {}", command.name);
    if !command.arguments.is_empty() {
        out.push(' ');
        out.push_str(command.arguments);
    }
    out.push_str("\n\n");
    for line in wrap(command.about, 76) {
        out.push_str(format!("  {line}").trim_end());
        out.push('\n');
    }
    let mut flags: Vec<_> = command.flags.iter().copied().flatten().collect();
    if flags.is_empty() {
        return out;
    }
    flags.sort_by_key(|flag| flag.name);
    out.push_str("\nOptions:\n\n");
    for flag in flags {
        let head = match flag.kind {
            Kind::Bool => format!("-{}", flag.name),
            Kind::Text | Kind::List | Kind::Int | Kind::Float | Kind::Duration => {
                format!("-{}={}", flag.name, flag.value)
            }
        };
        let mut head = head.as_str();
        for line in wrap(&flag.about(), 50) {
            out.push_str(&format!("  {head:<27} {line}\n"));
            head = "";
        }
    }
    out
}

/// Prints the list of commands to stderr.
pub(super) fn print_commands(commands: &[CommandSpec]) {
    let mut sorted: Vec<_> = commands.iter().map(|spec| (spec.name, spec.synopsis)).collect();
    sorted.sort_unstable();
    let width = sorted.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut out = String::from(
        "Usage: serf [--version] [--help] <command> [<args>]\n\nAvailable commands are:\n",
    );
    for (name, synopsis) in sorted {
        out.push_str(&format!("    {name:width$}    {synopsis}\n"));
    }
    output::error_line(&out);
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.len() + 1 + word.len() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}
