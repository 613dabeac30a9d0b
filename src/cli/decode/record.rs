//! A decoded message and the layers around it.

use std::net::SocketAddr;

use super::field::Fields;

/// Position and time of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Number of the packet in the capture, from 1; for a stream, of its last segment.
    pub(super) packet: u64,
    /// Nanoseconds since 1970, in UTC.
    pub(super) time_ns: i128,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) carrier: Carrier,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    Udp,
    Tcp,
}

impl Carrier {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// A layer around a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    Label(Vec<u8>),
    Encrypt {
        version: u8,
        /// Index of the key in the ring, from 1.
        key: usize,
    },
    Crc,
    Compress,
    Compound {
        /// Number of the part, from 1.
        part: usize,
        parts: usize,
    },
}

/// A decoded message.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) seen: Seen,
    /// Layers around it, the outermost first.
    pub(super) layers: &'a [Layer],
    pub(super) kind: Kind,
    /// Length of the decompressed message, including its type byte.
    pub(super) bytes: usize,
    /// A hash of the message, to detect repetitions.
    pub(super) digest: u64,
    pub(super) fields: Fields<'a>,
    /// What is wrong with the message, if anything.
    pub(super) problem: Option<String>,
}

/// Receives records as they are decoded.
pub(super) type Sink<'s> = &'s mut dyn FnMut(&Record<'_>);

/// Declares the kinds and their names.
macro_rules! kinds {
    ($($kind:ident $name:literal),* $(,)?) => {
        /// Kind of a message.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(super) enum Kind {
            $($kind),*
        }

        impl Kind {
            /// All kinds.
            pub(super) const ALL: &[Self] = &[$(Self::$kind),*];

            /// Name in lines, JSON and filters.
            pub(super) fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name),*
                }
            }
        }
    };
}

kinds! {
    Ping "ping",
    IndirectPing "indirect-ping",
    Ack "ack",
    Nack "nack",
    Suspect "suspect",
    Alive "alive",
    Dead "dead",
    PushPull "push-pull",
    User "user",
    Error "error",
    Leave "leave-intent",
    Join "join-intent",
    SerfPushPull "serf-state",
    UserEvent "user-event",
    Query "query",
    QueryResponse "query-response",
    ConflictResponse "conflict-response",
    KeyRequest "key-request",
    KeyResponse "key-response",
    Relay "relay",
    Encrypted "encrypted",
    Undecodable "undecodable",
    Incomplete "incomplete",
}
