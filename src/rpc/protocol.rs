//! Commands, bodies, records and error texts.
//! Go: `client/const.go`, `cmd/serf/command/agent/ipc.go`.
//!
//! Fields are declared in Go's order, which is what an array in place of a map means; on the wire
//! the keys are sorted.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{base::Secret, msgpack::as_bytes};

/// The only version of the protocol.
pub const IPC_VERSION: i32 = 1;
/// Lines of log that a monitor is given when it begins.
pub const LOG_BACKLOG: usize = 512;
/// Records held for a slow stream or monitor before new ones are dropped.
pub const STREAM_QUEUE: usize = 512;
/// Largest request of a client.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Largest request of a client that has yet to authenticate.
pub const REQUEST_UNAUTHENTICATED_BYTES_MAX: usize = 64 << 10;
/// Largest answer a client takes; about a million members.
pub const RESPONSE_BYTES_MAX: usize = 512 << 20;
/// Connections an agent serves at a time.
pub const CLIENTS_MAX: usize = 4096;
/// Streams of one connection, its monitor and running queries included.
pub const STREAMS_PER_CLIENT_MAX: usize = 1024;
/// Queries delivered to one connection that it may still answer.
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
    /// A query under a name of Serf's own.
    pub const QUERY_PREFIX: &str = "Queries cannot contain the '_serf_' prefix";
}

macro_rules! commands {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),* $(,)?) => {
        /// What a client can ask for.
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
    /// Shows the token.
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
    /// Leaves and ends the agent.
    Leave = "leave",
    /// Asks a query.
    Query = "query",
    /// Answers a query.
    Respond = "respond",
    /// Adds a key everywhere.
    InstallKey = "install-key",
    /// Changes the primary key everywhere.
    UseKey = "use-key",
    /// Removes a key everywhere.
    RemoveKey = "remove-key",
    /// Lists all keys.
    ListKeys = "list-keys",
    /// Changes tags.
    Tags = "tags",
    /// Tells about the agent.
    Stats = "stats",
    /// Tells a coordinate.
    GetCoordinate = "get-coordinate",
}

impl Command {
    /// Whether a body follows the request's header.
    pub fn has_body(self) -> bool {
        !matches!(self, Self::Members | Self::Leave | Self::ListKeys | Self::Stats)
    }
}

/// Go's `[]byte`, where empty goes out as nil.
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

/// A text of a peer or a client, which may hold bytes that are not UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(pub Vec<u8>);

impl Text {
    /// What is not UTF-8 is U+FFFD.
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
    /// Before each request.
    RequestHeader {
        /// Name of the [`Command`].
        command: String,
        /// Chosen by the client, echoed in answers.
        seq: u64,
    }
    /// Before each answer and record.
    ResponseHeader {
        /// The request's number.
        seq: u64,
        /// Empty: it went well.
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
        /// Forget it.
        prune: bool,
    }
    /// Body of `join`.
    Join {
        /// Addresses.
        existing: Option<Vec<String>>,
        /// Whether to deliver events from before the join.
        replay: bool,
    }
    /// Answer to `join`; also with an error.
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
    /// Answer to `members` and `members-filtered`.
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
        /// Least level.
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
        /// Only these nodes.
        filter_nodes: Option<Vec<String>>,
        /// Expressions by tag.
        filter_tags: Option<BTreeMap<String, String>>,
        /// Whether acks are wanted.
        request_ack: bool,
        /// Helpers.
        relay_factor: u8,
        /// Nanoseconds; 0: the cluster's default.
        timeout: i64,
        /// Name.
        name: Text,
        /// Payload.
        payload: Blob,
    }
    /// Record of a query that runs.
    QueryRecord {
        /// `ack`, `response` or `done`.
        r#type: String,
        /// Name of the node; empty at the end.
        from: String,
        /// The answer.
        payload: Blob,
    }
    /// Body of `install-key`, `use-key`, `remove-key`.
    Key {
        /// Base64.
        key: Secret,
    }
    /// Answer to key commands; also with an error.
    KeyResponse {
        /// Texts by node.
        messages: BTreeMap<String, String>,
        /// Holders by key; nil unless listed.
        keys: Option<BTreeMap<String, i64>>,
        /// Nodes asked.
        num_nodes: i64,
        /// Nodes that failed.
        num_err: i64,
        /// Nodes that answered.
        num_resp: i64,
        /// Nodes that were asked and have not answered. Go's agents do not send it, and its clients
        /// skip it; it is left out if it is empty.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        missing: Vec<String>,
    }
    /// Body of `tags`.
    Tags {
        /// To set.
        tags: Option<BTreeMap<String, String>>,
        /// To delete.
        delete_tags: Option<Vec<String>>,
    }
    /// Body of `get-coordinate`.
    GetCoordinate {
        /// Name of the member.
        node: String,
    }
    /// Answer to `get-coordinate`.
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
        /// Confidence.
        error: f64,
        /// Correction.
        adjustment: f64,
        /// Access link.
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
        /// Of memberlist.
        protocol_min: u8,
        /// Of memberlist.
        protocol_max: u8,
        /// Of memberlist.
        protocol_cur: u8,
        /// Of serf.
        delegate_min: u8,
        /// Of serf.
        delegate_max: u8,
        /// Of serf.
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

/// Body of `respond`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Respond {
    /// From the record of the query.
    #[serde(rename = "ID")]
    pub id: u64,
    /// The answer.
    pub payload: Blob,
}

/// Record of a query to answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct QueryEventRecord {
    /// `query`
    pub event: String,
    /// For the answer; counts per connection.
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

/// Answer to `stats`: groups of keys and values.
pub type Stats = BTreeMap<String, BTreeMap<String, String>>;
