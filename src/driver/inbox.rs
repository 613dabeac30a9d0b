//! What reaches the engine's task besides datagrams and time.

use std::net::IpAddr;

use tokio::sync::mpsc;

use super::{command::Command, writer::Stored};
use crate::swim::{OpId, StreamId, StreamInput};

/// What the driver's own tasks report.
pub(super) enum Internal {
    /// Something happened on a stream.
    Stream { id: StreamId, input: StreamInput },
    /// The keyring file was written, or could not be.
    KeyringStored { op: OpId, stored: Stored },
    /// A stream that lingered after its last message is closed.
    Closed { id: StreamId },
    /// The addresses of a host name that a join needs.
    Resolved { op: OpId, result: Result<Vec<IpAddr>, String> },
    /// No stream can be accepted: the process may have too many files open.
    NotAccepted,
}

/// The receiving ends of the engine's task.
pub(super) struct Inbox {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) internal: mpsc::Receiver<Internal>,
}
