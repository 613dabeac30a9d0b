//! Inputs of the engine's task other than datagrams and timers.

use std::net::IpAddr;

use tokio::sync::mpsc;

use super::{command::Command, writer::Stored};
use crate::swim::{OpId, StreamId, StreamInput};

/// Reports of the driver's own tasks.
pub(super) enum Internal {
    /// An event of a stream.
    Stream { id: StreamId, input: StreamInput },
    /// The keyring file was written, or could not be written.
    KeyringStored { op: OpId, stored: Stored },
    /// A stream that lingered after its last message was closed.
    Closed { id: StreamId },
    /// The addresses of a host name for a join.
    Resolved { op: OpId, result: Result<Vec<IpAddr>, String> },
    /// No stream can be accepted: the process may have too many open files.
    NotAccepted,
}

/// The receiving ends of the engine's task.
pub(super) struct Inbox {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) internal: mpsc::Receiver<Internal>,
}
