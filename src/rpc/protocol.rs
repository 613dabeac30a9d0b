//! Commands, bodies, records and error texts.
//! Go: `client/const.go`, `cmd/serf/command/agent/ipc.go`.
//!
//! Fields are declared in Go's order, which gives the meaning of an array in place of a map; on the
//! wire the keys are sorted.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{base::Secret, msgpack::as_bytes, serf::QueryParams};

/// The only version of the protocol.
pub const IPC_VERSION: i32 = 1;
/// Log lines that a new monitor gets at once.
pub const LOG_BACKLOG: usize = 512;
/// Records held for a slow stream or monitor before new ones are dropped.
pub const STREAM_QUEUE: usize = 512;
/// Largest request of a client.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Largest request of a client that has not authenticated yet.
pub const REQUEST_UNAUTHENTICATED_BYTES_MAX: usize = 64 << 10;
/// Largest response that a client accepts; about a million members.
pub const RESPONSE_BYTES_MAX: usize = 512 << 20;
/// Connections that an agent serves at the same time.
pub const CLIENTS_MAX: usize = 4096;
/// Streams of one connection, its monitor and running queries included.
pub const STREAMS_PER_CLIENT_MAX: usize = 1024;
/// Delivered queries that one connection may still answer.
pub const PENDING_QUERIES_MAX: usize = 4096;

/// Error texts that clients compare.
pub mod errors {
    /// An unknown command.
    pub const UNSUPPORTED_COMMAND: &str = "Unsupported command";
    /// A handshake of another version.
    pub const UNSUPPORTED_IPC_VERSION: &str = "Unsupported IPC version";
    /// A second handshake.
    pub const DUPLICATE_HANDSHAKE: &str = "Handshake already performed";
    /// Anything before the handshake.
    pub const HANDSHAKE_REQUIRED: &str = "Handshake required";
    /// A second monitor.
    pub const MONITOR_EXISTS: &str = "Monitor already exists";
    /// A stream of unknown events.
    pub const INVALID_FILTER: &str = "Invalid event filter";
    /// A second stream of the same number.
    pub const STREAM_EXISTS: &str = "Stream with given sequence exists";
    /// An answer to an unknown or expired query.
    pub const INVALID_QUERY_ID: &str = "No pending queries matching ID";
    /// A command before the authentication.
    pub const AUTH_REQUIRED: &str = "Authentication required";
    /// A wrong token.
    pub const INVALID_AUTH_TOKEN: &str = "Invalid authentication token";
    /// A query with a reserved name.
    pub const QUERY_PREFIX: &str = "Queries cannot contain the '_serf_' prefix";
}

macro_rules! commands {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),* $(,)?) => {
        /// The commands of the protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Command {
            $($(#[$doc])* $variant,)*
        }

        impl Command {
            /// All commands.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name on the wire.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The command of that name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

commands! {
    /// Agrees on the version; first on each connection.
    Handshake = "handshake",
    /// Presents the token.
    Auth = "auth",
    /// Sends a user event.
    Event = "event",
    /// Declares a failed member left.
    ForceLeave = "force-leave",
    /// Joins other members.
    Join = "join",
    /// Lists members.
    Members = "members",
    /// Lists some members.
    MembersFiltered = "members-filtered",
    /// Subscribes to events.
    Stream = "stream",
    /// Subscribes to log lines.
    Monitor = "monitor",
    /// Ends a stream or the monitor.
    Stop = "stop",
    /// Leaves the cluster and exits.
    Leave = "leave",
    /// Sends a query.
    Query = "query",
    /// Responds to a query.
    Respond = "respond",
    /// Installs a key on all members.
    InstallKey = "install-key",
    /// Changes the primary key of all members.
    UseKey = "use-key",
    /// Removes a key from all members.
    RemoveKey = "remove-key",
    /// Lists all keys.
    ListKeys = "list-keys",
    /// Changes tags.
    Tags = "tags",
    /// Returns the agent's statistics.
    Stats = "stats",
    /// Returns a member's coordinate.
    GetCoordinate = "get-coordinate",
}

impl Command {
    /// Whether a body follows the request's header.
    pub fn has_body(self) -> bool {
        !matches!(self, Self::Members | Self::Leave | Self::ListKeys | Self::Stats)
    }
}

/// Go's `[]byte`; empty is encoded as nil.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_empty() {
            serializer.serialize_none()
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        as_bytes::deserialize(deserializer).map(Self)
    }
}

/// Text of a peer or a client, which may hold bytes that are not UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(pub Vec<u8>);

impl Text {
    /// The text, with U+FFFD for bytes that are not UTF-8.
    pub fn lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_owned())
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => serializer.serialize_bytes(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        as_bytes::deserialize(deserializer).map(Self)
    }
}

