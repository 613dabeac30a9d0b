//! Go peers and Rust nodes behind one blocking face, for tests that ask the same of both.
//!
//! For tests, as [`crate::go`]: everything panics when a node does not do what was asked of it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use ruserf::{
    Config, Event, Keyring, QueryParams, QueryUpdate, Serf, Subscribe, UserEventSpec, engine::KeyOp,
};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::{
    go::{self, GoPeer},
    process::Kind,
    wait::eventually,
};

/// How a node of either kind is started; defaults are those of a local network.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// Name.
    pub name: String,
    /// 0: any.
    pub port: u16,
    /// Of the cluster. Ports are used again, and only a label keeps a node that looks for a lost
    /// one from finding a node of another test.
    pub label: String,
    /// Tags at the start.
    pub tags: BTreeMap<String, String>,
    /// The first is primary.
    pub keys: Vec<Vec<u8>>,
    /// Snapshot file.
    pub snapshot: Option<PathBuf>,
    /// Receives the keys when they change.
    pub keyring_file: Option<PathBuf>,
    /// Keep the peers of the snapshot across a leave.
    pub rejoin_after_leave: bool,
    /// Time between attempts to reach failed members; absent: a second.
    pub reconnect_interval: Option<Duration>,
    /// Factor of how often each message is sent; absent: enough for tests that count messages.
    pub retransmit_mult: Option<u32>,
    /// Hold back user events for this long if they allow it.
    pub user_coalesce: Option<Duration>,
}

/// A member as a node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `alive`, `leaving`, `left` or `failed`.
    pub status: String,
    /// IP address and port.
    pub addr: String,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Protocol and delegate versions: minimum, maximum, current of each.
    pub versions: [u64; 6],
}

/// A user event as it was delivered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// Name.
    pub name: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// Whether the sender allowed coalescing.
    pub coalesce: bool,
}

/// What came back for a query; sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Who acked.
    pub acks: Vec<String>,
    /// Who answered what.
    pub responses: Vec<(String, String)>,
}

/// What came back for a key operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyAnswer {
    /// Members asked, that answered, that failed.
    pub counts: [u64; 3],
    /// Holders by key.
    pub keys: BTreeMap<String, u64>,
    /// Users by primary key.
    pub primary: BTreeMap<String, u64>,
}

/// A node of either kind. Answers every query with its payload in upper case.
pub enum Node {
    /// A real Go peer.
    Go(GoPeer),
    /// Ours.
    Rust(RustNode),
}

/// A Rust node with what it has delivered.
pub struct RustNode {
    /// The handle.
    pub serf: Serf,
    seen: Arc<Mutex<Vec<Event>>>,
}

impl Node {
    /// Starts a Go peer.
    pub fn go(start: &Start) -> Self {
        let mut config = json!({
            "name": start.name, "port": start.port, "profile": "local", "protocol": 5,
            "tags": start.tags, "query_handler": "uppercase",
            "label": start.label, "probe_interval_ms": 500, "probe_timeout_ms": 300,
            "suspicion_mult": 4,
            "retransmit_mult": start.retransmit_mult.unwrap_or(RETRANSMIT_MULT),
            "gossip_to_the_dead_ms": millis(SECOND),
            "reconnect_interval_ms": millis(start.reconnect_interval.unwrap_or(SECOND)),
            "keyring": start.keys.iter().map(go::base64).collect::<Vec<_>>(),
            "rejoin_after_leave": start.rejoin_after_leave,
        });
        if let Some(path) = &start.snapshot {
            config["snapshot_path"] = json!(path);
        }
        if let Some(path) = &start.keyring_file {
            config["keyring_file"] = json!(path);
        }
        if let Some(period) = start.user_coalesce {
            config["user_coalesce_period_ms"] = json!(millis(period));
            config["user_quiescent_period_ms"] = json!(millis(period));
        }
        Self::Go(GoPeer::start(config))
    }

