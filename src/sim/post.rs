//! Events of nodes, and their routing.

use super::{
    queue::{Event, Queue},
    trace::Trace,
};
use crate::swim::Shared;

/// An event of a node.
#[derive(Debug)]
pub(crate) enum Kind {
    /// The node's deadline may have passed.
    Timer,
    /// A datagram; the `moves` identify the addresses from and to which it was sent.
    Packet { from: u32, from_moves: u8, to_moves: u8, data: Vec<u8> },
    /// A step of a stream.
    Stream { key: StreamKey, step: Step },
    /// The deadline of a dialled stream.
    DialDeadline { life: u32, id: u64 },
    /// The answer on an accepted stream has left the node.
    Sent { life: u32, id: u64 },
}

/// Identifies a stream in the whole world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StreamKey {
    pub(crate) dialer: u32,
    pub(crate) life: u32,
    pub(crate) id: u64,
}

#[derive(Debug)]
pub(crate) enum Step {
    /// Dialer to acceptor; answered by the kernel. Contains how often the address had moved.
    Syn(u8),
    SynAck,
    Refused,
    Data(Content),
    Reply(Content),
    Fin,
}

/// What is sent on a stream.
#[derive(Debug)]
pub(crate) enum Content {
    /// As the codec seals it.
    Sealed(Vec<u8>),
    /// A state whose rows the nodes share.
    Shared(Box<Shared>),
}

impl Content {
    /// Bytes on the network.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Sealed(bytes) => bytes.len(),
            Self::Shared(shared) => shared.bytes,
        }
    }
}

/// Routes events: to the own queue, or at the end of the window to the queue of another shard.
pub(crate) struct Post {
    /// Number of nodes in the whole world.
    pub(crate) nodes: u32,
    pub(crate) shard: usize,
    pub(crate) shards: usize,
    pub(crate) queue: Queue<Kind>,
    /// Events for other shards.
    pub(crate) away: Vec<Vec<Event<Kind>>>,
    /// Time of the earliest of them.
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
