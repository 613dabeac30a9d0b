//! Errors of the handle.

use std::io;

use super::KeyringFileError;
use crate::{
    base::{error_texts, go_net},
    serf::{self, Broadcast, KeyRefusal, KeyResponse, Oversize},
    swim::{ConfigError, JoinErrors, JoinFailure},
    transport::{BindError, SocketKind},
    wire::KeyringError,
};

/// Why a call failed, grouped by who caused it. Invalid messages of peers never fail a call: they
/// are dropped and counted.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    // Caused by the caller: nothing has changed.
    /// The configuration is invalid.
    Config(ConfigError),
    /// A message is too large to be sent.
    TooLarge {
        /// The kind of message.
        what: Oversize,
        /// Its largest size in bytes.
        limit: usize,
        /// Its size in bytes.
        len: usize,
    },
    /// A key is not valid base64, with the reason.
    InvalidKey(String),
    /// Queries need Serf protocol 4.
    ProtocolTooOld,
    /// The node was started outside a runtime.
    NoRuntime,
    /// A value cannot be encoded as a payload.
    #[cfg(feature = "payload")]
    Payload(serf::PayloadError),

    // Not possible at this time: nothing has changed.
    /// The query was answered before.
    AlreadyAnswered,
    /// The deadline of the query has passed, or the query is unknown.
    DeadlinePassed,
    /// A leave is under way.
    Leaving,
    /// The node is leaving or has left, and cannot join.
    Left,
    /// Too many joins are under way.
    TooManyJoins,
    /// The node was shut down, by a call, a lost name vote or the end of its runtime.
    Shutdown,

    // Caused by peers or the network.
    /// The query contains no address for an answer.
    NoReturnAddress,
    /// A join contacted no address; one failure for each, in the order in which they were
    /// contacted.
    Join(Vec<JoinFailure>),
    /// Some nodes refused a key operation or did not answer; the others have performed it.
    Keys(Box<KeyFailure>),
    /// A message was not sent in time; it has taken effect on this node.
    NotSent(Broadcast),
    /// A queue was full and a message was dropped; it has taken effect on this node.
    Dropped(Broadcast),
    /// An exchange with a peer failed, with the reason.
    Peer(String),

    // Caused by the environment.
    /// The keyring file cannot be used.
    Keyring(KeyringFileError),
    /// The snapshot cannot be read or written.
    Snapshot(io::Error),
    /// A socket or another file failed.
    Io {
        /// The operation that failed.
        context: String,
        /// The system's reason.
        source: io::Error,
    },
}

error_texts! {
    Error {
        Self::Config(error) => "{error}";
        Self::TooLarge { what, limit, len } => "{}", too_large(*what, *limit, *len);
        Self::InvalidKey(reason) => "{reason}";
        Self::ProtocolTooOld => "{}", serf::Error::ProtocolTooOld;
        Self::NoRuntime => "a node must be started within a tokio runtime, or be given another";
        #[cfg(feature = "payload")]
        Self::Payload(error) => "{error}";
        Self::AlreadyAnswered => "{}", serf::Error::AlreadyAnswered;
        Self::DeadlinePassed => "{}", serf::Error::DeadlinePassed;
        Self::Leaving => "{}", serf::Error::Leaving;
        Self::Left => "{}", serf::Error::Left;
        Self::TooManyJoins => "{}", serf::Error::TooManyJoins;
        Self::Shutdown => "serf is shut down";
        Self::NoReturnAddress => "{}", serf::Error::NoReturnAddress;
        Self::Join(failures) => "{}", JoinFailure::list(failures);
        Self::Keys(failure) => "{failure}";
        Self::NotSent(what) => "{}", serf::Error::NotSent(*what);
        Self::Dropped(what) => "{}", serf::Error::Dropped(*what);
        Self::Peer(reason) => "{reason}";
        Self::Keyring(error) => "{error}";
        Self::Snapshot(source) => "Failed to setup snapshot: failed to open snapshot: {source}";
        Self::Io { context, source } => "{context}: {source}";
    }
}

fn too_large(what: Oversize, limit: usize, len: usize) -> serf::Error {
    serf::Error::TooLarge { what, limit, len }
}

