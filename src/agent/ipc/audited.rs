//! Collects what the audit logs about the commands of a session.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::session::Session;
use crate::{
    agent::audit::{Audit, Audited, Who},
    rpc::{
        decode,
        protocol::{Command, EventRequest, ForceLeave, Join, Query, Respond, Tags},
    },
};

impl Session {
    /// Remembers a command until it is answered. A refused command is always logged.
    pub(super) fn audit(&mut self, seq: u64, command: Command, body: &[u8], is_refused: bool) {
        if self.agent.audit.is_on() && (is_refused || Audit::is_about(command)) {
            self.audited.push_back(Audited { seq, command, object: object(command, body) });
        }
    }

    /// Logs a command that has been answered. Commands are answered in order.
    pub(super) fn audit_answer(&mut self, seq: u64, error: &str) {
        let Some(audited) = self.audited.front().filter(|audited| audited.seq == seq) else {
            return;
        };
        let holder = self.holder.borrow();
        let vouched = holder.as_ref().and_then(|holder| holder.certificate());
        let name = holder.as_ref().map(|holder| holder.name());
        let (token, entry) = if vouched.is_some() { (None, name) } else { (name, None) };
        let shown = self.certificate.as_ref().map(|identity| identity.shown.as_str());
        let who =
            Who { token, entry, certificate: vouched.or(shown), uid: self.uid, from: &self.client };
        self.agent.audit.record(audited.command, &audited.object, who, error);
        drop(holder);
        self.audited.pop_front();
    }
}

/// The name, address or tags that a command affects. Keys are secrets and are not logged.
fn object(command: Command, body: &[u8]) -> Vec<u8> {
    match command {
        Command::Event => parse(body, |event: EventRequest| event.name.0),
        Command::Query => parse(body, |query: Query| query.name.0),
        Command::ForceLeave => parse(body, |leave: ForceLeave| leave.node.into_bytes()),
        Command::Join => {
            parse(body, |join: Join| join.existing.unwrap_or_default().join(" ").into_bytes())
        }
        Command::Respond => parse(body, |answer: Respond| answer.id.to_string().into_bytes()),
        Command::Tags => parse(body, changed_tags),
        _ => Vec::new(),
    }
}

fn parse<T: DeserializeOwned>(body: &[u8], of: impl FnOnce(T) -> Vec<u8>) -> Vec<u8> {
    decode(body).map(of).unwrap_or_default()
}

/// `name=value` for each tag that is set, `-name` for each that is deleted.
fn changed_tags(request: Tags) -> Vec<u8> {
    let set: BTreeMap<String, String> = request.tags.unwrap_or_default();
    let set = set.into_iter().map(|(name, value)| format!("{name}={value}"));
    let deleted = request.delete_tags.unwrap_or_default().into_iter();
    let all: Vec<_> = set.chain(deleted.map(|name| format!("-{name}"))).collect();
    all.join(" ").into_bytes()
}