    /// Starts a Rust node.
    pub fn rust(start: &Start) -> Self {
        let mut config = Config::local(&start.name);
        config.tags.clone_from(&start.tags);
        config.protocol = 5;
        config.rejoin_after_leave = start.rejoin_after_leave;
        config.label.clone_from(&start.label);
        if let Some(primary) = start.keys.first() {
            config.keyring = Keyring::build(&start.keys, primary).expect("keys");
        }
        let timing = &mut config.timing;
        timing.reconnect_interval = start.reconnect_interval.unwrap_or(SECOND);
        timing.probe_interval = Duration::from_millis(500);
        timing.probe_timeout = Duration::from_millis(300);
        timing.suspicion_mult = 4;
        timing.retransmit_mult = start.retransmit_mult.unwrap_or(RETRANSMIT_MULT);
        timing.gossip_to_the_dead_time = SECOND;
        if let Some(period) = start.user_coalesce {
            timing.user_coalesce_period = period;
            timing.user_quiescent_period = period;
        }
        let mut builder = Serf::builder(config).bind(([127, 0, 0, 1], start.port));
        if let Some(path) = &start.snapshot {
            builder = builder.snapshot(path);
        }
        if let Some(path) = &start.keyring_file {
            builder = builder.keyring_file(path);
        }
        let mut events = builder.subscribe(Subscribe::default().capacity(65_536));
        let serf = runtime().block_on(builder.start()).expect("a Rust node starts");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        runtime().spawn(async move {
            while let Some(event) = events.recv().await {
                if let Event::Query(query) = &event {
                    let answer = query.payload_bytes().to_ascii_uppercase();
                    // Too late is no failure: the asker says what it missed.
                    let _ = query.respond(answer).await;
                }
                log.lock().unwrap_or_else(PoisonError::into_inner).push(event);
            }
        });
        Self::Rust(RustNode { serf, seen })
    }

    /// Starts a node of a kind.
    pub fn start(kind: Kind, start: &Start) -> Self {
        match kind {
            Kind::Go => Self::go(start),
            Kind::Ours => Self::rust(start),
        }
    }

    /// The name.
    pub fn name(&self) -> String {
        match self {
            Self::Go(go) => go.name().to_owned(),
            Self::Rust(node) => node.serf.name().to_string(),
        }
    }

    /// The address others join.
    pub fn addr(&self) -> SocketAddr {
        match self {
            Self::Go(go) => go.addr(),
            Self::Rust(node) => node.serf.addresses().advertised,
        }
    }

    /// Joins another node.
    pub fn join(&self, other: SocketAddr) {
        match self {
            Self::Go(go) => drop(go.call(json!({"cmd": "join", "addrs": [other.to_string()]}))),
            Self::Rust(node) => {
                let joined = runtime().block_on(node.serf.join_with_replay([other.to_string()]));
                joined.expect("a join");
            }
        }
    }

    /// Leaves; the node still runs.
    pub fn leave(&self) {
        match self {
            Self::Go(go) => drop(go.call(json!({"cmd": "leave"}))),
            Self::Rust(node) => runtime().block_on(node.serf.leave()).expect("a leave"),
        }
    }

    /// Ends the node without a word to the others. Files are written.
    pub fn stop(self) {
        match self {
            Self::Go(go) => drop(go.try_call(json!({"cmd": "shutdown"}))),
            Self::Rust(node) => runtime().block_on(node.serf.shutdown()),
        }
    }

    /// `alive`, `leaving`, `left` or `shutdown`.
    pub fn state(&self) -> String {
        match self {
            Self::Go(go) => go.call(json!({"cmd": "state"})).as_str().expect("text").to_owned(),
            Self::Rust(node) => format!("{:?}", node.serf.state()).to_lowercase(),
        }
    }

    /// All members by name, the gone included.
    pub fn members(&self) -> BTreeMap<String, Row> {
        match self {
            Self::Go(go) => {
                let list = go.call(json!({"cmd": "members"}));
                let list = list.as_array().expect("a list of members");
                list.iter().map(|m| (text(&m["name"]), go_row(m))).collect()
            }
            Self::Rust(node) => {
                let list = runtime().block_on(node.serf.members());
                list.iter().map(|m| (m.name.to_string(), rust_row(m))).collect()
            }
        }
    }

    /// Status of a member; empty if it is not known.
    pub fn status(&self, name: &str) -> String {
        self.members().remove(name).map(|row| row.status).unwrap_or_default()
    }

    /// Replaces the tags.
    pub fn set_tags(&self, tags: &BTreeMap<String, String>) {
        match self {
            Self::Go(go) => drop(go.call(json!({"cmd": "set_tags", "tags": tags}))),
            Self::Rust(node) => {
                runtime().block_on(node.serf.set_tags(tags.clone())).expect("tags");
            }
        }
    }

