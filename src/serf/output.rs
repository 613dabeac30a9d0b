//! What goes out of the engine beside the layer below.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{Error, Event, QueryId};
use crate::swim::{self, OpId};

/// An effect for the driver.
#[derive(Debug)]
pub enum Output {
    /// For the sockets.
    Swim(swim::Output),
    /// For every subscriber.
    Event(Event),
    /// For the asker of the query.
    Query {
        /// Given when it was asked.
        id: QueryId,
        /// What happened.
        update: QueryUpdate,
    },
    /// An operation ended.
    Done {
        /// Given when it began.
        op: OpId,
        /// How it ended; a key operation that failed on some nodes completes with its response.
        result: Result<Completion, Error>,
    },
    /// Work for the snapshot's file writer, in order.
    Snapshot(SnapshotOp),
    /// The keyring changed: write the keyring file if there is one. With
    /// [`Config::keyring_stored`](super::Config::keyring_stored) a key request waits for the
    /// result.
    KeyringChanged {
        /// For [`Engine::handle_keyring_stored`](super::Engine::handle_keyring_stored).
        op: OpId,
    },
    /// A join needs the addresses of a host name, the best first; answer with
    /// [`Engine::resolved`](super::Engine::resolved).
    Resolve {
        /// The join.
        op: OpId,
        /// The name.
        host: String,
    },
    /// We lost the vote over our name: shut down without a leave.
    ShutDown,
}

/// How an operation ended well.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Completion {
    /// Nothing more to say.
    Done,
    /// A join is through.
    Joined {
        /// Addresses that answered.
        contacted: usize,
    },
    /// A key operation got its answers. `error` is Go's summary, if not all nodes succeeded.
    Keys {
        /// Per-node results.
        response: KeyResponse,
        /// `n/m nodes reported failure` or `n/m nodes reported success`.
        error: Option<String>,
    },
}

/// Progress of a query we asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueryUpdate {
    /// A node has the query.
    Ack {
        /// Its name.
        from: Arc<str>,
    },
    /// A node answered.
    Response {
        /// Its name.
        from: Arc<str>,
        /// The answer.
        payload: Bytes,
    },
    /// The time is over.
    Finished {
        /// Nodes alive when it was asked that sent neither ack nor answer.
        missing: Vec<Arc<str>>,
    },
}

/// How to ask a query; the default asks all, wants no acks and takes the default time.
/// Go: `serf/query.go:QueryParam`.
#[doc(alias = "QueryParam")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub struct QueryParams {
    /// Only nodes with one of these names; empty: all.
    pub filter_nodes: Vec<String>,
    /// Only nodes with all of these tags, by name; the value is an unanchored regular expression in
    /// Go's (RE2) syntax. A tag that a node lacks is empty.
    pub filter_tags: BTreeMap<String, String>,
    /// Ask every node that is meant for an ack, also if it has no answer to give.
    pub request_ack: bool,
    /// Through how many other nodes each ack and answer is sent a second time; 0 to 255.
    pub relay_factor: u8,
    /// Time for answers. Zero: the default for the cluster's size, which is the gossip interval
    /// times `query_timeout_mult` times the digits of the number of nodes (6.4 s for 10 on a LAN).
    pub timeout: Duration,
}

impl QueryParams {
    /// Asks only the node of this name, and others that were named so.
    pub fn filter_node(mut self, name: impl Into<String>) -> Self {
        self.filter_nodes.push(name.into());
        self
    }

    /// Asks only nodes whose tag `name` matches an expression; see [`QueryParams::filter_tags`].
    pub fn filter_tag(mut self, name: impl Into<String>, expression: impl Into<String>) -> Self {
        self.filter_tags.insert(name.into(), expression.into());
        self
    }

    /// Sets whether acks are wanted.
    pub fn request_ack(mut self, wanted: bool) -> Self {
        self.request_ack = wanted;
        self
    }

    /// Sets through how many other nodes each ack and answer is sent a second time.
    pub fn relay_factor(mut self, relays: u8) -> Self {
        self.relay_factor = relays;
        self
    }

    /// Sets the time for answers.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// Whether a join delivers the recent user events that the others still remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldEvents {
    /// Events from before the join are not delivered.
    Ignore,
    /// They are, as far as the others remember them.
    Deliver,
}

/// Whether a member that is declared left is forgotten as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prune {
    /// It stays in the list of members, as left.
    No,
    /// It is forgotten.
    Yes,
}

/// A change of the cluster's keys, or a look at them. Keys are base64, and shown by no `Debug`.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyOp {
    /// Add a key everywhere.
    Install(String),
    /// Make a key the primary everywhere.
    Use(String),
    /// Remove a key everywhere.
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
    /// Messages of nodes, by their names: why they refused, or that their list of keys is cut off.
    /// Nodes that succeeded send none.
    pub messages: BTreeMap<String, String>,
    /// Nodes asked: all that were alive.
    pub num_nodes: usize,
    /// Nodes that answered, the refusing ones included.
    pub num_resp: usize,
    /// Nodes that refused.
    pub num_err: usize,
    /// For a list: how many nodes have a key (base64).
    pub keys: BTreeMap<String, usize>,
    /// For a list: how many nodes seal with a key (base64). As Go, counts an empty key for the
    /// other operations.
    pub primary_keys: BTreeMap<String, usize>,
    /// Nodes that were alive when they were asked and have not answered in time; not in Go.
    pub missing: Vec<Arc<str>>,
}

/// Without the keys.
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
    /// Left; still answers until shut down.
    Left,
    /// Shut down.
    Shutdown,
}

/// Work for the snapshot file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotOp {
    /// Append these lines.
    Append(String),
    /// Replace the file atomically by these lines.
    Replace(String),
    /// Write what is buffered to the disk now.
    Sync,
}
