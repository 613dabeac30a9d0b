//! Goal: the rows of the parity table about an agent's start, network, signals and log. Method:
//! each scenario runs with Go's agent and with ours, and both must behave as the row says.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::{net::UnixDatagram, process::ExitStatusExt as _},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use compat_tests::{
    net::Net,
    peer::{Launch, Peer},
    process::{self, BOTH, InTime as _, Kind, Process, wait_in_time},
    wait::{PATIENCE, eventually},
};
use ruserf::{
    UserEventSpec,
    client::{self, OldEvents},
    wire::PushPull,
};
use serde_json::{Value, json};

const KEY: &str = "T9jncgl9mbLus+baTTa7q7nPSUrXwbDi2dhbtqir37s=";

/// Runs a scenario for both kinds at once, each in a directory and on addresses of its own.
fn for_both(scenario: impl Fn(Kind, &Path, Net) + Sync) {
    thread::scope(|scope| {
        for kind in BOTH {
            let scenario = &scenario;
            scope.spawn(move || {
                let dir = tempfile::tempdir().expect("a directory");
                scenario(kind, dir.path(), Net::new());
            });
        }
    });
}

fn tags_of(agent: &Peer, name: &str) -> Value {
    let members = agent.ask(|client| async move { client.members().await });
    let member = members.into_iter().find(|member| member.name == name).expect("listed");
    json!(member.tags)
}

// parity: agent-net: advertise
// parity: agent-life: Banner
#[test]
fn the_banner_is_gos() {
    let mut banners = Vec::new();
    for kind in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let net = Net::new();
        let snapshot = dir.path().join("snapshot");
        let advertise = format!("{net}2:9999");
        let args = [
            "-advertise",
            &advertise,
            "-encrypt",
            KEY,
            "-snapshot",
            snapshot.to_str().unwrap(),
            "-profile",
            "wan",
            "-disable-compression",
        ];
        let agent = Peer::start(kind, "banner", &net.ip(1), &args);
        agent.wait_for_line("Serf agent starting");
        let listed = agent.ok(&["members"]);
        assert!(listed.contains(&format!("  {advertise}  ")), "{kind:?}: {listed}");
        let log = agent.log();
        let until = log.find("[INFO]").expect("a log line");
        let banner = &log[..log[..until].rfind('\n').unwrap()];
        banners.push(banner.replace(&net.to_string(), "NET."));
    }
    assert_eq!(banners[0], banners[1]);
    for line in ["Encrypted: true", "Message Compression Enabled: false", "Profile: wan"] {
        assert!(banners[1].contains(line), "{}", banners[1]);
    }
    assert!(banners[1].contains("Advertise addr: 'NET.2:9999'"), "{}", banners[1]);
}

// parity: agent-net: bind ip / ip:port / IPv6
#[test]
fn addresses_are_parsed_and_a_cluster_forms_over_ipv6() {
    let net = Net::new();
    for kind in BOTH {
        for (bind, shown) in [("[::1]:7946", "[::1]:7946"), ("127.0.0.1:0", "127.0.0.1:")] {
            // Both kinds bind the same port of the one IPv6 loopback address: one after the other.
            let args = ["-bind", bind, "-log-level", "debug"];
            let mut agent = Launch::new(kind, "six", &net.ip(1)).args(&args).spawn();
            eventually("it runs", || {
                agent.log().contains("Serf agent starting") || agent.process.has_ended()
            });
            let text = agent.log();
            assert!(text.contains(&format!("Bind addr: '{shown}")), "{kind:?} {bind}: {text}");
            if kind == Kind::Go && bind.starts_with('[') {
                let args = ["-bind", "[::1]:7947", "-join", "[::1]:7946"];
                let mut other = Launch::new(Kind::Ours, "six-two", &net.ip(2)).args(&args).spawn();
                eventually("ours joined Go over IPv6", || {
                    let text = other.log();
                    assert!(!other.process.has_ended(), "{text}");
                    text.contains("EventMemberJoin: six ::1")
                });
            }
        }
    }
}

