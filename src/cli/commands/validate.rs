//! `serf validate`

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

use serde::Serialize;

use super::{
    super::output::{line, pretty},
    CommandSpec, FORMAT, Failure, Parsed, SPEC, wants_json,
};
use crate::agent::{self, AgentError, FileConfig, Notices, Settings};

pub(super) const VALIDATE: CommandSpec = CommandSpec {
    name: "validate",
    synopsis: "Checks configuration files without starting an agent",
    arguments: "[options] file-or-directory ...",
    about: "Checks everything that an agent checks before it opens a socket, reports the first \
            mistake with the agent's text, warns of what fails later, and lists what only a start \
            can find out. Use it before a restart or a reload. It changes nothing.\n\n\
            Exits with 0 if the configuration is valid, with 1 otherwise.",
    flags: &[FORMAT],
    run,
    ..SPEC
};

/// The output of `-format json`.
#[derive(Serialize)]
struct Report {
    valid: bool,
    warnings: Vec<String>,
    not_checked: Vec<String>,
}

fn run(args: &Parsed) -> Result<(), Failure> {
    if args.positionals.is_empty() {
        return Err(Failure::Usage("At least one file must be specified.".to_owned()));
    }
    let paths: Vec<_> = args.raw.iter().map(|path| OsStr::from_bytes(path)).collect();
    let message = |error: AgentError| Failure::Message(error.to_string());
    let config = FileConfig::read_all(&paths).map_err(message)?;
    let mut notices = Notices::default();
    let settings = Settings::build(config, &mut notices).map_err(message)?;
    let agent::Verdict { warnings, unchecked } = agent::check(&settings).map_err(message)?;
    let (warnings, not_checked) = ([notices.warnings, warnings].concat(), unchecked);
    if wants_json(args)? {
        line(&pretty(&Report { valid: true, warnings, not_checked }));
        return Ok(());
    }
    warnings.iter().for_each(|warning| line(warning));
    line("Configuration is valid!");
    for what in not_checked {
        line(&format!("Not checked: {what}"));
    }
    Ok(())
}
