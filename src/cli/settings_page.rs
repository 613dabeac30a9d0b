//! Generates the manual page of configuration files from the table of settings.

use std::fmt::Write as _;

use super::complete::roff;
use crate::agent::{KEYS, Key, Origin, Shape};

/// Generates serf.json(5) in roff.
pub(super) fn manual() -> String {
    let mut out = String::from(HEAD);
    for (title, origin) in [("KEYS", Origin::Go), ("KEYS OF THIS PROGRAM ALONE", Origin::Ours)] {
        let _ = writeln!(out, ".SH {title}");
        for key in KEYS.iter().filter(|key| key.origin == origin) {
            let _ = writeln!(out, ".TP\n.B {}\n{}", roff(key.name), roff(&described(key)));
        }
    }
    out.push_str(TAIL);
    out
}

fn described(key: &Key) -> String {
    let mut text = format!("{} Type: {}.", key.doc, key.shape.json_type());
    if !key.default.is_empty() {
        let _ = write!(text, " Default: {}.", key.default);
    }
    let flag = flag_of(key);
    if !flag.is_empty() {
        let _ = write!(text, " Flag: {flag}.");
    }
    let _ = write!(text, " Of several sources: {}.", key.shape.merge_rule());
    text
}

/// The flag of `serf agent` for a setting; that of a switch turns it off.
fn flag_of(key: &Key) -> String {
    match (key.flag, key.shape) {
        ("", _) => String::new(),
        (flag, Shape::Flag | Shape::Switch | Shape::Ignored) => format!("-{flag}"),
        (flag, _) => format!("-{flag} {}", key.value),
    }
}

const HEAD: &str = "\
.TH SERF.JSON 5
.SH NAME
serf.json \\- configuration of the Serf agent
.SH SYNOPSIS
.B serf agent
\\-config\\-file
.I file
\\-config\\-dir
.I directory
.SH DESCRIPTION
A configuration file is a JSON object of the keys below, in any case. Of a directory, the files that
end in .json are read in the order of their names. Later files change what earlier ones say, and
flags come last; how, each key says. An unknown key is a mistake. Durations are written as in Go:
300ms, 10s, 1h30m.
.PP
.B serf validate
.I file
checks a file and starts nothing. SIGHUP makes an agent read its files again: event_handlers, tags,
log_level and retry_join take effect.
.PP
A key or token may be written as @FILE, which holds it, or @credential:NAME, a credential of
systemd.
";

const TAIL: &str = "\
.SH EXAMPLE
.nf
{
  \"bind\": \"10.0.0.1\",
  \"encrypt_key\": \"@/etc/serf/gossip.key\",
  \"tags\": {\"role\": \"web\"},
  \"retry_join\": [\"10.0.0.2\", \"10.0.0.3\"],
  \"snapshot_path\": \"/var/lib/serf/snapshot\",
  \"event_handlers\": [\"member\\-join=/etc/serf/join.sh\"]
}
.fi
.SH FILES
.TP
.I /etc/serf/*.json
read by the unit of the packages.
.SH SEE ALSO
.BR serf (1)
";

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::cli::{CommandSpec, Kind, commands::ALL};

    #[test]
    fn the_manual_has_every_key() {
        let manual = manual();
        for key in KEYS {
            assert!(manual.contains(&format!("\n.B {}\n", roff(key.name))), "{}", key.name);
            assert!(manual.contains(&roff(key.doc)), "{}", key.name);
        }
        assert!(manual.lines().all(|line| !line.starts_with('\'')), "a line that is no text");
    }

    /// Goal: the book agrees with the tables. Method: its rows are generated here and compared;
    /// with `UPDATE_DOCS` set they are written.
    #[test]
    fn the_pages_of_the_book_are_made_from_the_tables() {
        let settings = |origin| {
            let keys: Vec<_> = KEYS.iter().filter(|key| key.origin == origin).collect();
            let head = "| key | flag | type | default | of several | since | what it does |";
            let rows = keys.iter().map(|key| row(key)).collect::<String>();
            format!("{head}\n|---|---|---|---|---|---|---|\n{rows}")
        };
        check("configuration.md", "keys of Go", &settings(Origin::Go));
        check("configuration.md", "our keys", &settings(Origin::Ours));
        // The simulator is an optional feature, documented in docs/simulation.md.
        let commands = ALL.iter().filter(|command| command.name != "simulate");
        check("commands.md", "commands", &commands.map(section).collect::<String>());
    }

    fn row(key: &Key) -> String {
        let code = |text: &str| match text {
            "" => String::new(),
            text => format!("`{}`", text.replace('|', "\\|")),
        };
        let doc = key.doc.replace('|', "\\|").replace('<', "&lt;");
        let (kind, rule) = (key.shape.json_type(), key.shape.merge_rule());
        let (name, flag) = (code(key.name), code(&flag_of(key)));
        let (default, since) = (code(key.default), key.since);
        format!("| {name} | {flag} | {kind} | {default} | {rule} | {since} | {doc} |\n")
    }

    fn section(command: &CommandSpec) -> String {
        let about = command.about.replace('<', "&lt;");
        let mut out = format!("## serf {}\n\n", command.name);
        let _ = write!(out, "`serf {} {}`\n\n{about}\n\n", command.name, command.arguments);
        let flags: Vec<_> = command.flags.iter().copied().flatten().collect();
        if !flags.is_empty() && command.name != "agent" {
            out.push_str("| flag | what it does |\n|---|---|\n");
            for flag in flags {
                let value = if flag.kind == Kind::Bool { "" } else { flag.value };
                let equals = if flag.kind == Kind::Bool { "" } else { "=" };
                let about = flag.about().replace('|', "\\|").replace('<', "&lt;");
                let _ = writeln!(out, "| `-{}{equals}{value}` | {about} |", flag.name);
            }
            out.push('\n');
        }
        out
    }

    /// Compares the text between two marks of a page.
    fn check(page: &str, part: &str, wanted: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
        let text = fs::read_to_string(&path).expect("a page of the book");
        let (begin, end) = (format!("<!-- {part} -->\n"), format!("<!-- end of {part} -->"));
        let (head, rest) = text.split_once(&begin).expect("the mark in front");
        let (found, tail) = rest.split_once(&end).expect("the mark behind");
        let wanted = format!("\n{}\n\n", wanted.trim_end());
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&path, format!("{head}{begin}{wanted}{end}{tail}")).expect("written");
            return;
        }
        let hint = "UPDATE_DOCS=1 cargo test -p ruserf --lib settings_page writes it";
        assert!(found == wanted, "docs/{page}, {part}: {hint}");
    }
}