// parity: agent-life: SIGINT graceful leave
// parity: agent-life: skip_leave_on_interrupt
// parity: agent-life: SIGTERM / leave_on_terminate
// parity: agent-life: Second signal / 3s cap
#[test]
fn signals_end_an_agent_as_they_end_gos() {
    for_both(|kind, dir, net| {
        let watch = Peer::configured(kind, "watch", &net.ip(1), &json!({}), dir);
        let cases = [
            ("int", json!({}), "INT", 0, "left"),
            ("int-skip", json!({"skip_leave_on_interrupt": true}), "INT", 1, "failed"),
            ("term", json!({}), "TERM", 1, "failed"),
            ("term-leave", json!({"leave_on_terminate": true}), "TERM", 0, "left"),
        ];
        for (n, (name, config, signal, code, status)) in cases.into_iter().enumerate() {
            let ip = format!("{net}{}", n + 2);
            let mut agent = Peer::configured(kind, name, &ip, &config, dir);
            agent.join(&watch, false);
            eventually("it is alive", || watch.sees(name, "alive"));
            agent.signal(signal);
            assert_eq!(agent.wait().code(), Some(code), "{name}\n{}", agent.log_tail());
            let caught = if signal == "INT" { "interrupt" } else { "terminated" };
            let log = agent.log();
            assert!(log.contains(&format!("==> Caught signal: {caught}")), "{log}");
            let reported = log.contains("==> Gracefully shutting down agent...");
            assert_eq!(reported, code == 0, "{log}");
            watch.wait_member(name, status);
        }
        // A second signal ends the agent without waiting for the leave.
        let mut agent = Peer::configured(kind, "twice", &net.ip(9), &json!({}), dir);
        agent.join(&watch, false);
        eventually("it is alive", || watch.sees("twice", "alive"));
        agent.signal("INT");
        eventually("it is leaving", || agent.log().contains("Gracefully shutting down"));
        agent.signal("INT");
        assert_eq!(agent.wait().code(), Some(1));
    });
}

/// Goal: an agent survives the end of the pager it prints to; Go's dies of SIGPIPE.
#[test]
fn a_closed_standard_output_ends_gos_agent_and_not_ours() {
    for_both(|kind, _, net| {
        let (ip, rpc) = (format!("{net}1"), format!("{net}1:7373"));
        let mut command = Command::new(kind.program());
        command.args(["agent", "-node", "piped", "-bind", &ip, "-rpc-addr", &rpc]);
        command.args(["-log-level", "debug"]);
        // It closes the pipe before the banner is complete.
        let mut agent = Process::start_reading(command, 100);
        if kind == Kind::Go {
            assert_eq!(agent.wait_status().signal(), Some(13));
            return;
        }
        let serf = |args: &[&str]| {
            Command::new(kind.program()).args(args).env("SERF_RPC_ADDR", &rpc).output_in_time()
        };
        eventually("it answers", || serf(&["members"]).status.success());
        for _ in 0..20 {
            assert!(serf(&["event", "-coalesce=false", "logged"]).status.success());
        }
        assert!(serf(&["members"]).status.success());
        agent.signal("INT");
        assert_eq!(agent.wait(), Some(0));
    });
}

/// A join waits 10 s for each address that does not answer.
#[test]
fn a_signal_ends_an_agent_that_still_joins() {
    for_both(|kind, _, net| {
        let silent: Vec<_> =
            (10..30).map(|n| TcpListener::bind((format!("{net}{n}"), 7946)).unwrap()).collect();
        let joins = silent.iter().map(|listener| listener.local_addr().unwrap().to_string());
        let joins: Vec<_> = joins.flat_map(|addr| ["-join".to_owned(), addr]).collect();
        for (n, signal, number) in [(1, "TERM", 15), (2, "INT", 2)] {
            let args: Vec<_> = joins.iter().map(String::as_str).collect();
            let mut agent = Launch::new(kind, signal, &net.ip(n)).args(&args).spawn();
            agent.wait_for_line("==> Joining cluster...(replay: false)");
            let began = Instant::now();
            agent.signal(signal);
            let status = agent.wait();
            let log = agent.log();
            // Half of the time that the join takes.
            assert!(began.elapsed() < Duration::from_secs(100), "it went on: {log}");
            // Go's agent does not listen to signals yet.
            match status.signal() {
                Some(died) => assert_eq!((died, kind == Kind::Ours), (number, false)),
                None => {
                    assert_eq!(status.code(), Some(1), "{log}");
                    assert!(log.contains("==> Caught signal: "), "{log}");
                    assert!(!log.contains("Gracefully"), "{log}");
                }
            }
        }
    });
}

/// With the timing of a WAN, a leave that waits for a peer takes some 5 s.
// parity: agent-life: Second signal / 3s cap
#[test]
fn a_leave_for_a_signal_has_three_seconds() {
    for_both(|kind, dir, net| {
        let config = json!({"profile": "wan"});
        let peer = Peer::configured(kind, "peer", &net.ip(1), &config, dir);
        let mut agent = Peer::configured(kind, "slow", &net.ip(2), &config, dir);
        agent.join(&peer, false);
        eventually("it is alive", || peer.sees("slow", "alive"));
        // The announcement of the join has gone out.
        thread::sleep(Duration::from_secs(3));
        let signalled = Instant::now();
        agent.signal("INT");
        assert_eq!(agent.wait().code(), Some(1), "{}", agent.log_tail());
        let took = signalled.elapsed();
        assert!(took >= Duration::from_secs(3), "{took:?}");
        let log = agent.log();
        assert!(log.contains("==> Gracefully shutting down agent..."), "{log}");
    });
}