macro_rules! bodies {
    ($($(#[$doc:meta])* $name:ident {
        $($(#[$field_doc:meta])* $field:ident: $ty:ty),* $(,)?
    })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, rename_all = "PascalCase")]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $ty,)*
        }
    )*};
}

bodies! {
    /// Precedes each request. A map with neither key is a stray body, which the agent skips.
    RequestHeader {
        /// Name of the [`Command`].
        command: Option<String>,
        /// Chosen by the client, echoed in responses.
        seq: Option<u64>,
    }
    /// Precedes each response and record.
    ResponseHeader {
        /// Sequence number of the request.
        seq: u64,
        /// Error text; empty: success.
        error: String,
    }
    /// Body of `handshake`.
    Handshake {
        /// [`IPC_VERSION`].
        version: i32,
    }
    /// Body of `auth`.
    Auth {
        /// The token.
        auth_key: Secret,
    }
    /// Body of `event`.
    EventRequest {
        /// Name.
        name: Text,
        /// Payload.
        payload: Blob,
        /// Whether it may be coalesced.
        coalesce: bool,
    }
    /// Body of `force-leave`.
    ForceLeave {
        /// Name of the member.
        node: String,
        /// Also remove the member.
        prune: bool,
    }
    /// Body of `join`.
    Join {
        /// Addresses to contact.
        existing: Option<Vec<String>>,
        /// Whether to deliver events from before the join.
        replay: bool,
    }
    /// Response to `join`; also with an error.
    JoinResponse {
        /// Nodes contacted.
        num: i32,
    }
    /// Body of `members-filtered`.
    MembersFiltered {
        /// Expressions by tag.
        tags: Option<BTreeMap<String, String>>,
        /// Expression; empty: any.
        status: String,
        /// Expression; empty: any.
        name: String,
    }
    /// Response to `members` and `members-filtered`.
    MembersResponse {
        /// The members.
        members: Vec<Member>,
    }
    /// Body of `stream`.
    Stream {
        /// Filters, separated by commas.
        r#type: String,
    }
    /// Body of `monitor`.
    Monitor {
        /// Least severe level.
        log_level: String,
    }
    /// Record of a monitor.
    LogRecord {
        /// One line.
        log: String,
    }
    /// Body of `stop`.
    Stop {
        /// Number of the stream.
        stop: u64,
    }
    /// Body of `query`.
    Query {
        /// Names of the nodes to ask; nil: all.
        filter_nodes: Option<Vec<String>>,
        /// Expressions by tag.
        filter_tags: Option<BTreeMap<String, String>>,
        /// Whether acks are wanted.
        request_ack: bool,
        /// Number of members that relay each response.
        relay_factor: u8,
        /// Nanoseconds; 0: the cluster's default.
        timeout: i64,
        /// Name.
        name: Text,
        /// Payload.
        payload: Blob,
    }
    /// Record of a running query.
    QueryRecord {
        /// `ack`, `response` or `done`.
        r#type: String,
        /// Name of the node; empty at the end.
        from: String,
        /// The response.
        payload: Blob,
    }
    /// Body of `install-key`, `use-key`, `remove-key`.
    Key {
        /// Base64.
        key: Secret,
    }
    /// Response to key commands; also with an error.
    KeyResponse {
        /// Error texts by node.
        messages: BTreeMap<String, String>,
        /// Number of nodes that have each key; nil unless listed.
        keys: Option<BTreeMap<String, i64>>,
        /// Nodes asked.
        num_nodes: i64,
        /// Nodes that failed.
        num_err: i64,
        /// Nodes that answered.
        num_resp: i64,
        /// Nodes that were asked and did not answer. Go's agents do not send it and Go's clients
        /// ignore it; left out if empty.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        missing: Vec<String>,
    }
    /// Body of `tags`.
    Tags {
        /// Tags to set.
        tags: Option<BTreeMap<String, String>>,
        /// Tags to delete.
        delete_tags: Option<Vec<String>>,
    }
    /// Body of `get-coordinate`.
    GetCoordinate {
        /// Name of the member.
        node: String,
    }
    /// Response to `get-coordinate`.
    CoordinateResponse {
        /// All zero if unknown.
        coord: Coordinate,
        /// Whether it is known.
        ok: bool,
    }
    /// A coordinate.
    Coordinate {
        /// 8 dimensions.
        vec: Option<Vec<f64>>,
        /// Error of the estimate.
        error: f64,
        /// Adjustment term.
        adjustment: f64,
        /// Height: latency of the access link.
        height: f64,
    }
    /// A member.
    Member {
        /// Name.
        name: String,
        /// 4 or 16 bytes.
        addr: Blob,
        /// Port.
        port: u16,
        /// Tags.
        tags: BTreeMap<String, String>,
        /// Status.
        status: String,
        /// Lowest version of memberlist's protocol.
        protocol_min: u8,
        /// Highest version of memberlist's protocol.
        protocol_max: u8,
        /// Current version of memberlist's protocol.
        protocol_cur: u8,
        /// Lowest version of Serf's protocol.
        delegate_min: u8,
        /// Highest version of Serf's protocol.
        delegate_max: u8,
        /// Current version of Serf's protocol.
        delegate_cur: u8,
    }
    /// Record of member events.
    MemberEventRecord {
        /// Kind.
        event: String,
        /// The members.
        members: Vec<Member>,
    }
    /// Record of a user event.
    UserEventRecord {
        /// `user`
        event: String,
        /// Event time.
        #[serde(rename = "LTime")]
        l_time: u64,
        /// Name.
        name: Text,
        /// Payload.
        payload: Blob,
        /// Whether it may be coalesced.
        coalesce: bool,
    }
}

