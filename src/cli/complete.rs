//! Generates shell completions and man pages from the flag tables.

use std::fmt::Write as _;

use super::{CommandSpec, Kind};

/// The script that completes commands and flags in `shell`.
pub(super) fn script(shell: &str, commands: &[CommandSpec]) -> Option<String> {
    match shell {
        "bash" => Some(bash(commands)),
        "zsh" => Some(format!(
            "#compdef serf\nautoload -U +X bashcompinit && bashcompinit\n{}",
            bash(commands)
        )),
        "fish" => Some(fish(commands)),
        _ => None,
    }
}

/// All manual pages as one roff document in section 1.
pub(super) fn manual(commands: &[CommandSpec]) -> String {
    let mut out = String::from(
        ".TH SERF 1\n.SH NAME\nserf \\- cluster membership, failure detection and events\n\
         .SH SYNOPSIS\n.B serf\n.I command\n[options]\n.SH COMMANDS\n",
    );
    for command in commands {
        let arguments = roff(command.arguments);
        let about = roff(command.about).replace("\n\n", "\n.PP\n");
        let _ = writeln!(out, ".SS serf {} {arguments}\n{about}", command.name);
        for flag in command.flags.iter().copied().flatten() {
            let value = if flag.kind == Kind::Bool { "" } else { flag.value };
            let equals = if flag.kind == Kind::Bool { "" } else { "=" };
            let _ = writeln!(
                out,
                ".TP\n.B \\-{}{equals}{}\n{}",
                roff(flag.name),
                roff(value),
                roff(&flag.about())
            );
        }
    }
    out.push_str(MANUAL_TAIL);
    out
}

pub(super) fn roff(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

fn flags(command: &CommandSpec) -> String {
    let flags = command.flags.iter().copied().flatten();
    flags.map(|flag| format!("-{}", flag.name)).collect::<Vec<_>>().join(" ")
}

fn bash(commands: &[CommandSpec]) -> String {
    let names = commands.iter().map(|command| command.name).filter(|name| !name.contains(' '));
    let names: Vec<_> = names.collect();
    let mut cases = String::new();
    // Commands of two words come first, as the first matching pattern is used.
    for two in [true, false] {
        for command in commands.iter().filter(|command| command.name.contains(' ') == two) {
            let pattern = bash_pattern(command.name);
            let mut words = flags(command);
            for second in seconds(command.name, commands) {
                let _ = write!(words, " {second}");
            }
            let _ = writeln!(cases, "    {pattern}) words=\"{words}\" ;;");
        }
    }
    format!(
        "_serf() {{\n  local cur=\"${{COMP_WORDS[COMP_CWORD]}}\" words=\"\"\n  \
         if [ \"$COMP_CWORD\" -eq 1 ]; then\n    words=\"{}\"\n  else\n    \
         case \"${{COMP_WORDS[1]}} ${{COMP_WORDS[2]}}\" in\n{cases}    esac\n  fi\n  \
         COMPREPLY=( $(compgen -W \"$words\" -- \"$cur\") )\n}}\n\
         complete -o default -F _serf serf\n",
        names.join(" ")
    )
}

/// The pattern of a command's first two words.
fn bash_pattern(name: &str) -> String {
    match name.split_once(' ') {
        Some((first, second)) => format!("{first}\\ {second}"),
        None => format!("{name}\\ *"),
    }
}

/// The second words of commands whose first word is `name`.
fn seconds<'c>(name: &str, commands: &'c [CommandSpec]) -> impl Iterator<Item = &'c str> {
    let all = commands.iter().filter_map(|command| command.name.split_once(' '));
    all.filter(move |(first, _)| *first == name).map(|(_, second)| second)
}

/// Fish's condition that a command was typed.
fn fish_seen(name: &str) -> String {
    let words = name.split(' ').map(|word| format!("__fish_seen_subcommand_from {word}"));
    words.collect::<Vec<_>>().join("; and ")
}