/// With the timing of a WAN, a message is sent to the only peer four times in some 2 s.
// parity: agent-net: broadcast_timeout
#[test]
fn a_broadcast_is_waited_for_up_to_the_broadcast_timeout() {
    for_both(|kind, dir, net| {
        let hasty = json!({"profile": "wan", "broadcast_timeout": "50ms"});
        let hasty = Peer::configured(kind, "hasty", &net.ip(1), &hasty, dir);
        let calm = json!({"profile": "wan"});
        let calm = Peer::configured(kind, "calm", &net.ip(2), &calm, dir);
        let log = hasty.log();
        assert!(log.contains("Warning: 'BroadcastTimeout' is too low. Setting to 1s"), "{log}");
        calm.join(&hasty, false);
        eventually("they met", || hasty.sees("calm", "alive") && calm.sees("hasty", "alive"));
        let says = |agent: &Peer, args: &[&str]| {
            let said = agent.cli(args);
            (said.out, said.code)
        };
        // A message may be piggybacked on pings and acks and so be early now and then.
        let late = "Error force leaving: timed out broadcasting node removal\n";
        let reported =
            (0..5).any(|_| says(&hasty, &["force-leave", "nobody"]) == (late.into(), Some(1)));
        assert!(reported, "one of five takes longer than the timeout");
        let late = "Error setting tags: timeout waiting for update broadcast\n";
        let set = |agent, value: i32| says(agent, &["tags", "-set", &format!("a={value}")]);
        let reported = (1..6).find(|value| set(&hasty, *value) == (late.into(), Some(1)));
        let reported = reported.expect("one of five takes longer than the timeout");
        let tag = json!(reported.to_string());
        eventually("the tags are sent anyway", || tags_of(&calm, "hasty")["a"] == tag);
        assert_eq!(set(&calm, 0).1, Some(0));
    });
}

// parity: agent-life: SIGHUP reload log level/handlers/leave flags
// parity: agent-life: SIGHUP reload tags
// parity: agent-life: SIGHUP invalid config
#[test]
fn a_reload_changes_level_handlers_and_tags() {
    for_both(|kind, dir, net| {
        let watch = Peer::configured(kind, "watch", &net.ip(1), &json!({}), dir);
        // The level comes from the file alone: a flag would win over it.
        let out = dir.join("out");
        let write = |level: &str, tags: Value, word: &str, leave: bool| {
            let handler = format!("user:go=echo {word} >>'{}'", out.display());
            let config = json!({
                "log_level": level, "tags": tags, "event_handlers": [handler],
                "leave_on_terminate": leave,
            });
            fs::write(dir.join("reload.json"), config.to_string()).unwrap();
        };
        write("debug", json!({"role": "a"}), "before", false);
        let file = dir.join("reload.json");
        let args = ["-config-file", file.to_str().unwrap(), "-join", &watch.addr];
        let mut agent = Peer::start(kind, "reload", &net.ip(2), &args);
        eventually("it joined", || watch.sees("reload", "alive"));
        let event = || agent.ok(&["event", "-coalesce=false", "go"]);
        let said = |word: &str| fs::read_to_string(&out).unwrap_or_default().contains(word);
        event();
        eventually("the first handler ran", || said("before"));
        eventually("the log is at debug", || agent.log().contains("[DEBUG]"));

        let hangup = || agent.signal("HUP");
        // A broken file changes nothing.
        fs::write(dir.join("reload.json"), "{\"tags\": 7}").unwrap();
        hangup();
        agent.wait_for_line("==> Failed to reload configs");
        assert!(agent.log().contains("==> Caught signal: hangup"));
        assert!(agent.log().contains("==> Reloading configuration..."));

        write("warn", json!({"role": "b", "new": "1"}), "after", true);
        hangup();
        eventually("peers see the new tags", || {
            tags_of(&watch, "reload") == json!({"role": "b", "new": "1"})
        });
        event();
        eventually("the second handler ran", || said("after"));
        let quiet_from = agent.log().len();
        event();
        let runs = || fs::read_to_string(&out).unwrap_or_default().matches("after").count();
        eventually("the second handler ran again", || runs() == 2);
        let since = agent.log().split_off(quiet_from);
        assert!(!since.contains("[INFO]") && !since.contains("[DEBUG]"), "{since}");

        write("nope", json!({"role": "b", "new": "1"}), "after", true);
        hangup();
        agent.wait_for_line("==> Invalid log level: NOPE. Valid log levels are: [");
        agent.signal("TERM");
        agent.ends_with(0, "Gracefully shutting down agent...");
        eventually("it left", || watch.sees("reload", "left"));
    });
}