// No `source`: the texts above contain it.
impl std::error::Error for Error {}

impl Error {
    /// Go's text, which its agent sends and logs: several lines for a join; every failed answer is
    /// attributed to a key query.
    #[doc(hidden)]
    pub fn go_text(&self) -> String {
        match self {
            Self::Join(failures) => JoinErrors(failures.clone()).to_string(),
            Self::TooLarge { what, limit, len } => too_large(*what, *limit, *len).go_text(),
            Self::AlreadyAnswered => serf::Error::AlreadyAnswered.go_text(),
            Self::DeadlinePassed => serf::Error::DeadlinePassed.go_text(),
            Self::NoReturnAddress => serf::Error::NoReturnAddress.go_text(),
            other => other.to_string(),
        }
    }
}

impl From<serf::Error> for Error {
    fn from(error: serf::Error) -> Self {
        match error {
            serf::Error::Config(error) => Self::Config(error),
            serf::Error::TooLarge { what, limit, len } => Self::TooLarge { what, limit, len },
            serf::Error::InvalidKey(reason) => Self::InvalidKey(reason),
            serf::Error::ProtocolTooOld => Self::ProtocolTooOld,
            serf::Error::AlreadyAnswered => Self::AlreadyAnswered,
            serf::Error::DeadlinePassed => Self::DeadlinePassed,
            serf::Error::Leaving => Self::Leaving,
            serf::Error::Left => Self::Left,
            serf::Error::Shutdown | serf::Error::NotRunning => Self::Shutdown,
            serf::Error::TooManyJoins => Self::TooManyJoins,
            serf::Error::NoReturnAddress => Self::NoReturnAddress,
            serf::Error::Join(failures) => Self::Join(failures),
            serf::Error::NotSent(what) => Self::NotSent(what),
            serf::Error::Dropped(what) => Self::Dropped(what),
            serf::Error::Peer(reason) => Self::Peer(reason),
        }
    }
}

impl From<KeyringFileError> for Error {
    fn from(error: KeyringFileError) -> Self {
        Self::Keyring(error)
    }
}

impl From<KeyringError> for Error {
    fn from(error: KeyringError) -> Self {
        Self::Keyring(KeyringFileError::Key(error))
    }
}

/// With Go's text for a node that cannot bind its address.
impl From<BindError> for Error {
    fn from(error: BindError) -> Self {
        let BindError { kind, addr, source } = error;
        let context = format!(
            "Failed to create memberlist: could not set up network transport: failed to obtain an \
             address: failed to start {kind} listener on \"{}\" port {}",
            addr.ip(),
            addr.port()
        );
        let network = match kind {
            SocketKind::Tcp => "tcp",
            SocketKind::Udp => "udp",
        };
        let reason = format!("listen {network} {addr}: bind: {}", go_net::error_text(&source));
        Self::Io { context, source: io::Error::new(source.kind(), reason) }
    }
}

/// A key operation that some nodes did not perform.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyFailure {
    /// The answers of all nodes, and the names of those that did not answer. Nodes that succeeded
    /// are not rolled back.
    pub response: KeyResponse,
    /// Go's summary, such as `1/3 nodes reported failure`.
    pub summary: String,
}

error_texts! {
    KeyFailure {
        Self { summary, .. } => "{summary}";
    }
}

impl std::error::Error for KeyFailure {}

impl KeyFailure {
    /// The nodes that refused, and why, as far as it is known.
    pub fn refusals(&self) -> impl Iterator<Item = (&str, KeyRefusal)> {
        let messages = self.response.messages.iter();
        messages.map(|(node, text)| (node.as_str(), KeyRefusal::of(text)))
    }
}

/// Why a node stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StopReason {
    /// [`Serf::shutdown`](crate::driver::Serf::shutdown) was called, or the last handle was
    /// dropped.
    Shutdown,
    /// Another node has the same name and won the vote on it.
    NameConflict,
    /// The engine, or a delegate that it called, panicked: a bug. The last state was not written to
    /// the files.
    Panic,
    /// The node's runtime ended.
    Aborted,
}
