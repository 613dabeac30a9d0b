//! A Rust serf node driven by the JSON lines of go-harness's `peer`, so that a scenario can put
//! either program in either role. See go-harness/README.md for the commands.

use std::{
    collections::BTreeMap,
    io::BufRead,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use compat_tests::{
    go::{base64, bytes},
    lines::{say, tags, text, texts},
    record::Recording,
};
use ruserf::{
    Config, Event, Keyring, Member, QueryParams, QueryUpdate, Serf, Subscribe, UserEventSpec,
    engine::KeyOp, transport::NetTransport,
};
use serde_json::{Value, json};

type Answer = Result<Value, String>;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut lines = std::io::stdin().lock().lines().map_while(Result::ok);
    let config: Value = lines
        .next()
        .and_then(|line| serde_json::from_str(&line).ok())
        .expect("the first line is the configuration");
    let handler = text(&config["query_handler"]);
    let node = match runtime.block_on(start(&config)) {
        Ok(serf) => Arc::new(Node { serf, handler: Mutex::new(handler) }),
        Err(error) => {
            say(&json!({"fatal": error}));
            std::process::exit(1);
        }
    };
    runtime.spawn(Arc::clone(&node).tell_events());
    let local = runtime.block_on(node.serf.local_member());
    say(&json!({"ready": member_json(&local), "table": []}));
    for line in lines {
        let command: Value = serde_json::from_str(&line).expect("a command is JSON");
        if command["cmd"] == "quit" {
            break;
        }
        let node = Arc::clone(&node);
        runtime.spawn(async move {
            let id = &command["id"];
            match node.run(&command).await {
                Ok(result) => say(&json!({"id": id, "ok": true, "result": result})),
                Err(error) => say(&json!({"id": id, "ok": false, "error": error})),
            }
        });
    }
    runtime.block_on(node.serf.shutdown());
}

struct Node {
    serf: Serf,
    handler: Mutex<String>,
}

impl Node {
    async fn tell_events(self: Arc<Self>) {
        let mut events = self.serf.subscribe(Subscribe::default());
        while let Some(event) = events.recv().await {
            match event {
                Event::Member(event) => {
                    let members: Vec<_> = event.members.iter().map(|m| member_json(m)).collect();
                    say(&json!({"event": event.kind.to_string(), "members": members}));
                }
                Event::User(event) => say(&json!({
                    "event": "user", "ltime": event.ltime.0, "name": &*event.name,
                    "payload": base64(&event.payload), "coalesce": event.coalesce,
                })),
                Event::Query(query) => {
                    say(&json!({
                        "event": "query", "name": query.name(),
                        "payload": base64(query.payload_bytes()),
                        "source": query.source(),
                    }));
                    let handler = self.handler.lock().expect("no panic").clone();
                    let Some(answer) = answer_for(&handler, query.payload_bytes()) else {
                        continue;
                    };
                    if let Err(error) = query.respond(answer).await {
                        say(&json!({"event": "respond-error", "error": error.go_text()}));
                    }
                }
                other => say(&json!({"event": "other", "text": format!("{other:?}")})),
            }
        }
    }