/// Go's agent logs this line, too, if it has a snapshot to close, and seldom without one.
#[test]
fn an_ordinary_stop_reports_the_end_of_serf_only_with_a_snapshot() {
    let (dir, net) = (tempfile::tempdir().unwrap(), Net::new());
    let snapshot = dir.path().join("snapshot");
    let with = ["-snapshot", snapshot.to_str().unwrap()];
    for (args, reported) in [(&[][..], false), (&with[..], true)] {
        let mut agent = Peer::start(Kind::Ours, "a", &format!("{net}1"), args);
        agent.signal("TERM");
        agent.wait();
        let log = agent.log();
        assert!(log.contains("shutdown complete"), "{log}");
        assert_eq!(log.contains("Serf shutdown detected, quitting"), reported, "{log}");
    }
}

#[test]
fn a_reload_keeps_tags_that_were_set_at_run_time() {
    let (dir, net) = (tempfile::tempdir().unwrap(), Net::new());
    let ip = format!("{net}1");
    let config = json!({"tags": {"role": "a", "old": "1"}});
    let agent = Peer::configured(Kind::Ours, "keep", &ip, &config, dir.path());
    let set = |key: &str, value: &str| {
        let tags = [(key.to_owned(), value.to_owned())].into();
        agent.ask(|client| async move { client.update_tags(tags, Vec::new()).await });
    };
    set("mine", "yes");
    let mut config: Value =
        serde_json::from_str(&fs::read_to_string(dir.path().join("keep.json")).unwrap()).unwrap();
    config["tags"] = json!({"role": "a", "old": "1", "new": "2"});
    fs::write(dir.path().join("keep.json"), config.to_string()).unwrap();
    agent.signal("HUP");
    eventually("what is new in the file comes on top", || {
        tags_of(&agent, "keep") == json!({"role": "a", "old": "1", "mine": "yes", "new": "2"})
    });
    config["tags"] = json!({"role": "b"});
    fs::write(dir.path().join("keep.json"), config.to_string()).unwrap();
    agent.signal("HUP");
    eventually("only what changed in the file changes", || {
        tags_of(&agent, "keep") == json!({"role": "b", "mine": "yes"})
    });
    drop(agent);

    // Ours does not empty the tags file on a reload; Go does.
    let tags = dir.path().join("tags");
    let ip = format!("{net}2");
    let config = json!({"tags_file": tags});
    let agent = Peer::configured(Kind::Ours, "file", &ip, &config, dir.path());
    let wanted = [("kept".to_owned(), "1".to_owned())].into();
    agent.ask(|client| async move { client.update_tags(wanted, Vec::new()).await });
    // Wait for the end of one reload before the next.
    for reloads in 1..=2 {
        agent.signal("HUP");
        eventually("it reloads", || agent.log().matches("Reloading").count() == reloads);
    }
    assert_eq!(tags_of(&agent, "file"), json!({"kept": "1"}));
    assert_eq!(fs::read_to_string(&tags).unwrap(), "{\n  \"kept\": \"1\"\n}");
}

// parity: agent-life: tags_file
#[test]
fn a_tags_file_outlives_the_agent_and_excludes_configured_tags() {
    for_both(|kind, dir, net| {
        let ip = format!("{net}1");
        let tags = dir.join("tags");
        let config = json!({"tags_file": tags});
        let agent = Peer::configured(kind, "tagged", &ip, &config, dir);
        let set = [("role".to_owned(), "web".to_owned())].into();
        agent.ask(|client| async move { client.update_tags(set, Vec::new()).await });
        assert_eq!(fs::read_to_string(&tags).unwrap(), "{\n  \"role\": \"web\"\n}");
        agent.stop();
        let agent = Peer::configured(kind, "tagged", &ip, &config, dir);
        assert_eq!(tags_of(&agent, "tagged"), json!({"role": "web"}));
        assert!(agent.log().contains("agent: Restored 1 tag(s) from "));
        let tags = tags.to_str().unwrap();
        let args = ["-tags-file", tags, "-tag", "a=b"];
        let mut both = Launch::new(kind, "both", &net.ip(2)).args(&args).spawn();
        both.ends_with(1, "Tags config not allowed while using tag files");
    });
}

