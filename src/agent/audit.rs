//! The audit log: a line for each command that changes state or reveals keys, and for each command
//! that was refused.

use std::sync::{Mutex, PoisonError};

use tracing::info;

use crate::{
    base::{LogLimit, printable, printable_text},
    driver,
    rpc::protocol::Command,
};

/// Writes audit lines, if the setting `audit` is on.
pub(super) struct Audit {
    /// A rate limit for each command, so that many events do not suppress the line of a key
    /// operation; `None` if the audit is off.
    limits: Option<Mutex<Vec<LogLimit>>>,
}

/// The identity of a client, as far as it is known.
#[derive(Clone, Copy, Default)]
pub(super) struct Who<'a> {
    pub(super) token: Option<&'a str>,
    /// The entries of the tokens file that its certificate has.
    pub(super) entry: Option<&'a str>,
    pub(super) certificate: Option<&'a str>,
    pub(super) uid: Option<u32>,
    /// The address, or `unix:` and the process id.
    pub(super) from: &'a str,
}

/// A command that has not been answered yet.
pub(super) struct Audited {
    pub(super) seq: u64,
    pub(super) command: Command,
    /// The name or address that the command affects.
    pub(super) object: Vec<u8>,
}

impl Audit {
    pub(super) fn new(is_on: bool) -> Self {
        let limits = || Command::ALL.iter().map(|command| LogLimit::new(command.name()));
        Self { limits: is_on.then(|| Mutex::new(limits().collect())) }
    }

    pub(super) fn is_on(&self) -> bool {
        self.limits.is_some()
    }

    /// Whether a command changes state or reveals keys.
    pub(super) fn is_about(command: Command) -> bool {
        match command {
            Command::Event
            | Command::ForceLeave
            | Command::Join
            | Command::Leave
            | Command::Query
            | Command::Respond
            | Command::InstallKey
            | Command::UseKey
            | Command::RemoveKey
            | Command::ListKeys
            | Command::Tags => true,
            Command::Handshake
            | Command::Auth
            | Command::Members
            | Command::MembersFiltered
            | Command::Stream
            | Command::Monitor
            | Command::Stop
            | Command::Stats
            | Command::GetCoordinate => false,
        }
    }

    /// Writes a line, unless the rate limit suppresses it. `error` is empty if the command
    /// succeeded.
    pub(super) fn record(&self, command: Command, object: &[u8], who: Who<'_>, error: &str) {
        let Some(limits) = &self.limits else { return };
        let mut limits = limits.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = limits.iter_mut().find(|limit| limit.about == command.name());
        if limit.is_some_and(|limit| limit.admit(driver::now())) {
            let line = line(command, object, who, error);
            info!(target: "agent.ipc", "audit: {line}");
        }
    }

    /// Logs how many lines were suppressed. Called once a second.
    pub(super) fn report(&self) {
        let Some(limits) = &self.limits else { return };
        for limit in limits.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            if let Some(count) = limit.take_suppressed(driver::now()) {
                let command = limit.about;
                info!(target: "agent.ipc", "audit: command={command} left_out={count}");
            }
        }
    }
}

/// Fields as `name=value`. Texts chosen by a client are quoted, so that it cannot forge fields.
fn line(command: Command, object: &[u8], who: Who<'_>, error: &str) -> String {
    let mut line = String::new();
    let mut field = |name: &str, value: String| {
        let space = if line.is_empty() { "" } else { " " };
        line.extend([space, name, "=", &value]);
    };
    for (name, value) in
        [("token", who.token), ("entry", who.entry), ("certificate", who.certificate)]
    {
        if let Some(value) = value {
            field(name, quoted(&printable(value).to_string()));
        }
    }
    if let Some(uid) = who.uid {
        field("uid", uid.to_string());
    }
    field("from", who.from.to_owned());
    field("command", command.name().to_owned());
    let outcome = if error.is_empty() { "ok" } else { error };
    field("outcome", quoted(&printable_text(outcome, OUTCOME_BYTES_MAX).to_string()));
    if !object.is_empty() {
        field("object", quoted(&printable(object).to_string()));
    }
    line
}

/// A JSON string: quotation marks in the text are escaped.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Most bytes of an error in a line.
const OUTCOME_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_what_and_how_it_went_and_none_can_be_forged() {
        let who = Who { token: Some("ci"), from: "127.0.0.1:5000", ..Who::default() };
        assert_eq!(
            line(Command::Event, b"deploy", who, ""),
            r#"token="ci" from=127.0.0.1:5000 command=event outcome="ok" object="deploy""#
        );
        let who = Who { certificate: Some("w\"1"), uid: Some(7), from: "unix:9", ..Who::default() };
        assert_eq!(
            line(Command::Event, b"a\" uid=0\nb", who, "no such \"member\""),
            r#"certificate="w\"1" uid=7 from=unix:9 command=event outcome="no such \"member\"" "#
                .to_owned()
                + r#"object="a\" uid=0\\nb""#
        );
        let long = line(Command::Leave, &[b'x'; 1 << 20], Who::default(), &"y".repeat(1 << 20));
        assert!(long.len() < 600, "{}", long.len());
    }
}
