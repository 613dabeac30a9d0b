//! A `serf` program, Go's, ours or a user's own, driven by the JSON lines of go-harness's `peer`
//! through its agent's RPC. The variable `RUSERF_SERF` names the program. What an agent has no
//! setting or command for fails with "not supported".

use std::{
    collections::BTreeMap,
    io::BufRead,
    net::{IpAddr, TcpListener, UdpSocket},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use compat_tests::{
    go::{base64, bytes},
    lines::{say, tags, text, texts},
    wait::poll,
};
use ruserf::{
    client::{Client, Config, EventRecord, KeyResponse, QueryEvent},
    rpc::protocol::{Blob, Member, Query},
    serf::{OldEvents, Prune, UserEventSpec},
};
use serde_json::{Value, json};

type Answer = Result<Value, String>;

fn main() {
    let mut lines = std::io::stdin().lock().lines().map_while(Result::ok);
    let config: Value = lines
        .next()
        .and_then(|line| serde_json::from_str(&line).ok())
        .expect("the first line is the configuration");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let dir = tempfile::tempdir().expect("a directory");
    let agent = match Agent::start(&config, dir.path()) {
        Ok(agent) => agent,
        Err(error) => {
            say(&json!({"fatal": error}));
            std::process::exit(1);
        }
    };
    let agent = Arc::new(agent);
    let client = runtime.block_on(agent.connect());
    runtime.spawn(report_events(client.clone(), text(&config["query_handler"])));
    say(&json!({"ready": {"name": agent.name, "addr": agent.ip, "port": agent.port}, "table": []}));
    for line in lines {
        let command: Value = serde_json::from_str(&line).expect("a command is JSON");
        if command["cmd"] == "quit" {
            break;
        }
        let (agent, client) = (Arc::clone(&agent), client.clone());
        runtime.spawn(async move {
            let id = &command["id"];
            match agent.run(&client, &command).await {
                Ok(result) => say(&json!({"id": id, "ok": true, "result": result})),
                Err(error) => say(&json!({"id": id, "ok": false, "error": error})),
            }
        });
    }
    agent.end();
}

/// A running agent.
struct Agent {
    name: String,
    ip: String,
    port: u16,
    rpc: String,
    process: Mutex<Child>,
    counters: Arc<Mutex<BTreeMap<&'static str, f64>>>,
}

impl Agent {
    /// Starts it with the settings of the JSON lines that an agent has.
    fn start(config: &Value, dir: &std::path::Path) -> Result<Self, String> {
        let program = std::env::var_os("RUSERF_SERF").ok_or("RUSERF_SERF names no program")?;
        let mut settings = serde_json::Map::new();
        for (name, value) in config.as_object().into_iter().flatten() {
            let millis = || json!(format!("{value}ms"));
            let (setting, value) = match name.as_str() {
                "name" => ("node_name", value.clone()),
                "key" => ("encrypt_key", value.clone()),
                "compression" => ("enable_compression", value.clone()),
                "reconnect_interval_ms" => ("reconnect_interval", millis()),
                "reconnect_timeout_ms" => ("reconnect_timeout", millis()),
                "tombstone_timeout_ms" => ("tombstone_timeout", millis()),
                "tags" | "profile" | "protocol" | "keyring_file" | "snapshot_path"
                | "rejoin_after_leave" => (name.as_str(), value.clone()),
                "bind" | "port" | "query_handler" | "retransmit_mult" => continue,
                _ if value.is_null() || *value == json!("") || *value == json!({}) => continue,
                other => return Err(format!("not supported: an agent has no setting {other}")),
            };
            settings.insert(setting.to_owned(), value);
        }
        let ip = config["bind"].as_str().unwrap_or("127.0.0.1").to_owned();
        let port = config["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        let port = port.filter(|port| *port != 0).map_or_else(|| free_port(&ip), Ok)?;
        let rpc = format!("{ip}:{}", free_port(&ip)?);
        settings.insert("bind".to_owned(), json!(format!("{ip}:{port}")));
        settings.insert("rpc_addr".to_owned(), json!(rpc));
        let counters = Arc::default();
        let statsd = count(&ip, &counters)?;
        settings.insert("statsd_addr".to_owned(), json!(statsd));
        let file = dir.join("agent.json");
        std::fs::write(&file, Value::Object(settings).to_string()).map_err(|e| e.to_string())?;
        // The test kills this program to make the node fail, so the agent must end with it.
        let mut process = Command::new("setpriv");
        process.args(["--pdeathsig", "KILL"]).arg(program);
        process.arg("agent").arg("-config-file").arg(&file);
        let process = process.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let process = Mutex::new(process.map_err(|error| error.to_string())?);
        Ok(Self { name: text(&config["name"]), ip, port, rpc, process, counters })
    }

    /// The agent listens shortly after its start.
    async fn connect(&self) -> Client {
        let runtime = tokio::runtime::Handle::current();
        let rpc = self.rpc.clone();
        let connected = tokio::task::spawn_blocking(move || {
            poll(Duration::from_secs(30), || {
                runtime.block_on(Client::connect(Config::new(rpc.clone()))).ok()
            })
        });
        connected.await.expect("no panic").expect("the agent listens")
    }

    fn end(&self) {
        let mut process = self.process.lock().expect("no panic");
        let _ = process.kill();
        let _ = process.wait();
    }

    async fn run(&self, client: &Client, c: &Value) -> Answer {
        let name = text(&c["name"]);
        let none = |done: Result<(), ruserf::client::Error>| {
            done.map(|()| Value::Null).map_err(|error| error.to_string())
        };
        match c["cmd"].as_str().unwrap_or_default() {
            "join" => {
                let old = match c["ignore_old"] == true {
                    true => OldEvents::Ignore,
                    false => OldEvents::Deliver,
                };
                let joined = client.join(texts(&c["addrs"]), old).await;
                joined.map(|n| json!({"joined": n})).map_err(|error| error.to_string())
            }
            "leave" => none(client.leave().await),
            "shutdown" => {
                self.end();
                Ok(Value::Null)
            }
            "members" => {
                let members = client.members().await.map_err(|error| error.to_string())?;
                Ok(members.iter().map(member_json).collect())
            }
            "event" => {
                let event = UserEventSpec::new(&name, bytes(&c["payload"]));
                none(client.user_event(&event.coalesce(c["coalesce"] == true)).await)
            }
            "query" => query(client, c, &name).await,
            "set_tags" => {
                let new = tags(&c["tags"]);
                let members = client.members().await.map_err(|error| error.to_string())?;
                let own = members.iter().find(|member| member.name == self.name);
                let old = own.into_iter().flat_map(|member| member.tags.keys());
                let gone = old.filter(|tag| !new.contains_key(*tag)).cloned().collect();
                none(client.update_tags(new, gone).await)
            }
            "force_leave" => {
                let prune = if c["prune"] == true { Prune::Yes } else { Prune::No };
                none(client.force_leave(&name, prune).await)
            }
            "install_key" => keys(client.install_key(&text(&c["key"])).await),
            "use_key" => keys(client.use_key(&text(&c["key"])).await),
            "remove_key" => keys(client.remove_key(&text(&c["key"])).await),
            "list_keys" => keys(client.list_keys().await),
            "coordinate" => {
                let name = if name.is_empty() { self.name.clone() } else { name };
                let at = client.coordinate(&name).await.map_err(|error| error.to_string())?;
                let at = at.ok_or("no coordinate is known")?;
                Ok(json!({
                    "Vec": at.vec, "Error": at.error, "Adjustment": at.adjustment,
                    "Height": at.height,
                }))
            }
            "stats" => Ok(json!(client.stats().await.map_err(|error| error.to_string())?["serf"])),
            "metrics" => Ok(json!({"counters": *self.counters.lock().expect("no panic")})),
            other => Err(format!("not supported: an agent has no command {other}")),
        }
    }
}

async fn query(client: &Client, c: &Value, name: &str) -> Answer {
    let nodes = texts(&c["filter_nodes"]);
    let query = Query {
        filter_nodes: (!nodes.is_empty()).then_some(nodes),
        filter_tags: Some(tags(&c["filter_tags"])),
        request_ack: c["ack"] == true,
        relay_factor: c["relay_factor"].as_u64().unwrap_or(0).try_into().unwrap_or(u8::MAX),
        timeout: c["timeout_ms"].as_i64().unwrap_or(0) * 1_000_000,
        name: name.into(),
        payload: Blob(bytes(&c["payload"])),
    };
    let started = Instant::now();
    let mut asked = client.query(query).await.map_err(|error| error.to_string())?;
    let (mut acks, mut responses) = (Vec::new(), Vec::new());
    while let Some(event) = asked.recv().await.map_err(|error| error.to_string())? {
        match event {
            QueryEvent::Ack(from) => acks.push(from),
            QueryEvent::Response { from, payload } => {
                responses.push(json!({"from": from, "payload": base64(payload)}));
            }
            _ => {}
        }
    }
    let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(json!({"acks": acks, "responses": responses, "ms": ms}))
}

fn keys(response: Result<KeyResponse, ruserf::client::Error>) -> Answer {
    let r = response.map_err(|error| error.to_string())?;
    Ok(json!({
        "messages": r.messages, "num_nodes": r.num_nodes, "num_resp": r.num_resp,
        "num_err": r.num_err, "keys": r.keys.unwrap_or_default(),
    }))
}

async fn report_events(client: Client, handler: String) {
    let mut events = client.stream("*").await.expect("a stream");
    while let Ok(Some(event)) = events.recv().await {
        match event {
            EventRecord::Member(event) => {
                let members: Vec<_> = event.members.iter().map(member_json).collect();
                say(&json!({"event": event.event, "members": members}));
            }
            EventRecord::User(event) => say(&json!({
                "event": "user", "ltime": event.l_time, "name": event.name.lossy(),
                "payload": base64(&event.payload.0), "coalesce": event.coalesce,
            })),
            EventRecord::Query(query) => {
                say(&json!({
                    "event": "query", "name": query.name.lossy(),
                    "payload": base64(&query.payload.0),
                }));
                let answer = match handler.as_str() {
                    "echo" => query.payload.0.clone(),
                    "uppercase" => query.payload.0.to_ascii_uppercase(),
                    other => match other.strip_prefix("size:").and_then(|size| size.parse().ok()) {
                        Some(size) => vec![b'r'; size],
                        None => continue,
                    },
                };
                if let Err(error) = client.respond(query.id, &answer).await {
                    say(&json!({"event": "respond-error", "error": error.to_string()}));
                }
            }
            _ => {}
        }
    }
}

fn member_json(member: &Member) -> Value {
    let bytes = member.addr.0.as_slice();
    let ip = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let ip = ip.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
    json!({
        "name": member.name,
        "addr": ip.ok().map(|ip| ip.to_canonical().to_string()),
        "port": member.port, "tags": member.tags, "status": member.status,
    })
}

/// Receives the agent's metrics as a statsd server at the returned address, and adds them up.
fn count(ip: &str, counters: &Arc<Mutex<BTreeMap<&'static str, f64>>>) -> Result<String, String> {
    let socket = UdpSocket::bind((ip, 0)).map_err(|error| error.to_string())?;
    let addr = socket.local_addr().map_err(|error| error.to_string())?;
    let counters = Arc::clone(counters);
    std::thread::spawn(move || {
        let mut buf = [0; 65_536];
        while let Ok(len) = socket.recv(&mut buf) {
            let text = String::from_utf8_lossy(&buf[..len]).into_owned();
            for line in text.lines() {
                let Some((name, value)) = line.rsplit_once(':') else { continue };
                let Some(name) = COUNTERS.iter().find(|known| name.ends_with(**known)) else {
                    continue;
                };
                let value = value.split('|').next().and_then(|value| value.parse::<f64>().ok());
                *counters.lock().expect("no panic").entry(name).or_default() +=
                    value.unwrap_or_default();
            }
        }
    });
    Ok(addr.to_string())
}

/// A port that was free a moment ago.
fn free_port(ip: &str) -> Result<u16, String> {
    let listener = TcpListener::bind((ip, 0)).map_err(|error| error.to_string())?;
    listener.local_addr().map(|addr| addr.port()).map_err(|error| error.to_string())
}

/// What scenarios look at; in front of it comes the name of the service.
const COUNTERS: [&str; 5] = [
    "memberlist.msg.suspect",
    "memberlist.msg.dead",
    "serf.member.flap",
    "serf.member.failed",
    "serf.coordinate.rejected",
];