// parity: agent-net: start_join / -join
// parity: agent-net: retry_join, interval, max
// parity: agent-net: replay_on_join
#[test]
fn joins_at_the_start_succeed_or_end_the_agent() {
    for_both(|kind, dir, net| {
        let watch = Peer::configured(kind, "watch", &net.ip(1), &json!({}), dir);
        watch.ok(&["event", "-coalesce=false", "early", "payload"]);

        for (n, replay) in [(2, false), (3, true)] {
            let name = format!("joins-{replay}");
            let config = json!({"start_join": [watch.addr], "replay_on_join": replay});
            let agent = Peer::configured(kind, &name, &net.ip(n), &config, dir);
            let reported = format!(
                "==> Joining cluster...(replay: {replay})\n    \
                 Join completed. Synced with 1 initial agents\n"
            );
            eventually("the join is reported", || agent.log().contains(&reported));
            assert!(agent.sees("watch", "alive"));
            if replay {
                eventually("old events come", || {
                    agent.events().iter().any(|line| line.contains("early"))
                });
            } else {
                thread::sleep(Duration::from_secs(1));
                assert!(!agent.events().iter().any(|line| line.contains("early")));
            }
        }

        let nobody = format!("{net}77");
        let mut alone = Launch::new(kind, "alone", &net.ip(4)).args(&["-join", &nobody]).spawn();
        alone.ends_with(1, "==> Joining cluster...(replay: false)");
        assert!(!alone.log().contains("Log data will now stream"), "{}", alone.log());

        let args = ["-retry-join", &nobody, "-retry-interval", "1s", "-retry-max", "2"];
        let mut retry = Launch::new(kind, "retry", &net.ip(5)).args(&args).spawn();
        retry.ends_with(1, "[ERR] agent: maximum retry join attempts made, exiting");
        assert!(retry.log().contains("[WARN] agent: Join failed: "), "{}", retry.log());
        assert!(retry.log().contains(", retrying in 1s"), "{}", retry.log());

        let config = json!({"retry_join": [nobody, watch.addr], "retry_interval": "1s"});
        let agent = Peer::configured(kind, "retries", &net.ip(6), &config, dir);
        eventually("it joined in the background", || agent.sees("watch", "alive"));
        agent.wait_for_line("agent: Join completed. Synced with 1 initial agents");
    });
}

// parity: agent-net: encrypt key
// parity: agent-net: keyring_file load/persist
// parity: agent-net: encrypt+keyring conflict
#[test]
fn keys_and_keyrings_are_loaded_and_kept_in_step() {
    let other_key = "HvY8ubRZMgafUOWvrOadwOckVa1wN3QWAo46FVKbVN8=";
    for_both(|kind, dir, net| {
        let ring = dir.join("ring");
        fs::write(&ring, json!([KEY]).to_string()).unwrap();
        let config = json!({"keyring_file": ring});
        // Its peer is of the other kind, with the key in its configuration.
        let peer_config = json!({"encrypt_key": KEY});
        let peer = Peer::configured(kind.other(), "peer", &net.ip(1), &peer_config, dir);
        let agent = Peer::configured(kind, "ring", &net.ip(2), &config, dir);
        assert!(agent.log().contains("agent: Restored keyring with 1 keys from "));
        assert!(agent.log().contains("Encrypted: true"));
        agent.join(&peer, false);
        eventually("they meet", || peer.sees("ring", "alive"));
        let plain = Peer::configured(kind, "plain", &net.ip(3), &json!({}), dir);
        let refused = plain.try_ask(|client| {
            let addr = peer.addr.clone();
            async move { client.join([addr], OldEvents::Ignore).await }
        });
        assert!(refused.is_err(), "a plain node does not join: {refused:?}");
        let refused = plain.try_ask(|client| async move { client.list_keys().await });
        let Err(client::Error::Keys(failure)) = refused else { panic!("{refused:?}") };
        assert_eq!((failure.response.num_err, failure.response.messages.len()), (1, 1));
        assert_eq!(failure.summary, "1/1 nodes reported failure");
        agent.ask(|client| async move { client.install_key(other_key).await });
        agent.ask(|client| async move { client.use_key(other_key).await });
        let written = fs::read_to_string(&ring).unwrap();
        assert_eq!(written, format!("[\n  \"{other_key}\",\n  \"{KEY}\"\n]"));
        agent.stop();
        let agent = Peer::configured(kind, "ring", &net.ip(2), &config, dir);
        agent.join(&peer, false);
        eventually("it is back with the new key", || peer.sees("ring", "alive"));

        let args = ["-encrypt", KEY, "-keyring-file", ring.to_str().unwrap()];
        let mut both = Launch::new(kind, "both", &net.ip(4)).args(&args).spawn();
        both.ends_with(1, "Encryption key not allowed while using a keyring");
    });
}

