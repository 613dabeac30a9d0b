//! Results of a call: outputs for the driver, actions for the layer below, timers.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc};

use super::{Completion, Error, Output, QueryId, internal_query::InternalRequest};
use crate::{base::Timers, swim::OpId};

#[derive(Default)]
pub(crate) struct Effects {
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) actions: VecDeque<Action>,
    pub(crate) timers: Timers<Timer>,
}

/// Actions that need the layer below.
#[derive(Debug)]
pub(crate) enum Action {
    /// Announce ourselves again, as a message claims that we are leaving.
    BroadcastJoin,
    /// Send a user message in one packet; to ourselves without a socket.
    Send { to: SocketAddr, message: Vec<u8> },
    /// A `_serf_` query arrived.
    Internal(InternalRequest),
    /// Another node claims our name: ask the others.
    Vote,
    /// Try to reach a failed peer.
    Reconnect { to: SocketAddr, node: Arc<str> },
    /// No other member is alive: join again through the entries of earlier joins.
    RejoinSeeds,
    /// Exchange states with a member now.
    Sync { to: SocketAddr, node: Arc<str> },
    /// Announce a pruned member again if the layer below knows it as alive.
    Recheck(Arc<str>),
}

/// The timers of this layer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Reap,
    Reconnect,
    QueueCheck,
    Snapshot,
    /// The deadline of a query that we asked.
    Query(QueryId),
    /// The deadline of an operation.
    Op(OpId),
    /// The keyring file was not written in time.
    Storing(OpId),
    /// Contact the next peer of the snapshot.
    Rejoin,
    /// Ask a member whose clocks were ahead again.
    AskClocks(Arc<str>),
    /// Erase a leaving member.
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
