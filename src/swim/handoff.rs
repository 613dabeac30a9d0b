//! Messages of packets that wait until the pings and acks of the batch are handled.

use super::Origin;
use crate::wire::Kind;

/// The kind of a queued message; its body is stored separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queued {
    Alive,
    Suspect,
    Dead,
    User,
}

impl Queued {
    /// The kind of message that it is.
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Alive => Kind::Alive,
            Self::Suspect => Kind::Suspect,
            Self::Dead => Kind::Dead,
            Self::User => Kind::User,
        }
    }
}

/// Two bounded stacks: alive messages are handled before others, the newest first. Go: `net.go`,
/// `handleCommand` and `packetHandler`.
#[derive(Debug)]
pub(super) struct Handoff {
    high: Stack,
    low: Stack,
}

impl Handoff {
    pub(super) fn new(depth_max: usize) -> Self {
        let stack = || Stack { bytes: Vec::new(), starts: Vec::new(), depth_max };
        Self { high: stack(), low: stack() }
    }

    /// Queues a copy of a body; returns `false` if the queue is full and the message is lost.
    pub(super) fn push(&mut self, kind: Queued, body: &[u8], origin: Origin) -> bool {
        let queue = match kind {
            Queued::Alive => &mut self.high,
            Queued::Suspect | Queued::Dead | Queued::User => &mut self.low,
        };
        queue.push(kind, body, origin)
    }

    /// Moves the next body into `out`; returns `None` if there is none.
    pub(super) fn pop(&mut self, out: &mut Vec<u8>) -> Option<(Queued, Origin)> {
        self.high.pop(out).or_else(|| self.low.pop(out))
    }

    /// The same of alive messages alone.
    pub(super) fn pop_high(&mut self, out: &mut Vec<u8>) -> Option<(Queued, Origin)> {
        self.high.pop(out)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.high.starts.is_empty() && self.low.starts.is_empty()
    }
}

/// A stack whose bodies are stored one after the other in one buffer, so that a push does not
/// allocate.
#[derive(Debug)]
struct Stack {
    bytes: Vec<u8>,
    starts: Vec<(usize, Queued, Origin)>,
    depth_max: usize,
}

impl Stack {
    fn push(&mut self, kind: Queued, body: &[u8], origin: Origin) -> bool {
        let fits = self.starts.len() < self.depth_max
            && self.bytes.len().saturating_add(body.len()) <= BYTES_MAX;
        if fits {
            self.starts.push((self.bytes.len(), kind, origin));
            self.bytes.extend_from_slice(body);
        }
        fits
    }

    fn pop(&mut self, out: &mut Vec<u8>) -> Option<(Queued, Origin)> {
        let (start, kind, origin) = self.starts.pop()?;
        out.clear();
        out.extend_from_slice(self.bytes.get(start..).unwrap_or_default());
        self.bytes.truncate(start);
        if self.starts.is_empty() && self.bytes.capacity() > KEPT_BYTES_MAX {
            (self.bytes, self.starts) = (Vec::new(), Vec::new());
        }
        Some((kind, origin))
    }
}

/// Most bytes in a queue, in addition to the limit on its number of messages.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Memory that an empty queue keeps.
const KEPT_BYTES_MAX: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swim::Seal;

    fn origin() -> Origin {
        Origin { from: "10.0.0.1:7946".parse().unwrap(), seal: Seal::NoKeys }
    }

    #[test]
    fn alive_comes_before_the_rest_and_the_newest_first() {
        let mut queue = Handoff::new(8);
        use Queued::{Alive, Dead, Suspect};
        for (body, kind) in [("s1", Suspect), ("a1", Alive), ("s2", Dead), ("a2", Alive)] {
            assert!(queue.push(kind, body.as_bytes(), origin()));
        }
        let mut order = Vec::new();
        let mut message = Vec::new();
        while queue.pop(&mut message).is_some() {
            order.push(String::from_utf8_lossy(&message).into_owned());
        }
        assert_eq!(order, ["a2", "a1", "s2", "s1"]);
        assert!(queue.is_empty());
    }

    #[test]
    fn memory_of_a_burst_is_given_back() {
        let mut queue = Handoff::new(8192);
        for _ in 0..3_000 {
            assert!(queue.push(Queued::User, &[0; 1_000], origin()));
        }
        let mut body = Vec::new();
        while queue.pop(&mut body).is_some() {}
        assert!(queue.low.bytes.capacity() <= KEPT_BYTES_MAX);
        assert!(queue.push(Queued::User, &[0; 1_000], origin()));
        while queue.pop(&mut body).is_some() {}
        assert!(queue.low.bytes.capacity() >= 1_000, "but not of each message");
    }

    #[test]
    fn a_full_queue_refuses_the_newest() {
        let mut queue = Handoff::new(2);
        assert!(
            queue.push(Queued::User, b"1", origin()) && queue.push(Queued::User, b"2", origin())
        );
        assert!(!queue.push(Queued::Dead, b"3", origin()));
        assert!(queue.push(Queued::Alive, b"4", origin()), "the other queue has room");
    }
}