// parity: agent-net: snapshot recovery
// parity: agent-net: rejoin after leave
#[test]
fn a_snapshot_brings_back_who_was_killed_and_not_who_left() {
    for_both(|kind, dir, net| {
        let peer = Peer::configured(kind, "peer", &net.ip(1), &json!({}), dir);
        let snapshot = dir.join("snapshot");
        let ip = format!("{net}2");
        let config = json!({"snapshot_path": snapshot});
        let agent = Peer::configured(kind, "snap", &ip, &config, dir);
        agent.join(&peer, false);
        eventually("the peer is in the snapshot", || {
            // Go flushes a line only when another one comes at least 500 ms later.
            agent.cli(&["event", "-coalesce=false", "tick"]);
            fs::read_to_string(&snapshot).unwrap_or_default().contains("alive: peer ")
        });
        drop(agent); // killed
        let mut agent = Peer::configured(kind, "snap", &ip, &config, dir);
        eventually("it rejoined", || agent.sees("peer", "alive"));
        assert!(agent.log().contains("serf: Re-joined to previously known node: peer: "));

        agent.signal("INT");
        assert_eq!(agent.wait().code(), Some(0));
        let agent = Peer::configured(kind, "snap", &ip, &config, dir);
        thread::sleep(Duration::from_secs(2));
        assert_eq!(agent.members().len(), 1, "it left, and stays alone");
        drop(agent);

        // The same with a peer known again, and rejoin_after_leave.
        let config = json!({"snapshot_path": snapshot, "rejoin_after_leave": true});
        let mut agent = Peer::configured(kind, "snap", &ip, &config, dir);
        agent.join(&peer, false);
        eventually("they met", || agent.sees("peer", "alive"));
        agent.signal("INT");
        assert_eq!(agent.wait().code(), Some(0));
        let agent = Peer::configured(kind, "snap", &ip, &config, dir);
        eventually("it rejoined after leaving", || agent.sees("peer", "alive"));
    });
}

/// Goal: an agent that is killed at random times while it writes its files always starts again from
/// what is on the disk. (`driver::file` and `driver::writer` test a crash at each step of a write;
/// this tests the whole program on a real file system.)
#[test]
fn an_agent_killed_while_it_writes_its_files_starts_again() {
    const OTHER: &str = "5K9OtfP7efFrNKe5WCQvXvnaXJ5cWP0SvXNxvZ3xLRM=";
    let (dir, net) = (tempfile::tempdir().expect("a directory"), Net::new());
    let dir = dir.path();
    let file = |name: &str| dir.join(name).to_str().expect("a path in UTF-8").to_owned();
    fs::write(dir.join("keys"), format!("[\"{KEY}\"]")).unwrap();
    let config = json!({
        "keyring_file": file("keys"), "tags_file": file("tags"), "snapshot_path": file("snapshot"),
        "profile": "local",
    });
    let mut rounds = 0;
    for round in 0..8_u64 {
        let agent = Peer::configured(Kind::Ours, "killed", &net.ip(1), &config, dir);
        let keys = agent.ask(|client| async move { client.list_keys().await });
        let keys = keys.keys.expect("a keyring");
        assert!(keys.contains_key(KEY) && keys.len() <= 2, "round {round}: {keys:?}");
        let tag = tags_of(&agent, "killed")["round"].as_str().map(str::to_owned);
        assert!(tag.is_none_or(|tag| tag.parse::<u64>().is_ok()), "round {round}");
        let pid = agent.pid();
        // At another point of the work each time.
        let lifetime = Duration::from_millis(40 + 67 * round);
        let killer = thread::spawn(move || {
            thread::sleep(lifetime);
            process::signal(pid, "KILL");
        });
        // Until it is dead.
        while agent
            .try_ask(|client| async move {
                client.install_key(OTHER).await?;
                let number = rounds.to_string();
                client.update_tags([("round".to_owned(), number)].into(), Vec::new()).await?;
                client.user_event(&UserEventSpec::new("x", "payload")).await?;
                client.remove_key(OTHER).await
            })
            .is_ok()
        {
            rounds += 1;
        }
        killer.join().unwrap();
    }
    assert!(rounds > 0, "no round of work was done");
}

// parity: agent-net: reconnect_interval/timeout, tombstone_timeout
#[test]
fn failed_and_left_members_are_reaped_after_their_time() {
    for_both(|kind, dir, net| {
        let config = json!({
            "reconnect_timeout": "1s", "tombstone_timeout": "1s", "reconnect_interval": "30s",
        });
        let agent = Peer::configured(kind, "reaper", &net.ip(1), &config, dir);
        let failing = Peer::configured(kind, "failing", &net.ip(2), &json!({}), dir);
        let mut leaving = Peer::configured(kind, "leaving", &net.ip(3), &json!({}), dir);
        for other in [&failing, &leaving] {
            other.join(&agent, false);
        }
        eventually("three", || agent.members().len() == 3);
        drop(failing);
        leaving.signal("INT");
        assert_eq!(leaving.wait().code(), Some(0));
        // The reaper runs every 15 s.
        eventually("both are gone", || agent.members().len() == 1);
        eventually("and handlers ran", || {
            let events = agent.events();
            let reaped = |name: &str| {
                events.iter().any(|line| line.starts_with("member-reap") && line.contains(name))
            };
            reaped("failing") && reaped("leaving")
        });
        assert!(agent.log().contains("serf: EventMemberReap: failing"));
    });
}

