//! Queries that members ask each other behind the application's back.
//! Go: `serf/internal_query.go`.

use std::fmt;

use bytes::Bytes;
use tracing::{debug, error, warn};

use super::{Message, Query, QueryId, message, state::State};
use crate::{
    base::{Instant, printable},
    msgpack::Bin,
    wire::Keyring,
};

/// A `_serf_` query that reached us.
pub(crate) struct InternalQuery {
    pub(crate) id: QueryId,
    /// Name without the prefix.
    name: String,
    payload: Bytes,
}

/// Without the payload, which may hold a key.
impl fmt::Debug for InternalQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InternalQuery").field("name", &self.name).finish_non_exhaustive()
    }
}

impl InternalQuery {
    /// The internal query that `query` is, if it is one.
    pub(crate) fn of(query: &Query) -> Option<Self> {
        let name = query.name.strip_prefix(PREFIX)?.to_owned();
        Some(Self { id: query.id, name, payload: query.payload.clone() })
    }
}

impl State {
    /// Answers an internal query; gives the new keyring if it changed.
    pub(crate) fn handle_internal(
        &mut self,
        now: Instant,
        query: &InternalQuery,
        keyring: &Keyring,
    ) -> Option<Keyring> {
        match query.name.as_str() {
            // The ack said it all.
            "ping" => None,
            "conflict" => {
                self.answer_conflict(now, query.id, &query.payload);
                None
            }
            name @ ("install-key" | "use-key" | "remove-key" | "list-keys") => {
                self.answer_keys(now, query.id, name, &query.payload, keyring)
            }
            _ => {
                if self.logs.old.admit(self.now) {
                    let name = printable(&*query.name);
                    warn!(target: "serf", "Unhandled internal query '{PREFIX}{name}'");
                }
                None
            }
        }
    }

    /// Tells what we know about the node whose name is contested, unless it is our own.
    fn answer_conflict(&mut self, now: Instant, id: QueryId, name: &[u8]) {
        if name == self.name.as_bytes() {
            return;
        }
        if self.logs.details.admit(now) {
            debug!(target: "serf", "Got conflict resolution query for '{}'", printable(name));
        }
        let member = std::str::from_utf8(name).ok().and_then(|name| self.members.get(name));
        let member = member.map(|entry| entry.member.clone());
        let record = member.as_deref().map(|member| {
            let [
                protocol_min,
                protocol_max,
                protocol_cur,
                delegate_min,
                delegate_max,
                delegate_cur,
            ] = member.vsn;
            message::MemberRecord {
                name: member.name.as_bytes(),
                addr: Bin::from(&*member.addr),
                port: member.port,
                tags: member.tags.iter().map(|(k, v)| (k.as_bytes(), v.as_bytes())).collect(),
                status: i64::from(member.status.number()),
                protocol_min,
                protocol_max,
                protocol_cur,
                delegate_min,
                delegate_max,
                delegate_cur,
            }
        });
        let mut payload = Vec::new();
        self.config.transform.encode_message(&Message::ConflictResponse(record), &mut payload);
        if let Err(error) = self.respond(now, id, &payload)
            && self.logs.answers.admit(now)
        {
            error!(target: "serf", "Failed to respond to conflict query: {error}");
        }
    }
}

/// Whether a query of this name shows or changes keys.
pub(crate) fn is_key_query(name: &[u8]) -> bool {
    let name = name.strip_prefix(PREFIX.as_bytes());
    matches!(name, Some(b"install-key" | b"use-key" | b"remove-key" | b"list-keys"))
}

/// What internal names begin with. Go: `InternalQueryPrefix`.
pub(crate) const PREFIX: &str = "_serf_";