impl RequestHeader {
    /// The header of a command.
    pub fn new(command: &str, seq: u64) -> Self {
        Self { command: Some(command.to_owned()), seq: Some(seq) }
    }
}

impl Query {
    /// A query as the library's [`QueryParams`] describe it. An agent counts time in nanoseconds of
    /// 64 bits: a longer timeout is 292 years.
    pub fn new(name: impl AsRef<[u8]>, payload: impl AsRef<[u8]>, params: &QueryParams) -> Self {
        let QueryParams { filter_nodes, filter_tags, request_ack, relay_factor, timeout } = params;
        Self {
            // No names: to the agent an empty list is one that names nobody.
            filter_nodes: Some(filter_nodes.clone()).filter(|nodes| !nodes.is_empty()),
            filter_tags: Some(filter_tags.clone()),
            request_ack: *request_ack,
            relay_factor: *relay_factor,
            timeout: i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX),
            name: name.as_ref().into(),
            payload: Blob(payload.as_ref().to_vec()),
        }
    }
}

/// Body of `respond`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Respond {
    /// Id from the record of the query.
    #[serde(rename = "ID")]
    pub id: u64,
    /// The response.
    pub payload: Blob,
}

/// Record of a query to answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct QueryEventRecord {
    /// `query`
    pub event: String,
    /// Id for the response; unique in the connection.
    #[serde(rename = "ID")]
    pub id: u64,
    /// Query time.
    #[serde(rename = "LTime")]
    pub l_time: u64,
    /// Name.
    pub name: Text,
    /// Payload.
    pub payload: Blob,
}

/// Response to `stats`: groups of keys and values.
pub type Stats = BTreeMap<String, BTreeMap<String, String>>;