// parity: agent-config: Flags override files
// parity: agent-config: protocol selection
// parity: agent-config: Size limits configurable
#[test]
fn flags_profiles_protocols_and_limits_are_gos() {
    for_both(|kind, dir, net| {
        fs::write(
            dir.join("file.json"),
            json!({"node_name": "from-file", "query_size_limit": 10}).to_string(),
        )
        .unwrap();
        let file = dir.join("file.json");
        let args = ["-config-file", file.to_str().unwrap()];
        let agent = Peer::start(kind, "from-flag", &net.ip(1), &args);
        assert!(agent.log().contains("Node name: 'from-flag'"), "a flag beats a file");
        let limited = agent.cli(&["query", "load"]).out;
        assert!(limited.contains("query exceeds limit of 10 bytes"), "{limited}");
        drop(agent);
        let old = Peer::start(kind, "old", &net.ip(1), &["-protocol", "3"]);
        let detailed = old.ok(&["members", "-detailed"]);
        assert!(detailed.contains("Protocol Version: 3"), "{detailed}");

        for (n, (flags, text)) in [
            (&["-profile", "foo"][..], "Unknown profile: foo"),
            (&["-protocol", "1"], "Protocol version '1' too low. Must be in range: [2, 5]"),
            (&["-protocol", "6"], "Protocol version '6' too high. Must be in range: [2, 5]"),
            (
                &["-log-level", "loud"],
                "Invalid log level: LOUD. Valid log levels are: [TRACE DEBUG INFO WARN ERR]",
            ),
            (&["-encrypt", "short"], "Invalid encryption key: "),
        ]
        .into_iter()
        // Test machines usually have no syslog daemon.
        .chain(
            (!Path::new("/dev/log").exists())
                .then_some((&["-syslog"][..], "Syslog setup failed: Unix syslog delivery error")),
        )
        .enumerate()
        {
            let name = format!("bad-{n}");
            Launch::new(kind, &name, &net.ip(2)).args(flags).spawn().ends_with(1, text);
        }
    });
}

// parity: agent-obs: Log levels trace..err
// parity: agent-obs: Log format
#[test]
fn log_lines_have_gos_form_and_levels() {
    for_both(|kind, dir, net| {
        let peer = Peer::configured(kind, "peer", &net.ip(2), &json!({}), dir);
        for (level, shown, hidden) in
            [("debug", "[DEBUG]", "[TRACE]"), ("info", "[INFO]", "[DEBUG]"), ("err", "", "[INFO]")]
        {
            let name = format!("level-{level}");
            let args = ["-log-level", level, "-join", &peer.addr];
            let agent = Peer::start(kind, &name, &net.ip(1), &args);
            eventually("it joined", || peer.sees(&name, "alive"));
            agent.ok(&["event", "-coalesce=false", "logged"]);
            eventually("the level shows", || agent.log().contains(shown));
            thread::sleep(Duration::from_millis(300));
            let text = agent.log();
            assert!(!text.contains(hidden), "{level}: {text}");
            let after = text.split("Log data will now stream in as it occurs:\n\n").nth(1);
            for line in after.unwrap_or_default().lines() {
                assert!(has_go_form(line), "{line:?}");
            }
        }
    });
}

// parity: agent-net: name conflict resolution
#[test]
fn the_minority_of_a_name_conflict_ends_or_stays_if_configured() {
    for_both(|kind, dir, net| {
        let first = Peer::configured(kind, "twin", &net.ip(1), &json!({}), dir);
        let voters: Vec<_> = [2, 3, 4]
            .map(|n| {
                let voter = Peer::configured(kind, &format!("v{n}"), &net.ip(n), &json!({}), dir);
                voter.join(&first, false);
                voter
            })
            .into();
        eventually("four", || voters.iter().all(|voter| voter.members().len() == 4));
        for (n, stays) in [(5, true), (6, false)] {
            let files = dir.join(format!("second-{stays}"));
            fs::create_dir(&files).unwrap();
            let config = json!({"disable_name_resolution": stays});
            let mut second = Peer::configured(kind, "twin", &net.ip(n), &config, &files);
            // The join may fail because of the conflict.
            let _ = second.try_ask(|client| {
                let addr = voters[0].addr.clone();
                async move { client.join([addr], OldEvents::Ignore).await }
            });
            eventually("the conflict is logged", || {
                second.log().to_lowercase().contains("conflict")
            });
            if stays {
                thread::sleep(Duration::from_secs(3));
                assert_eq!(second.members().len(), 4, "it runs on");
            } else {
                // Ours reports to a service manager that it has failed.
                let code = i32::from(kind == Kind::Ours);
                assert_eq!(second.wait().code(), Some(code), "{}", second.log_tail());
                let log = second.log();
                assert!(log.contains("minority in name conflict resolution, quit"), "{log}");
                assert!(log.contains("agent: Serf shutdown detected, quitting"), "{log}");
            }
        }
        assert!(voters[0].sees("twin", "alive"));
        assert_eq!(first.members().len(), 4);
    });
}

