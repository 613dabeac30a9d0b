//! Outputs of the engine, and parameters of its calls.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{Error, Event, QueryId};
use crate::swim::{self, OpId};

/// An effect for the driver.
#[derive(Debug)]
pub enum Output {
    /// An output of the membership engine, for the sockets.
    Swim(swim::Output),
    /// An event for every subscriber.
    Event(Event),
    /// Progress of a query, for its asker.
    Query {
        /// The id returned when it was asked.
        id: QueryId,
        /// What happened.
        update: QueryUpdate,
    },
    /// An operation ended.
    Done {
        /// The id returned when it was started.
        op: OpId,
        /// How it ended; a key operation that failed on some nodes completes with its response.
        result: Result<Completion, Error>,
    },
    /// Work for the snapshot's file writer, in order.
    Snapshot(SnapshotOp),
    /// The keyring changed: write the keyring file, if there is one. With
    /// [`Machine::stores_keyring`](crate::engine::Machine::stores_keyring) a key request waits for
    /// the result.
    KeyringChanged {
        /// Id for [`Engine::handle_keyring_stored`](super::Engine::handle_keyring_stored).
        op: OpId,
    },
    /// A join needs the addresses of a host name, in the order of preference; answer with
    /// [`Engine::resolved`](super::Engine::resolved).
    Resolve {
        /// The join.
        op: OpId,
        /// The host name.
        host: String,
    },
    /// We lost the vote on our name: shut down without a leave.
    ShutDown,
}

/// Result of a successful operation.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Completion {
    /// No further result.
    Done,
    /// A join has ended.
    Joined {
        /// Number of addresses that answered.
        contacted: usize,
    },
    /// A key operation has ended. `error` is Go's summary, if not all nodes succeeded.
    Keys {
        /// Per-node results.
        response: KeyResponse,
        /// `n/m nodes reported failure` or `n/m nodes reported success`.
        error: Option<String>,
    },
}

/// Progress of a query that we asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueryUpdate {
    /// A node acknowledged the query.
    Ack {
        /// Name of the node.
        from: Arc<str>,
    },
    /// A node answered.
    Response {
        /// Name of the node.
        from: Arc<str>,
        /// Payload of the answer.
        payload: Bytes,
    },
    /// The query has ended.
    Finished {
        /// Nodes alive at the start of the query that sent neither ack nor answer.
        missing: Vec<Arc<str>>,
    },
}

/// Parameters of a query; the default asks all nodes, requests no acks and uses the default
/// timeout. Go: `serf/query.go:QueryParam`.
#[doc(alias = "QueryParam")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub struct QueryParams {
    /// Ask only nodes with one of these names; empty: all.
    pub filter_nodes: Vec<String>,
    /// Ask only nodes with all of these tags, by name; the value is an unanchored regular
    /// expression in Go's (RE2) syntax. A missing tag is treated as empty.
    pub filter_tags: BTreeMap<String, String>,
    /// Request an ack from every addressed node, even if it has no answer.
    pub request_ack: bool,
    /// Number of other nodes that relay each ack and answer in addition; 0 to 255, default 0.
    pub relay_factor: u8,
    /// Time limit for answers. Zero: the default for the cluster's size, which is the gossip
    /// interval times `query_timeout_mult` times the number of decimal digits of the node count
    /// (6.4 s for 10 nodes on a LAN).
    pub timeout: Duration,
}

impl QueryParams {
    /// Adds a name: only nodes with one of the added names are asked.
    pub fn filter_node(mut self, name: impl Into<String>) -> Self {
        self.filter_nodes.push(name.into());
        self
    }

    /// Asks only nodes whose tag `name` matches `expression`; see [`QueryParams::filter_tags`].
    pub fn filter_tag(mut self, name: impl Into<String>, expression: impl Into<String>) -> Self {
        self.filter_tags.insert(name.into(), expression.into());
        self
    }

    /// Sets whether acks are requested.
    pub fn request_ack(mut self, wanted: bool) -> Self {
        self.request_ack = wanted;
        self
    }

    /// Sets how many other nodes relay each ack and answer in addition.
    pub fn relay_factor(mut self, relays: u8) -> Self {
        self.relay_factor = relays;
        self
    }

    /// Sets the time limit for answers.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// Whether a join delivers the recent user events that other nodes still remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldEvents {
    /// Events from before the join are not delivered.
    Ignore,
    /// They are delivered, as far as other nodes remember them.
    Deliver,
}

/// Whether a member that is declared left is also forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prune {
    /// The member stays listed as left.
    No,
    /// The member is forgotten.
    Yes,
}

/// An operation on the cluster's keys. Keys are base64 and hidden from `Debug`.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyOp {
    /// Add a key on all nodes.
    Install(String),
    /// Make a key the primary on all nodes.
    Use(String),
    /// Remove a key on all nodes.
    Remove(String),
    /// List the keys of all nodes.
    List,
}

impl fmt::Debug for KeyOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Install(_) => "Install",
            Self::Use(_) => "Use",
            Self::Remove(_) => "Remove",
            Self::List => "List",
        })
    }
}

/// Per-node results of a key operation. Go: `serf/keymanager.go:KeyResponse`.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyResponse {
    /// Messages by node name: why a node refused, or that its key list is truncated. Nodes that
    /// succeeded send none.
    pub messages: BTreeMap<String, String>,
    /// Number of nodes asked: all that were alive.
    pub num_nodes: usize,
    /// Number of nodes that answered, including those that refused.
    pub num_resp: usize,
    /// Number of nodes that refused.
    pub num_err: usize,
    /// For a list: number of nodes that have each key (base64).
    pub keys: BTreeMap<String, usize>,
    /// For a list: number of nodes that encrypt with each key (base64). As in Go, the other
    /// operations count an empty key.
    pub primary_keys: BTreeMap<String, usize>,
    /// Nodes that were alive at the start and did not answer in time; not in Go.
    pub missing: Vec<Arc<str>>,
}

/// Omits the keys.
impl fmt::Debug for KeyResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyResponse")
            .field("messages", &self.messages)
            .field("num_nodes", &self.num_nodes)
            .field("num_resp", &self.num_resp)
            .field("num_err", &self.num_err)
            .field("keys", &self.keys.len())
            .field("missing", &self.missing)
            .finish_non_exhaustive()
    }
}

/// Go: `SerfState`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SerfState {
    /// Running.
    #[default]
    Alive,
    /// A leave is under way.
    Leaving,
    /// Left; still answers messages until it is shut down.
    Left,
    /// Shut down.
    Shutdown,
}

/// An operation on the snapshot file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotOp {
    /// Append these lines.
    Append(String),
    /// Replace the file atomically by these lines.
    Replace(String),
    /// Flush the file to the disk.
    Sync,
}
