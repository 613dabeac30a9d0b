//! Commands, bodies, records and error texts.
//! Go: `client/const.go`, `cmd/serf/command/agent/ipc.go`.
//!
//! Fields are declared in Go's order, which is the order of a struct encoded as an array; on the
//! wire the keys of maps are sorted.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{base::Secret, msgpack::as_bytes, serf::QueryParams};

/// The only version of the protocol.
pub const IPC_VERSION: i32 = 1;
/// Number of recent log lines that a new monitor receives at once.
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
    /// The command is unknown.
    pub const UNSUPPORTED_COMMAND: &str = "Unsupported command";
    /// The handshake requests another version.
    pub const UNSUPPORTED_IPC_VERSION: &str = "Unsupported IPC version";
    /// The connection has already performed the handshake.
    pub const DUPLICATE_HANDSHAKE: &str = "Handshake already performed";
    /// A command was sent before the handshake.
    pub const HANDSHAKE_REQUIRED: &str = "Handshake required";
    /// The connection already has a monitor.
    pub const MONITOR_EXISTS: &str = "Monitor already exists";
    /// The event filter of a stream is invalid.
    pub const INVALID_FILTER: &str = "Invalid event filter";
    /// The connection already has a stream with this sequence number.
    pub const STREAM_EXISTS: &str = "Stream with given sequence exists";
    /// The answered query is unknown or has expired.
    pub const INVALID_QUERY_ID: &str = "No pending queries matching ID";
    /// A command was sent before the authentication.
    pub const AUTH_REQUIRED: &str = "Authentication required";
    /// The token is wrong.
    pub const INVALID_AUTH_TOKEN: &str = "Invalid authentication token";
    /// A command that the client's token does not allow; its name and the command's are added.
    pub const NOT_ALLOWED: &str = "Permission denied";
    /// The query's name is reserved.
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

            /// The command with that name, if any.
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
    /// Agrees on the version; must be the first command on each connection.
    Handshake = "handshake",
    /// Authenticates with the token.
    Auth = "auth",
    /// Sends a user event.
    Event = "event",
    /// Declares a failed member left.
    ForceLeave = "force-leave",
    /// Joins other members.
    Join = "join",
    /// Lists members.
    Members = "members",
    /// Lists the members that match a filter.
    MembersFiltered = "members-filtered",
    /// Subscribes to events.
    Stream = "stream",
    /// Subscribes to log lines.
    Monitor = "monitor",
    /// Stops a stream or the monitor.
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
    /// Lists the keys of all members.
    ListKeys = "list-keys",
    /// Sets and deletes tags.
    Tags = "tags",
    /// Returns the agent's statistics.
    Stats = "stats",
    /// Returns a member's coordinate.
    GetCoordinate = "get-coordinate",
}

impl Command {
    /// Whether a body follows the request header.
    pub fn has_body(self) -> bool {
        !matches!(self, Self::Members | Self::Leave | Self::ListKeys | Self::Stats)
    }