#[test]
fn a_service_manager_is_notified_of_ready_reloading_stopping_and_alive() {
    let (dir, net) = (tempfile::tempdir().unwrap(), Net::new());
    let path = dir.path().join("notify");
    let server = UnixDatagram::bind(&path).unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut child = Command::new(Kind::Ours.program())
        .args(["agent", "-node", "notified", "-bind", &net.ip(1)])
        .args(["-rpc-addr", &format!("{net}1:7373")])
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "400000")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut reported = Vec::new();
    let mut until = |what: &str| {
        let mut buf = [0; 256];
        loop {
            let n = server.recv(&mut buf).expect(what);
            let text = String::from_utf8_lossy(&buf[..n]).into_owned();
            reported.push(text.clone());
            if text.starts_with(what) {
                return;
            }
        }
    };
    until("READY=1");
    until("WATCHDOG=1");
    until("WATCHDOG=1");
    process::signal(child.id(), "HUP");
    until("RELOADING=1\nMONOTONIC_USEC=");
    until("READY=1");
    process::signal(child.id(), "INT");
    until("STOPPING=1");
    assert_eq!(wait_in_time(&mut child, "agent").code(), Some(0), "{reported:?}");
}

// parity: agent-net: disable-compression
#[test]
fn gossip_is_compressed_unless_that_is_disabled() {
    for_both(|kind, _, net| {
        for (n, flags, message) in [(1, &[][..], 9), (2, &["-disable-compression"], 6)] {
            let agent = Peer::start(kind, &format!("compress-{n}"), &net.ip(n), flags);
            // An exchange of states: the answer's first byte is the type of its message.
            let mut half = Vec::new();
            PushPull::encode(false, [].into_iter(), b"", &mut half);
            let mut stream = TcpStream::connect(&agent.addr).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(&half).unwrap();
            let mut first = [0; 1];
            stream.read_exact(&mut first).unwrap();
            assert_eq!(first[0], message, "{flags:?}");
        }
    });
}

// parity: agent-obs: statsd sink
// parity: agent-obs: statsite sink
// parity: agent-obs: SIGUSR1 metrics dump
#[test]
fn metrics_reach_statsd_statsite_and_the_dump() {
    for_both(|kind, dir, net| {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.set_read_timeout(Some(PATIENCE)).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = json!({
            "statsd_addr": udp.local_addr().unwrap().to_string(),
            "statsite_addr": tcp.local_addr().unwrap().to_string(),
        });
        let agent = Peer::configured(kind, "measured", &net.ip(1), &config, dir);
        let expected = "serf-agent.agent.ipc.command:1.000000|c\n";
        let (mut text, mut buf) = (String::new(), [0; 2048]);
        while !text.contains(expected) {
            agent.members();
            let n = udp.recv(&mut buf).expect("statsd lines");
            assert!(n <= 1400);
            text.push_str(std::str::from_utf8(&buf[..n]).unwrap());
        }
        // With a sink, names of gauges contain the host's name, those of counters do not.
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        let gauge = format!("serf-agent.{}.", host.trim_end());
        let (mut stream, _) = tcp.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut text = String::new();
        while !(text.contains(expected) && text.contains(&gauge)) {
            agent.members();
            let n = stream.read(&mut buf).expect("statsite lines");
            assert!(n > 0, "it hung up");
            text.push_str(std::str::from_utf8(&buf[..n]).unwrap());
        }
        for line in text.lines().filter(|line| line.starts_with(&gauge)) {
            assert!(line.ends_with("|g"), "{line}");
        }
        // Only intervals that are over are dumped.
        let dumped = || {
            agent.signal("USR1");
            thread::sleep(Duration::from_millis(500));
            let log = agent.log();
            let wanted = "[C] 'serf-agent.agent.ipc.command': Count: ";
            log.lines().find(|line| line.contains(wanted)).map(str::to_owned)
        };
        eventually("the dump", || dumped().is_some());
        let line = dumped().unwrap();
        let (head, tail) = line.split_once(" [C] ").or(line.split_once("][C] ")).unwrap();
        assert_eq!(head.len(), "[2026-11-22 13:47:30 +0000 UTC".len(), "{line}");
        assert!(tail.contains(" Sum: ") && tail.contains(" LastUpdated: 20"), "{line}");
    });
}

/// `    2026/11/22 13:39:34 [INFO] agent: text`, as Go's logger and console write it.
fn has_go_form(line: &str) -> bool {
    let Some(rest) = line.strip_prefix("    ") else { return false };
    let pattern = "dddd/dd/dd dd:dd:dd [";
    let time_fits = rest.len() > pattern.len()
        && rest
            .chars()
            .zip(pattern.chars())
            .all(|(c, p)| if p == 'd' { c.is_ascii_digit() } else { c == p });
    let level = rest[pattern.len()..].split(']').next().unwrap_or_default();
    time_fits && ["TRACE", "DEBUG", "INFO", "WARN", "ERR"].contains(&level) && rest.contains(": ")
}