    /// Sends a user event.
    pub fn event(&self, name: &str, payload: &str, coalesce: bool) {
        match self {
            Self::Go(go) => drop(go.call(json!({
                "cmd": "event", "name": name, "payload": go::base64(payload), "coalesce": coalesce,
            }))),
            Self::Rust(node) => {
                let event = UserEventSpec::new(name, payload.to_owned()).coalesce(coalesce);
                let sent = node.serf.send_event(event);
                runtime().block_on(sent).expect("an event");
            }
        }
    }

    /// User events delivered so far, in order.
    pub fn user_events(&self) -> Vec<Seen> {
        match self {
            Self::Go(go) => {
                let user = |e: &Value| e["event"] == "user";
                let seen = |e: &Value| Seen {
                    name: text(&e["name"]),
                    payload: go::bytes(&e["payload"]),
                    coalesce: e["coalesce"] == true,
                };
                go.events().iter().filter(|e| user(e)).map(seen).collect()
            }
            Self::Rust(node) => {
                let seen = node.seen.lock().unwrap_or_else(PoisonError::into_inner);
                let user = seen.iter().filter_map(|event| match event {
                    Event::User(event) => Some(Seen {
                        name: event.name.to_string(),
                        payload: event.payload.to_vec(),
                        coalesce: event.coalesce,
                    }),
                    _ => None,
                });
                user.collect()
            }
        }
    }

    /// Names of all member events about `member`, in order.
    pub fn member_events(&self, member: &str) -> Vec<String> {
        match self {
            Self::Go(go) => {
                let about = |e: &&Value| {
                    let members = e["members"].as_array();
                    members.is_some_and(|all| all.iter().any(|m| m["name"] == member))
                };
                go.events().iter().filter(about).map(|e| text(&e["event"])).collect()
            }
            Self::Rust(node) => {
                let seen = node.seen.lock().unwrap_or_else(PoisonError::into_inner);
                let about = seen.iter().filter_map(|event| match event {
                    Event::Member(event) if event.members.iter().any(|m| &*m.name == member) => {
                        Some(event.kind.to_string())
                    }
                    _ => None,
                });
                about.collect()
            }
        }
    }

    /// Asks a query and waits for its end.
    pub fn query(&self, name: &str, payload: &str, params: &QueryParams) -> Answers {
        let mut answers = Answers::default();
        match self {
            Self::Go(go) => {
                let result = go.call(json!({
                    "cmd": "query", "name": name, "payload": go::base64(payload),
                    "filter_nodes": params.filter_nodes, "filter_tags": params.filter_tags,
                    "ack": params.request_ack, "relay_factor": params.relay_factor,
                    "timeout_ms": millis(params.timeout),
                }));
                answers.acks = result["acks"].as_array().expect("acks").iter().map(text).collect();
                for row in result["responses"].as_array().expect("responses") {
                    let payload = go::bytes(&row["payload"]);
                    answers.responses.push((text(&row["from"]), lossy(&payload)));
                }
            }
            Self::Rust(node) => runtime().block_on(async {
                let asked = node.serf.query(name, payload.to_owned(), params.clone()).await;
                let mut query = asked.expect("a query");
                while let Some(update) = query.recv().await {
                    match update {
                        QueryUpdate::Ack { from } => answers.acks.push(from.to_string()),
                        QueryUpdate::Response { from, payload } => {
                            answers.responses.push((from.to_string(), lossy(&payload)));
                        }
                        _ => break,
                    }
                }
            }),
        }
        answers.acks.sort();
        answers.responses.sort();
        answers
    }