    async fn run(&self, c: &Value) -> Answer {
        let serf = &self.serf;
        let none = |result: Result<(), ruserf::driver::Error>| {
            result.map(|()| Value::Null).map_err(|error| error.go_text())
        };
        let name = text(&c["name"]);
        match c["cmd"].as_str().unwrap_or_default() {
            "join" => {
                let addrs = texts(&c["addrs"]);
                let joined = match c["ignore_old"] == true {
                    true => serf.join(addrs).await,
                    false => serf.join_with_replay(addrs).await,
                };
                joined.map(|n| json!({"joined": n})).map_err(|error| error.go_text())
            }
            "leave" => none(serf.leave().await),
            "shutdown" => {
                serf.shutdown().await;
                Ok(Value::Null)
            }
            "members" => {
                let members = serf.members().await;
                Ok(members.iter().map(|member| member_json(member)).collect())
            }
            "state" => Ok(json!(format!("{:?}", serf.state()).to_lowercase())),
            "stats" => Ok(json!(serf.stats().await)),
            "event" => {
                let coalesce = c["coalesce"] == true;
                let event = UserEventSpec::new(&name, bytes(&c["payload"])).coalesce(coalesce);
                none(serf.send_event(event).await)
            }
            "query" => self.query(c, &name).await,
            "set_query_handler" => {
                *self.handler.lock().expect("no panic") = text(&c["handler"]);
                Ok(Value::Null)
            }
            "set_tags" => none(serf.set_tags(tags(&c["tags"])).await),
            "force_leave" if c["prune"] == true => none(serf.force_leave_and_prune(&name).await),
            "force_leave" => none(serf.force_leave(&name).await),
            "install_key" => self.keys(KeyOp::Install(text(&c["key"])), c).await,
            "use_key" => self.keys(KeyOp::Use(text(&c["key"])), c).await,
            "remove_key" => self.keys(KeyOp::Remove(text(&c["key"])), c).await,
            "list_keys" => self.keys(KeyOp::List, c).await,
            "coordinate" => {
                let name = if name.is_empty() { serf.name().to_string() } else { name };
                let at = serf.coordinate(&name).await.ok_or("no coordinate is known")?;
                Ok(json!({
                    "Vec": at.vec, "Error": at.error, "Adjustment": at.adjustment,
                    "Height": at.height,
                }))
            }
            "metrics" => {
                let counters = serf.counters().await.map_err(|error| error.to_string())?;
                let (stats, swim) = (counters.serf, counters.swim);
                Ok(json!({"counters": {
                    "serf.member.flap": stats.member_flap,
                    "serf.member.failed": stats.member_failed,
                    "serf.coordinate.rejected": stats.coordinate_rejected,
                    "memberlist.msg.suspect": swim.msg_suspect,
                    "memberlist.msg.dead": swim.msg_dead,
                    "dropped": swim.dropped_malformed + swim.dropped_inadmissible
                        + stats.dropped_malformed + stats.dropped_implausible,
                }}))
            }
            other => Err(format!("unknown command {other:?}")),
        }
    }

    async fn query(&self, c: &Value, name: &str) -> Answer {
        let mut params = QueryParams::default();
        params.filter_nodes = texts(&c["filter_nodes"]);
        params.filter_tags = tags(&c["filter_tags"]);
        params.request_ack = c["ack"] == true;
        params.relay_factor = c["relay_factor"].as_u64().unwrap_or(0).try_into().unwrap_or(u8::MAX);
        params.timeout = Duration::from_millis(c["timeout_ms"].as_u64().unwrap_or(0));
        let started = Instant::now();
        let query = self.serf.query(name, bytes(&c["payload"]), params).await;
        let mut query = query.map_err(|error| error.to_string())?;
        let (mut acks, mut responses) = (Vec::new(), Vec::new());
        while let Some(update) = query.recv().await {
            match update {
                QueryUpdate::Ack { from } => acks.push(from.to_string()),
                QueryUpdate::Response { from, payload } => {
                    responses.push(json!({"from": &*from, "payload": base64(payload)}));
                }
                _ => break,
            }
        }
        let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(json!({"acks": acks, "responses": responses, "ms": ms}))
    }

    async fn keys(&self, op: KeyOp, c: &Value) -> Answer {
        let relay = c["relay_factor"].as_u64().unwrap_or(0).try_into().unwrap_or(u8::MAX);
        let outcome = self.serf.key_manager().relay_factor(relay).run(op).await;
        let r = outcome.map_err(|error| error.to_string())?;
        Ok(json!({
            "messages": r.messages, "num_nodes": r.num_nodes, "num_resp": r.num_resp,
            "num_err": r.num_err, "keys": r.keys, "primary_keys": r.primary_keys,
        }))
    }
}

