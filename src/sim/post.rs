//! Events of nodes, and where they go.

use super::{
    queue::{Event, Queue},
    trace::Trace,
};

/// What happens to a node.
#[derive(Debug)]
pub(crate) enum Kind {
    /// Its deadline may have come.
    Timer,
    /// A datagram; the `moves` say from which address it was sent and to which.
    Packet { from: u32, from_moves: u8, to_moves: u8, data: Vec<u8> },
    /// A step of a stream.
    Stream { key: StreamKey, step: Step },
    /// A dialled stream must be over.
    DialDeadline { life: u32, id: u64 },
}

/// Names a stream in the whole world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StreamKey {
    pub(crate) dialer: u32,
    pub(crate) life: u32,
    pub(crate) id: u64,
}

#[derive(Debug)]
pub(crate) enum Step {
    /// Dialer to acceptor; answered by the kernel. Carries how often the address had moved.
    Syn(u8),
    SynAck,
    Refused,
    Data(Vec<u8>),
    Reply(Vec<u8>),
    Fin,
}

/// Where events go to: the own queue, or the queue of another shard at the end of the window.
pub(crate) struct Post {
    /// Nodes in the whole world.
    pub(crate) nodes: u32,
    pub(crate) shard: usize,
    pub(crate) shards: usize,
    pub(crate) queue: Queue<Kind>,
    /// Events for other shards.
    pub(crate) away: Vec<Vec<Event<Kind>>>,
    /// The earliest of them.
    pub(crate) away_at: u64,
    pub(crate) trace: Trace,
}

impl Post {
    pub(crate) fn push(&mut self, event: Event<Kind>) {
        let shard = event.dst as usize % self.shards;
        if shard == self.shard {
            self.queue.push(event);
        } else {
            self.away_at = self.away_at.min(event.at);
            self.away[shard].push(event);
        }
    }
}
