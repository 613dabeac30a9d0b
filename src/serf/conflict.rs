//! Two nodes claim one name: ours asks the others, and the minority shuts down.
//! Go: `serf/serf.go:resolveNodeConflict`.

use tracing::{debug, error, info, warn};

use super::{
    Message, Output, QueryId, QueryParams,
    internal_query::InternalQuery,
    message,
    query::{Asker, socket_addr},
    state::{Action, State},
};
use crate::{
    base::{Instant, printable},
    msgpack::Bin,
    swim::NodeView,
    wire::Vsn,
};

/// The vote over our name, if one is under way.
#[derive(Default)]
pub(crate) struct Conflict {
    votes: Option<Votes>,
}

#[derive(Default)]
struct Votes {
    responses: usize,
    matching: usize,
}

impl State {
    /// Go: `serf/serf.go:handleNodeConflict`.
    pub(crate) fn handle_conflict(&mut self, existing: &NodeView<'_>, other: &NodeView<'_>) {
        let text = |addr: &[u8]| {
            socket_addr(addr, 0).map_or_else(|| "<nil>".to_owned(), |addr| addr.ip().to_string())
        };
        let name = existing.name;
        let ours = **name == *self.name;
        if let Some(hook) = self.config.delegates.conflict.clone() {
            let (known, claimed) = (self.member_of(existing), self.member_of(other));
            hook.on_conflict(&known, &claimed);
        }
        if !ours {
            if self.logs.conflicts.admit(self.now) {
                warn!(
                    target: "serf",
                    "Name conflict for '{name}' both {}:{} and {}:{} are claiming",
                    text(existing.addr), existing.port, text(other.addr), other.port
                );
            }
            return;
        }
        let enabled = self.config.enable_name_conflict_resolution;
        if self.logs.conflicts.admit(self.now) {
            error!(
                target: "serf",
                "Node name conflicts with another node at {}:{}. Names must be unique! \
                 (Resolution enabled: {enabled})",
                text(other.addr), other.port
            );
        }
        if enabled && self.conflict.votes.is_none() {
            self.conflict.votes = Some(Votes::default());
            self.actions.push_back(Action::Vote);
        }
    }

    /// Asks the others at which address they know us.
    pub(crate) fn start_vote(&mut self, now: Instant, nodes: usize) {
        let name = self.name.clone();
        let query = InternalQuery::Conflict.name();
        let params = QueryParams::default();
        let asked = self.ask(now, nodes, &query, name.as_bytes(), &params, Asker::Vote);
        if let Err(error) = asked {
            error!(target: "serf", "Failed to start name resolution query: {error}");
            self.conflict.votes = None;
        }
    }

    pub(crate) fn handle_vote(&mut self, payload: &[u8]) {
        let record = match self.admit(payload) {
            Ok(Message::ConflictResponse(record)) => record,
            Ok(_) | Err(_) => {
                if self.logs.conflicts.admit(self.now) {
                    error!(target: "serf", "Invalid conflict query response type or encoding");
                }
                return;
            }
        };
        let local = self.local_member().clone();
        let matches = record.is_some_and(|record| {
            record.port == local.port
                && socket_addr(record.addr.as_slice(), record.port) == local.socket_addr()
        });
        if let Some(votes) = &mut self.conflict.votes {
            votes.responses += 1;
            votes.matching += usize::from(matches);
        }
    }

    pub(crate) fn finish_vote(&mut self) {
        let Some(Votes { responses, matching }) = self.conflict.votes.take() else { return };
        // Go takes silence for a lost vote, so that both of two nodes shut down.
        if responses == 0 {
            warn!(target: "serf", "nobody voted in name conflict resolution, staying");
            return;
        }
        let majority = responses / 2 + 1;
        if matching >= majority {
            info!(
                target: "serf",
                "majority in name conflict resolution [{matching} / {responses}]"
            );
            return;
        }
        warn!(
            target: "serf",
            "minority in name conflict resolution, quiting [{matching} / {responses}]"
        );
        self.outputs.push_back(Output::ShutDown);
    }

    /// Answers with the record of the node whose name is contested, unless it is our own.
    pub(crate) fn answer_conflict(&mut self, now: Instant, id: QueryId, name: &[u8]) {
        if name == self.name.as_bytes() {
            return;
        }
        if self.logs.details.admit(now) {
            debug!(target: "serf", "Got conflict resolution query for '{}'", printable(name));
        }
        let member = std::str::from_utf8(name).ok().and_then(|name| self.members.get(name));
        let member = member.map(|entry| entry.member.clone());
        let record = member.as_deref().map(|member| {
            let Vsn(
                [
                    protocol_min,
                    protocol_max,
                    protocol_cur,
                    delegate_min,
                    delegate_max,
                    delegate_cur,
                ],
            ) = member.vsn;
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