    /// Runs a key operation.
    ///
    /// # Errors
    /// The summary of an operation that failed on some nodes.
    pub fn key(&self, op: &KeyOp, relay_factor: u8) -> Result<KeyAnswer, String> {
        match self {
            Self::Go(go) => {
                let (cmd, key) = match op {
                    KeyOp::Install(key) => ("install_key", key.as_str()),
                    KeyOp::Use(key) => ("use_key", key.as_str()),
                    KeyOp::Remove(key) => ("remove_key", key.as_str()),
                    _ => ("list_keys", ""),
                };
                let command = json!({"cmd": cmd, "key": key, "relay_factor": relay_factor});
                let answer = go.try_call(command)?;
                let count = |field: &str| answer[field].as_u64().expect("a number");
                let map = |field: &str| {
                    let object = answer[field].as_object().into_iter().flatten();
                    object.map(|(key, n)| (key.clone(), n.as_u64().expect("a number"))).collect()
                };
                Ok(KeyAnswer {
                    counts: ["num_nodes", "num_resp", "num_err"].map(count),
                    keys: map("keys"),
                    primary: map("primary_keys"),
                })
            }
            Self::Rust(node) => {
                let keys = node.serf.key_manager().relay_factor(relay_factor);
                let response = runtime().block_on(keys.run(op.clone()));
                let response = response.map_err(|error| error.to_string())?;
                let map = |map: &BTreeMap<String, usize>| {
                    map.iter().map(|(key, n)| (key.clone(), *n as u64)).collect()
                };
                let counts = [response.num_nodes, response.num_resp, response.num_err];
                Ok(KeyAnswer {
                    counts: counts.map(|n| n as u64),
                    keys: map(&response.keys),
                    primary: map(&response.primary_keys),
                })
            }
        }
    }

    /// Declares a failed member left, or forgets it.
    pub fn force_leave(&self, name: &str, prune: bool) {
        match self {
            Self::Go(go) => {
                drop(go.call(json!({"cmd": "force_leave", "name": name, "prune": prune})));
            }
            Self::Rust(node) => {
                let left = async {
                    match prune {
                        true => node.serf.force_leave_and_prune(name).await,
                        false => node.serf.force_leave(name).await,
                    }
                };
                runtime().block_on(left).expect("a force-leave");
            }
        }
    }

    /// Whether the coordinate of a node is known.
    pub fn knows_coordinate(&self, name: &str) -> bool {
        match self {
            Self::Go(go) => go.try_call(json!({"cmd": "coordinate", "name": name})).is_ok(),
            Self::Rust(node) => runtime().block_on(node.serf.coordinate(name)).is_some(),
        }
    }

    /// A counter under Go's name, for those both kinds have.
    pub fn counter(&self, name: &str) -> u64 {
        match self {
            Self::Go(go) => go.counter(name) as u64,
            Self::Rust(node) => {
                let counters = runtime().block_on(node.serf.counters()).expect("a running node");
                let serf = counters.serf;
                match name {
                    "serf.coordinate.rejected" => serf.coordinate_rejected,
                    "serf.query_duplicate_acks" => serf.query_duplicate_acks,
                    "serf.query_duplicate_responses" => serf.query_duplicate_responses,
                    "serf.member.flap" => serf.member_flap,
                    _ => panic!("no counter {name}"),
                }
            }
        }
    }
}

/// The runtime in which all Rust nodes of a test program live.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
    })
}

/// Waits until all of `nodes` list `member` with this status; empty: do not list it.
///
/// # Panics
/// When some do not.
pub fn all_see<'a>(nodes: impl IntoIterator<Item = &'a Node>, member: &str, status: &str) {
    let nodes: Vec<_> = nodes.into_iter().collect();
    eventually(&format!("{member} is not {status:?}"), || {
        let seen = nodes.iter().map(|node| (node.name(), node.status(member)));
        let wrong = seen.filter(|(_, s)| s != status);
        wrong.map(|(n, s)| format!("{n} sees {s:?}")).collect::<Vec<_>>()
    });
}

fn go_row(member: &Value) -> Row {
    let fields = ["protocol", "delegate"].map(|kind| {
        ["min", "max", "cur"].map(|end| member[format!("{kind}_{end}")].as_u64().expect("a number"))
    });
    let [[a, b, c], [d, e, f]] = fields;
    let tags = member["tags"].as_object().into_iter().flatten();
    Row {
        status: text(&member["status"]),
        addr: format!("{}:{}", text(&member["addr"]), member["port"]),
        tags: tags.map(|(key, value)| (key.clone(), text(value))).collect(),
        versions: [a, b, c, d, e, f],
    }
}

fn rust_row(member: &ruserf::serf::Member) -> Row {
    let tags = member.tags.iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    Row {
        status: member.status.to_string(),
        addr: member.addr().map(|addr| addr.to_string()).unwrap_or_default(),
        tags: tags.collect(),
        versions: member.vsn.0.map(u64::from),
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("a short time")
}

/// The profile's few copies miss one of six nodes every hundred messages, and queries and prunes
/// are not repeated by anti-entropy.
const RETRANSMIT_MULT: u32 = 10;
const SECOND: Duration = Duration::from_secs(1);
