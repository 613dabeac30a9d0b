//! Name conflicts: when another node claims our name, the other members vote, and the node in the
//! minority shuts down. Go: `serf/serf.go:resolveNodeConflict`.

use tracing::{debug, error, info, warn};

use super::{
    Member, Message, Output, QueryId, QueryParams, asked::Asker, context::Context, effects::Action,
    internal_query::InternalQuery, membership::Membership, message, query_parts::QueryParts,
};
use crate::{
    base::printable,
    msgpack::Bin,
    swim::NodeView,
    wire::{RawAddr, Vsn},
};

/// The running vote on our name, if any.
#[derive(Default)]
pub(crate) struct Conflict {
    votes: Option<Votes>,
}

#[derive(Default)]
struct Votes {
    responses: usize,
    matching: usize,
}

impl Conflict {
    /// Go: `serf/serf.go:handleNodeConflict`.
    pub(crate) fn handle(
        &mut self,
        cx: &mut Context,
        members: &mut Membership,
        existing: &NodeView<'_>,
        other: &NodeView<'_>,
    ) {
        let text = |addr: &[u8]| RawAddr::from_wire(addr).unwrap_or_default();
        let name = existing.name;
        let ours = **name == *cx.name;
        if let Some(hook) = cx.config.delegates.conflict.clone() {
            let (known, claimed) = (members.member_of(cx, existing), members.member_of(cx, other));
            hook.on_conflict(&known, &claimed);
        }
        if !ours {
            if cx.logs.conflicts.admit(cx.now) {
                warn!(
                    target: "serf",
                    "Name conflict for '{name}' both {}:{} and {}:{} are claiming",
                    text(existing.addr), existing.port, text(other.addr), other.port
                );
            }
            return;
        }
        let enabled = cx.config.enable_name_conflict_resolution;
        if cx.logs.conflicts.admit(cx.now) {
            error!(
                target: "serf",
                "Node name conflicts with another node at {}:{}. Names must be unique! \
                 (Resolution enabled: {enabled})",
                text(other.addr), other.port
            );
        }
        if enabled && self.votes.is_none() {
            self.votes = Some(Votes::default());
            cx.effects.act(Action::Vote);
        }
    }

    /// Asks the others at which address they know us.
    pub(crate) fn start_vote(&mut self, parts: &mut QueryParts<'_>, nodes: usize) {
        let own = parts.cx.name.clone();
        let (name, params) = (InternalQuery::Conflict.name(), QueryParams::default());
        let asked = parts.ask(Asker::Vote, nodes, name.as_bytes(), own.as_bytes(), &params);
        if let Err(error) = asked {
            error!(target: "serf", "Failed to start name resolution query: {error}");
            self.votes = None;
        }
    }

    /// Counts a vote: does it name our address? `local` is our own record.
    pub(crate) fn count_vote(&mut self, cx: &mut Context, local: &Member, payload: &[u8]) {
        let record = match cx.admit(payload) {
            Ok(Message::ConflictResponse(record)) => record,
            Ok(_) | Err(_) => {
                if cx.logs.conflicts.admit(cx.now) {
                    error!(target: "serf", "Invalid conflict query response type or encoding");
                }
                return;
            }
        };
        let matches = record.is_some_and(|record| {
            record.port == local.port
                && RawAddr::from_wire(record.addr.as_slice())
                    .and_then(|addr| addr.socket_addr(record.port))
                    == local.addr()
        });
        if let Some(votes) = &mut self.votes {
            votes.responses += 1;
            votes.matching += usize::from(matches);
        }
    }

    /// Ends the vote; shuts down if we are in the minority.
    pub(crate) fn finish_vote(&mut self, cx: &mut Context) {
        let Some(Votes { responses, matching }) = self.votes.take() else { return };
        // Go counts silence as a lost vote, so that both nodes shut down.
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
        cx.effects.output(Output::ShutDown);
    }
}

/// Answers with the record of the node whose name is contested, unless it is our own.
pub(crate) fn answer_conflict(parts: &mut QueryParts<'_>, id: QueryId, name: &[u8]) {
    if name == parts.cx.name.as_bytes() {
        return;
    }
    if parts.cx.logs.details.admit(parts.cx.now) {
        debug!(target: "serf", "Got conflict resolution query for '{}'", printable(name));
    }
    let member = std::str::from_utf8(name).ok().and_then(|name| parts.members.table.get(name));
    let member = member.map(|entry| entry.member.clone());
    let record = member.as_deref().map(|member| {
        let Vsn(
            [protocol_min, protocol_max, protocol_cur, delegate_min, delegate_max, delegate_cur],
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
    let payload = parts.cx.encode(&Message::ConflictResponse(record));
    if let Err(error) = parts.respond(id, &payload)
        && parts.cx.logs.answers.admit(parts.cx.now)
    {
        error!(target: "serf", "Failed to respond to conflict query: {error}");
    }
}