    /// Whether a body follows the response's header; also after most errors.
    pub fn has_response_body(self) -> bool {
        match self {
            Self::Join
            | Self::Members
            | Self::MembersFiltered
            | Self::InstallKey
            | Self::UseKey
            | Self::RemoveKey
            | Self::ListKeys
            | Self::Stats
            | Self::GetCoordinate => true,
            Self::Handshake
            | Self::Auth
            | Self::Event
            | Self::ForceLeave
            | Self::Stream
            | Self::Monitor
            | Self::Stop
            | Self::Leave
            | Self::Query
            | Self::Respond
            | Self::Tags => false,
        }
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

/// Text from a peer or a client, which may contain bytes that are not UTF-8.
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
    /// Precedes each response and each record of a stream.
    ResponseHeader {
        /// Sequence number of the request.
        seq: u64,
        /// Error text; empty on success.
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
    /// Response to `join`; also sent with an error.
    JoinResponse {
        /// Number of nodes contacted.
        num: i32,
    }
    /// Body of `members-filtered`.
    MembersFiltered {
        /// Regular expressions by tag name.
        tags: Option<BTreeMap<String, String>>,
        /// Regular expression for the status; empty: any.
        status: String,
        /// Regular expression for the name; empty: any.
        name: String,
    }
    /// Response to `members` and `members-filtered`.
    MembersResponse {
        /// The members.
        members: Vec<Member>,
    }
    /// Body of `stream`.
    Stream {
        /// Event filters, separated by commas.
        r#type: String,
    }
    /// Body of `monitor`.
    Monitor {
        /// Least severe level.
        log_level: String,
    }
    /// Record of a monitor.
    LogRecord {
        /// A log line.
        log: String,
    }
    /// Body of `stop`.
    Stop {
        /// Sequence number of the stream.
        stop: u64,
    }
    /// Body of `query`.
    Query {
        /// Names of the nodes to ask; nil: all.
        filter_nodes: Option<Vec<String>>,
        /// Regular expressions by tag name.
        filter_tags: Option<BTreeMap<String, String>>,
        /// Whether acks are requested.
        request_ack: bool,
        /// Number of members that relay each response.
        relay_factor: u8,
        /// Time limit in nanoseconds; 0: the cluster's default.
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
        /// Name of the node; empty in the last record.
        from: String,
        /// Payload of the response.
        payload: Blob,
    }
    /// Body of `install-key`, `use-key`, `remove-key`.
    Key {
        /// The key in base64.
        key: Secret,
    }
    /// Response to key commands; also sent with an error.
    KeyResponse {
        /// Error texts by node.
        messages: BTreeMap<String, String>,
        /// Number of nodes that have each key; nil unless listed.
        keys: Option<BTreeMap<String, i64>>,
        /// Number of nodes asked.
        num_nodes: i64,
        /// Number of nodes that failed.
        num_err: i64,
        /// Number of nodes that answered.
        num_resp: i64,
        /// Nodes that were asked and did not answer; omitted if empty. Go's agents do not send it
        /// and Go's clients ignore it.
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
        /// The coordinate; all zero if it is unknown.
        coord: Coordinate,
        /// Whether the coordinate is known.
        ok: bool,
    }
    /// A coordinate.
    Coordinate {
        /// Position; 8 dimensions.
        vec: Option<Vec<f64>>,
        /// Error of the estimate.
        error: f64,
        /// Adjustment term.
        adjustment: f64,
        /// Height: latency of the access link in seconds.
        height: f64,
    }
    /// A member.
    Member {
        /// Name.
        name: String,
        /// Raw address, 4 or 16 bytes.
        addr: Blob,
        /// Port.
        port: u16,
        /// Tags by name.
        tags: BTreeMap<String, String>,
        /// Status as text.
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
        /// Kind of the event, such as `member-join`.
        event: String,
        /// The members.
        members: Vec<Member>,
    }
    /// Record of a user event.
    UserEventRecord {
        /// Always `user`.
        event: String,
        /// Lamport time of the event clock.
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
    /// Creates the header of a command.
    pub fn new(command: &str, seq: u64) -> Self {
        Self { command: Some(command.to_owned()), seq: Some(seq) }
    }
}

impl Query {
    /// Creates a query from the library's [`QueryParams`]. An agent counts time in nanoseconds in
    /// 64 bits: longer timeouts become 292 years.
    pub fn new(name: impl AsRef<[u8]>, payload: impl AsRef<[u8]>, params: &QueryParams) -> Self {
        let QueryParams { filter_nodes, filter_tags, request_ack, relay_factor, timeout } = params;
        Self {
            // Nil instead of an empty list, for which the agent would ask no node.
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
    /// Id from the query's record.
    #[serde(rename = "ID")]
    pub id: u64,
    /// Payload of the response.
    pub payload: Blob,
}

/// Record of a query to answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct QueryEventRecord {
    /// Always `query`.
    pub event: String,
    /// Id for the response; unique on the connection.
    #[serde(rename = "ID")]
    pub id: u64,
    /// Lamport time of the query clock.
    #[serde(rename = "LTime")]
    pub l_time: u64,
    /// Name.
    pub name: Text,
    /// Payload.
    pub payload: Blob,
}

/// Response to `stats`: groups of keys and values.
pub type Stats = BTreeMap<String, BTreeMap<String, String>>;
