//! Goal: each alert of packaging/prometheus fires by the fault that it names, on running agents,
//! and not before; those of prometheus.rs are not repeated. Method: Debian's Prometheus scrapes the
//! agents each second and evaluates the rules. Two thresholds are scaled, because 2^31 packets and
//! five minutes take too long; alerts.md describes it.

use std::{
    fs, io,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use compat_tests::{
    lossy::{Net as Hosts, Protocol, Rule},
    net::Net,
    peer::{Launch, Peer},
    process::{Kind, not_run},
    wait::{PATIENCE, eventually},
};
use ruserf::{
    serf::{
        LamportTime, Message as SerfMessage, MsgpackTransform, Tags, TransformDelegate as _,
        message::PushPull as SerfState,
    },
    wire::{Incarnation, NodeState, PushPull},
};
use serde_json::json;

use super::{
    http::{flood, get_with},
    prometheus::{Prometheus, is_there, panel_queries},
};

/// Members that an agent lists with this status.
fn count(http: &str, status: &str) -> usize {
    let answer = get_with(http, &format!("/v1/members?status={status}"), "").json();
    answer["members"].as_array().map_or(0, Vec::len)
}

/// What `/health/ready` says.
fn health(http: &str) -> String {
    get_with(http, "/health/ready", "").text()
}

/// Passes what comes to an address on to a Unix socket: Prometheus has no other way to it.
fn forward(at: &str, to: PathBuf) {
    let listener = TcpListener::bind(at).unwrap();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let to = to.clone();
            // An error means that one of both is gone.
            thread::spawn(move || drop(pass_on(client, &to)));
        }
    });
}

fn pass_on(mut client: TcpStream, to: &Path) -> io::Result<()> {
    let mut server = UnixStream::connect(to)?;
    let (mut asks, mut asked) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || io::copy(&mut asks, &mut asked));
    io::copy(&mut server, &mut client)?;
    client.shutdown(Shutdown::Both)
}

/// Four hosts, the last with an agent of Go's; the HTTP of the others at addresses of this host.
struct Cluster {
    hosts: Hosts,
    http: Vec<String>,
    _agents: Vec<Peer>,
}

impl Cluster {
    fn start(net: Net, dir: &Path) -> Self {
        let hosts = Hosts::start(4, 17);
        let config = json!({ "beacon_interval": "1s", "reconnect_interval": "1s" });
        fs::write(dir.join("ours.json"), config.to_string()).unwrap();
        let start = |host: usize, kind: Kind, name: &str, args: &[&str]| {
            let launch = Launch::new(kind, name, &hosts.ip(host)).rpc("127.0.0.1:7373").dir(dir);
            let namespace = hosts.namespace(host);
            launch.args(args).wrapper(&["ip", "netns", "exec", &namespace]).start()
        };
        let mut agents = vec![start(3, Kind::Go, "d", &[])];
        let (seed, mut http) = (agents[0].addr.clone(), Vec::new());
        for (host, name) in ["a", "b", "c"].into_iter().enumerate() {
            let socket = dir.join(format!("{name}.http"));
            let listen = format!("unix:{}", socket.display());
            let args = ["-config-file", "ours.json", "-http-addr", &listen, "-join", &seed];
            agents.push(start(host, Kind::Ours, name, &args));
            let at = format!("{}:8080", net.ip(u8::try_from(host).unwrap() + 2));
            forward(&at, socket);
            http.push(at);
        }
        let cluster = Self { hosts, http, _agents: agents };
        cluster.wait_whole();
        cluster
    }

    fn wait_whole(&self) {
        eventually("the members do not find each other", || {
            self.http.iter().all(|http| count(http, "alive") == 4)
        });
    }
}