async fn start(c: &Value) -> Result<Serf, String> {
    let name = text(&c["name"]);
    let mut config = match c["profile"].as_str().unwrap_or("lan") {
        "wan" => Config::wan(&name),
        "local" => Config::local(&name),
        _ => Config::lan(&name),
    };
    config.tags = tags(&c["tags"]);
    if let Some(protocol) = c["protocol"].as_u64() {
        config.protocol = u8::try_from(protocol).map_err(|error| error.to_string())?;
    }
    config.rejoin_after_leave = c["rejoin_after_leave"] == true;
    let ms = |field: &str| c[field].as_u64().map(Duration::from_millis);
    let timing = &mut config.timing;
    for (field, to) in [
        ("reconnect_interval_ms", &mut timing.reconnect_interval),
        ("reconnect_timeout_ms", &mut timing.reconnect_timeout),
        ("tombstone_timeout_ms", &mut timing.tombstone_timeout),
        ("reap_interval_ms", &mut timing.reap_interval),
        ("push_pull_interval_ms", &mut timing.push_pull_interval),
        ("probe_interval_ms", &mut timing.probe_interval),
        ("probe_timeout_ms", &mut timing.probe_timeout),
        ("dead_node_reclaim_ms", &mut timing.dead_node_reclaim_time),
    ] {
        if let Some(value) = ms(field) {
            *to = value;
        }
    }
    if let Some(mult) = c["retransmit_mult"].as_u64() {
        timing.retransmit_mult = mult.try_into().unwrap_or(u32::MAX);
    }
    config.label = text(&c["label"]);
    if let Some(wanted) = c["compression"].as_bool() {
        config.compression = wanted.into();
    }
    config.verify_incoming = c["verify_incoming"].as_bool().unwrap_or(true);
    config.verify_outgoing = c["verify_outgoing"].as_bool().unwrap_or(true);
    let mut keys: Vec<Vec<u8>> = texts(&c["keyring"]).iter().map(|k| bytes(&json!(k))).collect();
    if c["key"].is_string() {
        keys.insert(0, bytes(&c["key"]));
    }
    if let Some(primary) = keys.first() {
        config.keyring = Keyring::build(&keys, primary).map_err(|error| error.to_string())?;
    }
    let ip = c["bind"].as_str().unwrap_or("127.0.0.1").parse();
    let port = c["port"].as_u64().unwrap_or(0).try_into().unwrap_or(0);
    let bind = SocketAddr::new(ip.map_err(|error| format!("bind: {error}"))?, port);
    let mut builder = Serf::builder(config).bind(bind);
    if let Some(path) = c["snapshot_path"].as_str() {
        builder = builder.snapshot(path);
    }
    let keyring_file = c["keyring_file"].as_str();
    if let Some(path) = keyring_file {
        builder = builder.keyring_file(path);
    }
    let sealed = !keys.is_empty() || keyring_file.is_some();
    let started = match std::env::var_os("RUSERF_CAPTURE") {
        None => builder.start().await,
        Some(dir) => {
            let header = json!({"label": text(&c["label"]), "sealed": sealed});
            let file = PathBuf::from(dir).join(format!("{name}-{}.jsonl", std::process::id()));
            let inner = NetTransport::bind(bind).map_err(|error| error.to_string())?;
            let recording = Recording::start(inner, &file, header);
            builder.start_on(recording.map_err(|error| error.to_string())?).await
        }
    };
    started.map_err(|error| error.to_string())
}

/// The respond policies of the Go peer.
fn answer_for(handler: &str, payload: &[u8]) -> Option<Vec<u8>> {
    if let Some(fixed) = handler.strip_prefix("fixed:") {
        return Some(fixed.into());
    }
    if let Some(size) = handler.strip_prefix("size:") {
        return Some(vec![b'r'; size.parse().ok()?]);
    }
    match handler {
        "echo" => Some(payload.to_vec()),
        "uppercase" => Some(payload.to_ascii_uppercase()),
        _ => None,
    }
}

fn member_json(member: &Member) -> Value {
    let addr = member.addr();
    let tags: BTreeMap<_, _> = member.tags.iter().collect();
    json!({
        "name": &*member.name,
        "addr": addr.map(|addr| addr.ip().to_string()),
        "addr_len": member.addr.len(),
        "port": member.port,
        "tags": tags,
        "status": member.status.to_string(),
    })
}