fn fish(commands: &[CommandSpec]) -> String {
    let quote = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
    let mut out = String::new();
    for command in commands {
        let (seen, word) = match command.name.split_once(' ') {
            Some((first, second)) => (format!("'{}'", fish_seen(first)), second),
            None => ("__fish_use_subcommand".to_owned(), command.name),
        };
        let _ = writeln!(
            out,
            "complete -c serf -n {seen} -f -a {word} -d '{}'",
            quote(command.synopsis)
        );
        for flag in command.flags.iter().copied().flatten() {
            let value = if flag.kind == Kind::Bool { "" } else { " -r" };
            let _ = writeln!(
                out,
                "complete -c serf -n '{}' -o {}{value} -d '{}'",
                fish_seen(command.name),
                flag.name,
                quote(&flag.about())
            );
        }
    }
    out
}

const MANUAL_TAIL: &str = "\
.SH EXIT STATUS
0: success. 1: failure. 127: no such command.
.SH ENVIRONMENT
.TP
.B SERF_RPC_ADDR
Default of \\-rpc\\-addr for all commands but the agent.
.TP
.B SERF_RPC_AUTH
Default of \\-rpc\\-auth.
.PP
Event handlers get SERF_EVENT, SERF_SELF_NAME, SERF_SELF_ROLE, SERF_TAG_\\fINAME\\fR, and
SERF_USER_EVENT with SERF_USER_LTIME or SERF_QUERY_NAME with SERF_QUERY_LTIME; members or the
payload come on their standard input.
.SH SIGNALS
.TP
.B SIGINT
The agent leaves the cluster and ends; see skip_leave_on_interrupt.
.TP
.B SIGTERM
It ends without leaving; see leave_on_terminate.
.TP
.B SIGHUP
It reads its configuration again.
.TP
.B SIGUSR1
It prints the metrics of the last minute.
.SH FILES
.TP
.I /etc/serf/*.json
Configuration, as the unit of the packages reads it.
.TP
.I /var/lib/serf
Its snapshot, keyring and tags.
.SH EXAMPLES
.nf
serf agent \\-node web\\-1 \\-bind 10.0.0.1 \\-encrypt @/etc/serf/gossip.key \\-join 10.0.0.2
serf members \\-status alive \\-tag role=web
serf event deploy v2
serf query \\-tag role=web uptime
.fi
.SH SEE ALSO
.BR serf.json (5)
";

#[cfg(test)]
mod tests {
    use super::{
        super::{commands::ALL, help},
        *,
    };

    #[test]
    fn every_command_and_flag_is_documented_everywhere() {
        let manual = manual(ALL);
        let [bash, fish] = ["bash", "fish"].map(|shell| script(shell, ALL).unwrap());
        for command in ALL {
            let name = command.name;
            let help = help::text(command);
            assert!(command.about.contains("xit"), "{name}: no exit code");
            assert!(manual.contains(&format!(".SS serf {name} ")), "{name}");
            assert!(bash.contains(&format!("    {}) words=", bash_pattern(name))), "{name}");
            let last = name.split(' ').next_back().unwrap();
            assert!(fish.contains(&format!("-a {last} -d ")), "{name}");
            let words = flags(command);
            for flag in command.flags.iter().copied().flatten() {
                let of = format!("{name} -{}", flag.name);
                assert!(flag.help.ends_with('.'), "{of}: {:?}", flag.help);
                assert!(help.contains(&format!("\n  -{}", flag.name)), "{of}\n{help}");
                assert!(manual.contains(&format!(".B \\-{}", roff(flag.name))), "{of}");
                assert!(words.split(' ').any(|word| word[1..] == *flag.name), "{of}");
                let completed = format!("-n '{}' -o {} ", fish_seen(name), flag.name);
                assert!(fish.contains(&completed), "{of}");
            }
        }
    }
}
