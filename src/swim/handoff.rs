//! Messages of a packet that wait until pings and acks of the batch are answered.

/// Bytes a queue may hold besides its message count.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// Two bounded stacks: alive messages before the rest, the newest first. Go: `net.go`,
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

    /// Keeps a copy of a message; `false` if the queue is full and the message is lost.
    pub(super) fn push(&mut self, message: &[u8], high: bool) -> bool {
        if high { self.high.push(message) } else { self.low.push(message) }
    }

    /// Moves the next message into `out`; `false` if there is none.
    pub(super) fn pop(&mut self, out: &mut Vec<u8>) -> bool {
        self.high.pop(out) || self.low.pop(out)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.high.starts.is_empty() && self.low.starts.is_empty()
    }
}

/// The messages lie behind each other in one buffer, so that a push allocates nothing.
#[derive(Debug)]
struct Stack {
    bytes: Vec<u8>,
    starts: Vec<usize>,
    depth_max: usize,
}

impl Stack {
    fn push(&mut self, message: &[u8]) -> bool {
        let fits = self.starts.len() < self.depth_max
            && self.bytes.len().saturating_add(message.len()) <= BYTES_MAX;
        if fits {
            self.starts.push(self.bytes.len());
            self.bytes.extend_from_slice(message);
        }
        fits
    }

    fn pop(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(start) = self.starts.pop() else { return false };
        out.clear();
        out.extend_from_slice(self.bytes.get(start..).unwrap_or_default());
        self.bytes.truncate(start);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alive_comes_before_the_rest_and_the_newest_first() {
        let mut queue = Handoff::new(8);
        for (message, high) in [("s1", false), ("a1", true), ("s2", false), ("a2", true)] {
            assert!(queue.push(message.as_bytes(), high));
        }
        let mut order = Vec::new();
        let mut message = Vec::new();
        while queue.pop(&mut message) {
            order.push(String::from_utf8_lossy(&message).into_owned());
        }
        assert_eq!(order, ["a2", "a1", "s2", "s1"]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_full_queue_refuses_the_newest() {
        let mut queue = Handoff::new(2);
        assert!(queue.push(b"1", false) && queue.push(b"2", false));
        assert!(!queue.push(b"3", false));
        assert!(queue.push(b"4", true), "the other queue has room");
    }
}