#[test]
fn a_network_that_fails_fires_its_alerts() {
    if !is_there() {
        return;
    }
    if !Hosts::possible() {
        return not_run("network namespaces need root, `ip` and /dev/net/tun");
    }
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let cluster = Cluster::start(net, dir.path());
    // The agents that were alone at first have sent beacons; when one has yielded to a, it has
    // heard enough to know later ones as late.
    let beacon = |http: &str, name: &str| {
        let text = get_with(http, "/metrics", "").text();
        let series = format!("agent_beacon_{name} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&series));
        line.map_or(0.0, |value| value.parse::<f64>().unwrap())
    };
    eventually("a is not the one that sends beacons", || {
        let before = [1, 2].map(|n| beacon(&cluster.http[n], "sent_total"));
        let heard = beacon(&cluster.http[2], "delay_seconds_count");
        eventually("c hears no beacons", || {
            beacon(&cluster.http[2], "delay_seconds_count") >= heard + 2.0
        });
        [1, 2].map(|n| beacon(&cluster.http[n], "sent_total")) == before
    });
    let prometheus = Prometheus::of_agents(net, dir.path(), &cluster.http, &[]);
    eventually("the whole is not seen", || {
        prometheus.query("serf_members{status=\"alive\"} == 4").len() == 3
    });
    for alert in ["SerfViewsDiffer", "SerfUdpBlocked", "SerfBeaconsSplit"] {
        assert!(!prometheus.fires(alert), "{alert}");
    }
    // Host a is cut off.
    let cut = |from: &[usize], to: &[usize]| {
        let (from, to) = (from.to_vec(), to.to_vec());
        Rule { from, to, loss: 1.0, ..Rule::default() }
    };
    cluster.hosts.set_rules(vec![cut(&[0], &[1, 2, 3]), cut(&[1, 2, 3], &[0])]);
    prometheus.wait_for("SerfViewsDiffer", true);
    prometheus.wait_for("SerfBeaconsSplit", true);
    prometheus.wait_for("SerfProbesFail", true);
    prometheus.wait_for("SerfHealthScore", true);
    cluster.hosts.set_rules(Vec::new());
    cluster.wait_whole();
    prometheus.wait_for("SerfViewsDiffer", false);
    // UDP is blocked between all.
    assert!(!prometheus.fires("SerfUdpBlocked"));
    let udp = Rule { protocol: Some(Protocol::Udp), ..Rule::default() };
    cluster.hosts.set_rules(vec![Rule { loss: 1.0, ..udp.clone() }]);
    prometheus.wait_for("SerfUdpBlocked", true);
    // UDP takes long to c.
    cluster.hosts.set_rules(vec![Rule { to: vec![2], delay: Duration::from_secs(4), ..udp }]);
    prometheus.wait_for("SerfViewOld", true);
}

#[test]
fn a_machine_that_freezes_again_and_again_fires_flapping() {
    if !is_there() {
        return;
    }
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let http = format!("{}:8080", net.ip(2));
    let flags = ["-profile", "local"];
    let a =
        Peer::start(Kind::Ours, "a", &net.ip(2), &[&flags[..], &["-http-addr", &http]].concat());
    let join = [&flags[..], &["-join", &a.addr]].concat();
    let b = Peer::start(Kind::Go, "b", &net.ip(3), &join);
    let prometheus = Prometheus::of_agents(net, dir.path(), &[http], &[]);
    for _ in 0..3 {
        assert!(!prometheus.fires("SerfFlapping"));
        b.signal("STOP");
        a.wait_member("b", "failed");
        b.signal("CONT");
        a.wait_member("b", "alive");
    }
    prometheus.wait_for("SerfFlapping", true);
}

/// More events than gossip carries, and handlers that do not end: for one at a time, and for one
/// of two.
#[test]
fn a_flood_of_events_fires_for_the_queue_and_for_handlers_that_lose_events() {
    if !is_there() {
        return;
    }
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let http = [2, 3].map(|last| format!("{}:8080", net.ip(last)));
    let handler = ["-event-handler", "user=exec sleep 1000", "-http-addr"];
    let one = [&handler[..], &[&http[0]]].concat();
    let a = Peer::start(Kind::Ours, "a", &net.ip(2), &one);
    let two = [&handler[..], &[&http[1], "-handler-concurrency", "2"]].concat();
    let b = Peer::start(Kind::Ours, "b", &net.ip(3), &two);
    let _c = Peer::start(Kind::Go, "c", &net.ip(4), &["-join", &a.addr]);
    let prometheus = Prometheus::of_agents(net, dir.path(), &http, &[]);
    for alert in ["SerfQueueLong", "SerfEventsLost"] {
        assert!(!prometheus.fires(alert), "{alert}");
    }
    thread::scope(|scope| {
        scope.spawn(|| flood(&b, 1_200));
        flood(&a, 4_400);
    });
    prometheus.wait_for("SerfQueueLong", true);
    prometheus.wait_for("SerfEventsLost", true);
    let lost = "agent_events_dropped_total{subscriber=\"handlers\"} > 0";
    eventually("an agent does not count what it loses", || prometheus.query(lost).len() == 2);
}

/// A push/pull of so many members, and what the agent answers.
fn exchange(agent: &Peer, at: &str, incarnation: u32, meta: &Tags) -> Vec<u8> {
    const MEMBERS: usize = 22_000;
    let names: Vec<_> = (0..MEMBERS).map(|n| format!("{n:0>180}")).collect();
    let mut encoded = Vec::new();
    MsgpackTransform.encode_tags(4, meta, &mut encoded);
    let ip: std::net::Ipv4Addr = at.parse().unwrap();
    let octets = ip.octets();
    let rows = names.iter().map(|name| NodeState {
        name: name.as_bytes(),
        addr: octets.as_slice().into(),
        port: 7946,
        meta: encoded.as_slice().into(),
        incarnation: Incarnation(incarnation),
        state: 0,
        vsn: [1, 5, 2, 2, 5, 4].as_slice().into(),
    });
    let state = SerfState {
        ltime: LamportTime(5),
        status_ltimes: names.iter().map(|name| (name.as_bytes(), LamportTime(3))).collect(),
        event_ltime: LamportTime(1),
        query_ltime: LamportTime(1),
        ..SerfState::default()
    };
    let (mut user, mut message) = (Vec::new(), Vec::new());
    MsgpackTransform.encode_message(&SerfMessage::PushPull(state), &mut user);
    PushPull::encode(false, rows, &user, &mut message);
    let mut stream = TcpStream::connect(&agent.addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&message).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn many_members_with_long_tags_fire_and_are_a_reason_until_they_are_shorter() {
    if !is_there() {
        return;
    }
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let http = format!("{}:8080", net.ip(2));
    let flags = ["-http-addr", &http, "-disable-compression"];
    let a = Peer::start(Kind::Ours, "a", &net.ip(2), &flags);
    let tags = |len: usize| Tags::from_pairs([("t".to_owned(), "x".repeat(len))]);
    let prometheus = Prometheus::of_agents(net, dir.path(), std::slice::from_ref(&http), &[]);
    assert!(!prometheus.fires("SerfStateTooLarge"));
    // Others are there from the second exchange on.
    let turn = |incarnation, len| {
        eventually("the exchange fails", || {
            exchange(&a, &net.ip(9), incarnation, &tags(len)).len() > 100
        });
    };
    turn(1, 440);
    eventually("the members do not come", || count(&http, "alive") > 20_000);
    turn(1, 440);
    prometheus.wait_for("SerfStateTooLarge", true);
    assert!(health(&http).contains("\"push_pull_near_limit\""), "{}", health(&http));
    turn(2, 40);
    eventually("their tags do not come", || {
        turn(2, 40);
        !health(&http).contains("\"push_pull_near_limit\"")
    });
    prometheus.wait_for("SerfStateTooLarge", false);
}

/// The thresholds are 50 packets and two intervals of beacons. Each query of the dashboard has a
/// result.
#[test]
fn a_key_that_is_worn_and_beacons_that_stay_away_fire_until_they_are_replaced() {
    if !is_there() {
        return;
    }
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    let keys = ["wsGlMv8mfgjD1f+CVVMHZA==", "WSGlMv8mfgjD1f+CVVMHZA=="];
    let http = [2, 3].map(|last| format!("{}:8080", net.ip(last)));
    let start = |n: usize, name: &str, more: &[&str]| {
        let flags = ["-beacon-interval", "4s", "-http-addr", &http[n], "-encrypt", keys[0]];
        let ip = net.ip(u8::try_from(n).unwrap() + 2);
        Peer::start(Kind::Ours, name, &ip, &[&flags, more].concat())
    };
    let a = start(0, "a", &["-event-handler", "user=true"]);
    let b = start(1, "b", &["-join", &a.addr]);
    let scaled = [
        ("> 2147483648", "> 50"),
        ("agent_beacon_age_seconds > 300", "agent_beacon_age_seconds > 8"),
    ];
    let prometheus = Prometheus::of_agents(net, dir.path(), &http, &scaled);
    a.ok(&["event", "deploy"]);
    a.ok(&["query", "-timeout=1s", "load"]);
    prometheus.wait_for("SerfKeyWorn", true);
    for change in ["-install", "-use"] {
        a.ok(&["keys", change, keys[1]]);
    }
    prometheus.wait_for("SerfKeyWorn", false);
    // Every panel shows something of these agents.
    eventually("a panel is empty", || -> Vec<String> {
        let queries = panel_queries().into_iter();
        let queries = queries.map(|query| query.replace("$job", "serf").replace("$instance", ".*"));
        let quiet = |query: &String| query.starts_with("agent_not_ready");
        queries.filter(|query| !quiet(query) && prometheus.query(query).is_empty()).collect()
    });
    assert!(!prometheus.fires("SerfBeaconsSilent"));
    drop(a);
    prometheus.wait_for("SerfBeaconsSilent", true);
    b.wait_for_line("Beacons: sending them, none came for ");
    prometheus.wait_for("SerfBeaconsSilent", false);
}
