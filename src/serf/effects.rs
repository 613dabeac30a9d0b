//! What a call leaves to be done: outputs for the driver, actions for the layer below, timers.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc};

use super::{Completion, Error, Output, QueryId, internal_query::InternalRequest};
use crate::{base::Timers, swim::OpId};

#[derive(Default)]
pub(crate) struct Effects {
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) actions: VecDeque<Action>,
    pub(crate) timers: Timers<Timer>,
}

/// Work that needs the layer below.
#[derive(Debug)]
pub(crate) enum Action {
    /// Announce ourselves again: a message claims that we leave.
    BroadcastJoin,
    /// A user message in one packet, or without a socket to ourselves.
    Send { to: SocketAddr, message: Vec<u8> },
    /// A `_serf_` query arrived.
    Internal(InternalRequest),
    /// Another node claims our name: ask the others.
    Vote,
    /// Try to reach a peer again.
    Reconnect { to: SocketAddr, node: Arc<str> },
    /// No other member is alive: join again through the entries of earlier joins.
    RejoinSeeds,
    /// Exchange states with a member now.
    Sync { to: SocketAddr, node: Arc<str> },
    /// The layer below may know a member that we pruned.
    Recheck(Arc<str>),
}

/// What happens at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Reap,
    Reconnect,
    QueueCheck,
    Snapshot,
    /// A query that we asked may be over.
    Query(QueryId),
    /// An operation has waited long enough.
    Op(OpId),
    /// The keyring file takes too long.
    Storing(OpId),
    /// The next peer of the snapshot.
    Rejoin,
    /// A member whose clocks were ahead is asked again.
    AskClocks(Arc<str>),
    /// A leaving member is erased.
    Prune(Arc<str>),
}

impl Effects {
    pub(crate) fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(crate) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    /// Sends a message in one packet.
    pub(crate) fn send(&mut self, to: SocketAddr, message: Vec<u8>) {
        self.act(Action::Send { to, message });
    }

    pub(crate) fn complete(&mut self, op: OpId, result: Result<Completion, Error>) {
        self.output(Output::Done { op, result });
    }
}
