//! `serf agent`

use std::{ffi::OsString, path::PathBuf};

use super::{CommandSpec, Failure, Flag, Kind, Parsed, flag};
use crate::agent::{self, AgentError, FileConfig, KEYS, Key, Shape};

pub(super) const AGENT: CommandSpec = CommandSpec {
    name: "agent",
    synopsis: "Runs a Serf agent",
    arguments: "[options]",
    about: "Runs a member of the cluster until a signal or `serf leave` ends it. Every machine \
            that is to be a member runs one. Settings come from configuration files and from \
            flags; flags take precedence. SIGHUP reloads the files.\n\n\
            Exits with 0 after a graceful leave, and with 1 if it cannot start, if no address of \
            -join answers, or if it ends without leaving.",
    flags: &[FILE_FLAGS, OFF_FLAGS, KEY_FLAGS],
    ignores_flags: false,
    error_prefix: "==> ",
    run,
};

const fn count_flags() -> usize {
    let (mut at, mut count) = (0, 0);
    while at < KEYS.len() {
        count += has_flag(&KEYS[at]) as usize;
        at += 1;
    }
    count
}

/// Whether a setting has a flag of its own. The flag of a switch is the opposite of its setting,
/// and is described in [`OFF_FLAGS`].
const fn has_flag(key: &Key) -> bool {
    !key.flag.is_empty() && !matches!(key.shape, Shape::Switch)
}

const fn flag_of(key: &Key) -> Flag {
    let kind = match key.shape {
        Shape::Flag | Shape::Switch => Kind::Bool,
        // Go reads durations as text and reports invalid ones later with another error.
        Shape::Text | Shape::Secret | Shape::Duration | Shape::Ignored => Kind::Text,
        Shape::Int | Shape::Version => Kind::Int,
        Shape::List | Shape::Map => Kind::List,
    };
    let has_default = !key.default.is_empty() && !matches!(kind, Kind::Bool);
    flag(key.flag, kind, if has_default { key.default } else { key.value }, key.doc)
}

fn run(args: &Parsed) -> Result<(), Failure> {
    let files: Vec<_> = files(args).into_iter().map(PathBuf::from).collect();
    match agent::run(|| read(args), &files) {
        0 => Ok(()),
        code => Err(Failure::Code(code)),
    }
}

/// Flags are decoded first, so that their errors are reported first, but merged last.
fn read(args: &Parsed) -> Result<FileConfig, AgentError> {
    let flags = FileConfig::from_flags(|flag| args.list(flag))?;
    let mut config = FileConfig::read_all(&files(args))?;
    config.merge(flags);
    Ok(config)
}

/// The files and directories of the configuration, in their order.
fn files(args: &Parsed) -> Vec<OsString> {
    let is_path = |name: &str| FILE_FLAGS.iter().any(|flag| flag.name == name);
    let paths = args.order.iter().filter(|(name, _)| is_path(name));
    paths.map(|(_, path)| args.original(path)).collect()
}

const FILE_FLAGS: &[Flag] = &[
    flag("config-dir", Kind::List, "<dir>", "Directory whose .json files are read, by name."),
    flag("config-file", Kind::List, "<file>", "Configuration file in JSON."),
];
/// Flags that turn a setting off.
const OFF_FLAGS: &[Flag] =
    &[flag("disable-compression", Kind::Bool, "", "Do not compress gossip.")];
/// Flags of the settings that have one.
const KEY_FLAGS: &[Flag] = &{
    let mut flags = [flag("", Kind::Bool, "", ""); count_flags()];
    let (mut at, mut count) = (0, 0);
    while at < KEYS.len() {
        if has_flag(&KEYS[at]) {
            flags[count] = flag_of(&KEYS[at]);
            count += 1;
        }
        at += 1;
    }
    flags
};
