//! Goal: the rows of the parity table about an agent's start, network, signals and log. Method:
//! each scenario runs with Go's agent and with ours, and both must do what the row asks for.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::{net::UnixDatagram, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use compat_tests::{
    agents::{Agent, loopback_net, serf_binary},
    go::go_serf_binary,
    process::{self, InTime as _, Process, wait_in_time},
};
use ruserf::wire::PushPull;
use serde_json::{Value, json};

const KEY: &str = "T9jncgl9mbLus+baTTa7q7nPSUrXwbDi2dhbtqir37s=";
/// A failure without witnesses is suspected for 24 s, on a loaded machine after a long probe.
const DEADLINE: Duration = Duration::from_secs(120);

fn kinds() -> [(&'static str, PathBuf); 2] {
    [("go", go_serf_binary()), ("ours", serf_binary().to_owned())]
}

/// Runs a scenario for both kinds at once, each in a directory and on addresses of its own.
fn for_both(scenario: impl Fn(&Path, &Path, &str) + Sync) {
    thread::scope(|scope| {
        for (_, program) in kinds() {
            let scenario = &scenario;
            scope.spawn(move || {
                let dir = tempfile::tempdir().expect("a directory");
                scenario(&program, dir.path(), &loopback_net());
            });
        }
    });
}

fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let began = Instant::now();
    while !check() {
        assert!(began.elapsed() < DEADLINE, "never: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn status_of(agent: &Agent, name: &str) -> Option<String> {
    agent.members().into_iter().find(|(member, _)| member == name).map(|(_, status)| status)
}

fn is(agent: &Agent, name: &str, status: &str) -> bool {
    status_of(agent, name).as_deref() == Some(status)
}

fn log_of(dir: &Path, name: &str) -> String {
    String::from_utf8_lossy(&fs::read(dir.join(format!("{name}.log"))).unwrap_or_default())
        .into_owned()
}

fn tags_of(agent: &Agent, name: &str) -> Value {
    let members = agent.ask(|client| async move { client.members().await });
    let member = members.into_iter().find(|member| member.name == name).expect("listed");
    json!(member.tags)
}

/// An agent that is expected to end by itself.
struct Run {
    child: Child,
    log: PathBuf,
}

impl Run {
    fn start(program: &Path, dir: &Path, name: &str, args: &[&str]) -> Self {
        let log = dir.join(format!("{name}.log"));
        let file = fs::File::create(&log).unwrap();
        let child = Command::new(program)
            .arg("agent")
            .args(["-node", name])
            .args(args)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn ends_with(&mut self, code: i32, text: &str) {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < DEADLINE, "it does not end: {}", self.text());
            thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(status.code(), Some(code), "{}", self.text());
        assert!(self.text().contains(text), "no {text:?} in {}", self.text());
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_banner_is_gos() {
    let mut banners = Vec::new();
    for (kind, program) in kinds() {
        let dir = tempfile::tempdir().unwrap();
        let net = loopback_net();
        let (ip, advertise) = (format!("{net}1"), format!("{net}2"));
        let snapshot = dir.path().join("snapshot");
        let (advertise, rpc) = (format!("{advertise}:9999"), format!("{ip}:7373"));
        let args = [
            "-bind",
            &ip,
            "-rpc-addr",
            &rpc,
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
        let run = Run::start(&program, dir.path(), "banner", &args);
        eventually("the log streams", || run.text().contains("Serf agent starting"));
        let listed = Command::new(&program).args(["members", "-rpc-addr", &rpc]).output_in_time();
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        assert!(listed.contains(&format!("  {advertise}  ")), "{kind}: {listed}");
        let log = run.text();
        let until = log.find("[INFO]").expect("a log line");
        let banner = &log[..log[..until].rfind('\n').unwrap()];
        banners.push(banner.replace(&net, "NET."));
    }
    assert_eq!(banners[0], banners[1]);
    for line in ["Encrypted: true", "Message Compression Enabled: false", "Profile: wan"] {
        assert!(banners[1].contains(line), "{}", banners[1]);
    }
    assert!(banners[1].contains("Advertise addr: 'NET.2:9999'"), "{}", banners[1]);
}

#[test]
fn addresses_are_parsed_and_a_cluster_forms_over_ipv6() {
    for (kind, program) in kinds() {
        for (bind, shown) in [("[::1]:7946", "[::1]:7946"), ("127.0.0.1:0", "127.0.0.1:")] {
            let dir = tempfile::tempdir().unwrap();
            // Both kinds bind the same port of the one IPv6 loopback address: one after the other.
            let mut run = Run::start(
                &program,
                dir.path(),
                "six",
                &["-bind", bind, "-rpc-addr", "127.0.0.1:0", "-log-level", "debug"],
            );
            eventually("it runs", || {
                let text = run.text();
                text.contains("Serf agent starting") || run.child.try_wait().unwrap().is_some()
            });
            let text = run.text();
            assert!(text.contains(&format!("Bind addr: '{shown}")), "{kind} {bind}: {text}");
            if kind == "go" && bind.starts_with('[') {
                let mut other = Run::start(
                    serf_binary(),
                    dir.path(),
                    "six-two",
                    &["-bind", "[::1]:7947", "-rpc-addr", "127.0.0.1:0", "-join", "[::1]:7946"],
                );
                eventually("ours joined Go over IPv6", || {
                    let text = other.text();
                    assert!(other.child.try_wait().unwrap().is_none(), "{text}");
                    text.contains("EventMemberJoin: six ::1")
                });
            }
        }
    }
}

#[test]
fn signals_end_an_agent_as_they_end_gos() {
    for_both(|program, dir, net| {
        let watch = Agent::start(program, dir, "watch", &format!("{net}1"), &json!({}));
        let cases = [
            ("int", json!({}), "INT", 0, "left"),
            ("int-skip", json!({"skip_leave_on_interrupt": true}), "INT", 1, "failed"),
            ("term", json!({}), "TERM", 1, "failed"),
            ("term-leave", json!({"leave_on_terminate": true}), "TERM", 0, "left"),
        ];
        for (n, (name, config, signal, code, status)) in cases.into_iter().enumerate() {
            let ip = format!("{net}{}", n + 2);
            let agent = Agent::start(program, dir, name, &ip, &config);
            agent.join(&watch, false);
            eventually("it is alive", || is(&watch, name, "alive"));
            agent.signal(signal);
            assert_eq!(agent.wait().code(), Some(code), "{name}\n{}", log_of(dir, name));
            let caught = if signal == "INT" { "interrupt" } else { "terminated" };
            let log = log_of(dir, name);
            assert!(log.contains(&format!("==> Caught signal: {caught}")), "{log}");
            let told = log.contains("==> Gracefully shutting down agent...");
            assert_eq!(told, code == 0, "{log}");
            let what = format!("{} has {name} as {status}", program.display());
            eventually(&what, || is(&watch, name, status));
        }
        // A second signal ends the patience of the first.
        let agent = Agent::start(program, dir, "twice", &format!("{net}9"), &json!({}));
        agent.join(&watch, false);
        eventually("it is alive", || is(&watch, "twice", "alive"));
        agent.signal("INT");
        eventually("it is leaving", || log_of(dir, "twice").contains("Gracefully shutting down"));
        agent.signal("INT");
        assert_eq!(agent.wait().code(), Some(1));
    });
}

/// Goal: a pager that ends takes no node down; Go's dies of SIGPIPE.
#[test]
fn a_closed_standard_output_ends_gos_agent_and_not_ours() {
    for_both(|program, _, net| {
        let (ip, rpc) = (format!("{net}1"), format!("{net}1:7373"));
        let mut command = Command::new(program);
        command.args(["agent", "-node", "piped", "-bind", &ip, "-rpc-addr", &rpc]);
        command.args(["-log-level", "debug"]);
        // It closes within the banner.
        let mut agent = Process::start_reading(command, 100);
        if program != serf_binary() {
            assert_eq!(agent.wait_status().signal(), Some(13));
            return;
        }
        let serf = |args: &[&str]| {
            Command::new(program).args(args).env("SERF_RPC_ADDR", &rpc).output_in_time()
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

/// Each address that does not answer takes a join 10 s.
#[test]
fn a_signal_ends_an_agent_that_still_joins() {
    for_both(|program, dir, net| {
        let silent: Vec<_> =
            (10..30).map(|n| TcpListener::bind((format!("{net}{n}"), 7946)).unwrap()).collect();
        let joins = silent.iter().map(|listener| listener.local_addr().unwrap().to_string());
        let joins: Vec<_> = joins.flat_map(|addr| ["-join".to_owned(), addr]).collect();
        for (n, signal, number) in [(1, "TERM", 15), (2, "INT", 2)] {
            let (ip, rpc) = (format!("{net}{n}"), format!("{net}{n}:7373"));
            let mut args = vec!["-bind", &ip, "-rpc-addr", &rpc];
            args.extend(joins.iter().map(String::as_str));
            let mut run = Run::start(program, dir, signal, &args);
            eventually("it joins", || run.text().contains("==> Joining cluster...(replay: false)"));
            process::signal(run.child.id(), signal);
            // Half of what the join takes.
            let began = Instant::now();
            let status = loop {
                if let Some(status) = run.child.try_wait().unwrap() {
                    break status;
                }
                assert!(began.elapsed() < Duration::from_secs(100), "it goes on: {}", run.text());
                thread::sleep(Duration::from_millis(20));
            };
            // Go's agent does not listen to signals yet.
            let log = run.text();
            match status.signal() {
                Some(died) => assert_eq!((died, program == serf_binary()), (number, false)),
                None => {
                    assert_eq!(status.code(), Some(1), "{log}");
                    assert!(log.contains("==> Caught signal: "), "{log}");
                    assert!(!log.contains("Gracefully"), "{log}");
                }
            }
        }
    });
}

/// With the timing of a WAN, a leave that tells a peer takes some 5 s.
#[test]
fn a_leave_for_a_signal_has_three_seconds() {
    for_both(|program, dir, net| {
        let config = json!({"profile": "wan"});
        let peer = Agent::start(program, dir, "peer", &format!("{net}1"), &config);
        let agent = Agent::start(program, dir, "slow", &format!("{net}2"), &config);
        agent.join(&peer, false);
        eventually("it is alive", || is(&peer, "slow", "alive"));
        // The announcement of the join has gone out.
        thread::sleep(Duration::from_secs(3));
        let signalled = Instant::now();
        agent.signal("INT");
        assert_eq!(agent.wait().code(), Some(1), "{}", log_of(dir, "slow"));
        let took = signalled.elapsed();
        assert!(took >= Duration::from_secs(3), "{took:?}");
        let log = log_of(dir, "slow");
        assert!(log.contains("==> Gracefully shutting down agent..."), "{log}");
    });
}

/// With the timing of a WAN, a message is told to the only peer four times in some 2 s.
#[test]
fn a_broadcast_is_waited_for_up_to_the_broadcast_timeout() {
    for_both(|program, dir, net| {
        let hasty = json!({"profile": "wan", "broadcast_timeout": "50ms"});
        let hasty = Agent::start(program, dir, "hasty", &format!("{net}1"), &hasty);
        let calm = json!({"profile": "wan"});
        let calm = Agent::start(program, dir, "calm", &format!("{net}2"), &calm);
        let log = log_of(dir, "hasty");
        assert!(log.contains("Warning: 'BroadcastTimeout' is too low. Setting to 1s"), "{log}");
        calm.join(&hasty, false);
        eventually("they met", || is(&hasty, "calm", "alive") && is(&calm, "hasty", "alive"));
        let serf = |ip: u8, args: &[&str]| {
            let rpc = format!("{net}{ip}:7373");
            let said = Command::new(program).args(args).env("SERF_RPC_ADDR", rpc).output_in_time();
            (String::from_utf8_lossy(&said.stdout).into_owned(), said.status.code())
        };
        // Pings and acks may take a message along and make it quick once.
        let late = "Error force leaving: timed out broadcasting node removal\n";
        let told = (0..5).any(|_| serf(1, &["force-leave", "nobody"]) == (late.into(), Some(1)));
        assert!(told, "one of five takes longer than the timeout");
        let late = "Error setting tags: timeout waiting for update broadcast\n";
        let set = |ip, value: i32| serf(ip, &["tags", "-set", &format!("a={value}")]);
        let told = (1..6).find(|value| set(1, *value) == (late.into(), Some(1)));
        let told = told.expect("one of five takes longer than the timeout");
        let tag = json!(told.to_string());
        eventually("the tags are told anyway", || tags_of(&calm, "hasty")["a"] == tag);
        assert_eq!(set(2, 0).1, Some(0));
    });
}

#[test]
fn a_reload_changes_level_handlers_and_tags() {
    for_both(|program, dir, net| {
        let watch = Agent::start(program, dir, "watch", &format!("{net}1"), &json!({}));
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
        let ip = format!("{net}2");
        let rpc = format!("{ip}:7373");
        let file = dir.join("reload.json");
        let join = watch.addr();
        let mut run = Run::start(
            program,
            dir,
            "reload",
            &[
                "-bind",
                &ip,
                "-rpc-addr",
                &rpc,
                "-config-file",
                file.to_str().unwrap(),
                "-join",
                &join,
            ],
        );
        eventually("it joined", || is(&watch, "reload", "alive"));
        let event = || {
            let args = ["event", "-coalesce=false", "go"];
            let sent = Command::new(program).args(args).env("SERF_RPC_ADDR", &rpc).output_in_time();
            assert!(sent.status.success(), "{sent:?}");
        };
        let said = |word: &str| fs::read_to_string(&out).unwrap_or_default().contains(word);
        event();
        eventually("the first handler ran", || said("before"));
        eventually("the log is at debug", || run.text().contains("[DEBUG]"));

        let hangup = || process::signal(run.child.id(), "HUP");
        // A broken file changes nothing.
        fs::write(dir.join("reload.json"), "{\"tags\": 7}").unwrap();
        hangup();
        eventually("the broken file is told", || {
            run.text().contains("==> Failed to reload configs")
        });
        assert!(run.text().contains("==> Caught signal: hangup"));
        assert!(run.text().contains("==> Reloading configuration..."));

        write("warn", json!({"role": "b", "new": "1"}), "after", true);
        hangup();
        eventually("peers see the new tags", || {
            tags_of(&watch, "reload") == json!({"role": "b", "new": "1"})
        });
        event();
        eventually("the second handler ran", || said("after"));
        let quiet_from = run.text().len();
        event();
        let runs = || fs::read_to_string(&out).unwrap_or_default().matches("after").count();
        eventually("the second handler ran again", || runs() == 2);
        let since = run.text().split_off(quiet_from);
        assert!(!since.contains("[INFO]") && !since.contains("[DEBUG]"), "{since}");

        write("nope", json!({"role": "b", "new": "1"}), "after", true);
        hangup();
        eventually("a wrong level is told", || {
            run.text().contains("==> Invalid log level: NOPE. Valid log levels are: [")
        });
        process::signal(run.child.id(), "TERM");
        run.ends_with(0, "Gracefully shutting down agent...");
        eventually("it left", || is(&watch, "reload", "left"));
    });
}

#[test]
fn a_reload_keeps_tags_that_were_set_at_run_time() {
    let (dir, net) = (tempfile::tempdir().unwrap(), loopback_net());
    let ip = format!("{net}1");
    let config = json!({"tags": {"role": "a", "old": "1"}});
    let agent = Agent::start(serf_binary(), dir.path(), "keep", &ip, &config);
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

    // A tags file is not emptied by a reload, as Go's is.
    let tags = dir.path().join("tags");
    let ip = format!("{net}2");
    let config = json!({"tags_file": tags});
    let agent = Agent::start(serf_binary(), dir.path(), "file", &ip, &config);
    let wanted = [("kept".to_owned(), "1".to_owned())].into();
    agent.ask(|client| async move { client.update_tags(wanted, Vec::new()).await });
    // One reload is over when the next one begins.
    for reloads in 1..=2 {
        agent.signal("HUP");
        eventually("it reloads", || {
            log_of(dir.path(), "file").matches("Reloading").count() == reloads
        });
    }
    assert_eq!(tags_of(&agent, "file"), json!({"kept": "1"}));
    assert_eq!(fs::read_to_string(&tags).unwrap(), "{\n  \"kept\": \"1\"\n}");
}

#[test]
fn a_tags_file_outlives_the_agent_and_excludes_configured_tags() {
    for_both(|program, dir, net| {
        let ip = format!("{net}1");
        let tags = dir.join("tags");
        let config = json!({"tags_file": tags});
        let agent = Agent::start(program, dir, "tagged", &ip, &config);
        let set = [("role".to_owned(), "web".to_owned())].into();
        agent.ask(|client| async move { client.update_tags(set, Vec::new()).await });
        assert_eq!(fs::read_to_string(&tags).unwrap(), "{\n  \"role\": \"web\"\n}");
        agent.stop();
        let agent = Agent::start(program, dir, "tagged", &ip, &config);
        assert_eq!(tags_of(&agent, "tagged"), json!({"role": "web"}));
        assert!(log_of(dir, "tagged").contains("agent: Restored 1 tag(s) from "));
        let tags = tags.to_str().unwrap();
        let ip = format!("{net}2");
        let args = ["-bind", &ip, "-tags-file", tags, "-tag", "a=b"];
        let mut run = Run::start(program, dir, "both", &args);
        run.ends_with(1, "Tags config not allowed while using tag files");
    });
}

#[test]
fn joins_at_the_start_succeed_or_end_the_agent() {
    for_both(|program, dir, net| {
        let watch = Agent::start(program, dir, "watch", &format!("{net}1"), &json!({}));
        let args = ["event", "-coalesce=false", "early", "payload"];
        let rpc = format!("{net}1:7373");
        let sent = Command::new(program).args(args).env("SERF_RPC_ADDR", rpc).output_in_time();
        assert!(sent.status.success());

        for (n, replay) in [(2, false), (3, true)] {
            let name = format!("joins-{replay}");
            let config = json!({"start_join": [watch.addr()], "replay_on_join": replay});
            let agent = Agent::start(program, dir, &name, &format!("{net}{n}"), &config);
            let told = format!(
                "==> Joining cluster...(replay: {replay})\n    \
                 Join completed. Synced with 1 initial agents\n"
            );
            eventually("the join is told", || log_of(dir, &name).contains(&told));
            assert!(is(&agent, "watch", "alive"));
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
        let (ip, rpc) = (format!("{net}4"), format!("{net}4:7373"));
        let args = ["-bind", &ip, "-rpc-addr", &rpc, "-join", &nobody];
        let mut run = Run::start(program, dir, "alone", &args);
        run.ends_with(1, "==> Joining cluster...(replay: false)");
        assert!(!run.text().contains("Log data will now stream"), "{}", run.text());

        let (ip, rpc) = (format!("{net}5"), format!("{net}5:7373"));
        let args = [
            "-bind",
            &ip,
            "-rpc-addr",
            &rpc,
            "-retry-join",
            &nobody,
            "-retry-interval",
            "1s",
            "-retry-max",
            "2",
        ];
        let mut run = Run::start(program, dir, "retry", &args);
        run.ends_with(1, "[ERR] agent: maximum retry join attempts made, exiting");
        assert!(run.text().contains("[WARN] agent: Join failed: "), "{}", run.text());
        assert!(run.text().contains(", retrying in 1s"), "{}", run.text());

        let config = json!({"retry_join": [nobody, watch.addr()], "retry_interval": "1s"});
        let agent = Agent::start(program, dir, "retries", &format!("{net}6"), &config);
        eventually("it joined in the background", || is(&agent, "watch", "alive"));
        let told = "agent: Join completed. Synced with 1 initial agents";
        eventually("and told so", || log_of(dir, "retries").contains(told));
    });
}

#[test]
fn keys_and_keyrings_are_loaded_and_kept_in_step() {
    let other_key = "HvY8ubRZMgafUOWvrOadwOckVa1wN3QWAo46FVKbVN8=";
    for_both(|program, dir, net| {
        let ring = dir.join("ring");
        fs::write(&ring, json!([KEY]).to_string()).unwrap();
        let config = json!({"keyring_file": ring});
        // Its peer is of the other kind, with the key in its configuration.
        let other = kinds().into_iter().find(|(_, other)| other != program).unwrap().1;
        let peer_config = json!({"encrypt_key": KEY});
        let peer = Agent::start(&other, dir, "peer", &format!("{net}1"), &peer_config);
        let agent = Agent::start(program, dir, "ring", &format!("{net}2"), &config);
        assert!(log_of(dir, "ring").contains("agent: Restored keyring with 1 keys from "));
        assert!(log_of(dir, "ring").contains("Encrypted: true"));
        agent.join(&peer, false);
        eventually("they meet", || is(&peer, "ring", "alive"));
        let plain = Agent::start(program, dir, "plain", &format!("{net}3"), &json!({}));
        let refused = plain.try_ask(|client| {
            let addr = peer.addr();
            async move { client.join(vec![addr], false).await }
        });
        assert!(refused.is_err(), "a plain node does not join: {refused:?}");
        agent.ask(|client| async move { client.install_key(other_key).await });
        agent.ask(|client| async move { client.use_key(other_key).await });
        let written = fs::read_to_string(&ring).unwrap();
        assert_eq!(written, format!("[\n  \"{other_key}\",\n  \"{KEY}\"\n]"));
        agent.stop();
        let agent = Agent::start(program, dir, "ring", &format!("{net}2"), &config);
        agent.join(&peer, false);
        eventually("it is back with the new key", || is(&peer, "ring", "alive"));

        let (ip, ring) = (format!("{net}4"), ring.to_str().unwrap().to_owned());
        let args = ["-bind", &ip, "-encrypt", KEY, "-keyring-file", &ring];
        let mut run = Run::start(program, dir, "both", &args);
        run.ends_with(1, "Encryption key not allowed while using a keyring");
    });
}

#[test]
fn a_snapshot_brings_back_who_was_killed_and_not_who_left() {
    for_both(|program, dir, net| {
        let peer = Agent::start(program, dir, "peer", &format!("{net}1"), &json!({}));
        let snapshot = dir.join("snapshot");
        let ip = format!("{net}2");
        let config = json!({"snapshot_path": snapshot});
        let agent = Agent::start(program, dir, "snap", &ip, &config);
        agent.join(&peer, false);
        eventually("the peer is in the snapshot", || {
            // Go writes a line only with one that comes at least 500 ms later.
            let args = ["event", "-coalesce=false", "tick"];
            let rpc = format!("{ip}:7373");
            let _ = Command::new(program).args(args).env("SERF_RPC_ADDR", rpc).output_in_time();
            fs::read_to_string(&snapshot).unwrap_or_default().contains("alive: peer ")
        });
        drop(agent); // killed
        let agent = Agent::start(program, dir, "snap", &ip, &config);
        eventually("it rejoined", || is(&agent, "peer", "alive"));
        assert!(log_of(dir, "snap").contains("serf: Re-joined to previously known node: peer: "));

        agent.signal("INT");
        assert_eq!(agent.wait().code(), Some(0));
        let agent = Agent::start(program, dir, "snap", &ip, &config);
        thread::sleep(Duration::from_secs(2));
        assert_eq!(agent.members().len(), 1, "it left, and stays alone");
        drop(agent);

        // The same with a peer known again, and rejoin_after_leave.
        let config = json!({"snapshot_path": snapshot, "rejoin_after_leave": true});
        let agent = Agent::start(program, dir, "snap", &ip, &config);
        agent.join(&peer, false);
        eventually("they met", || is(&agent, "peer", "alive"));
        agent.signal("INT");
        assert_eq!(agent.wait().code(), Some(0));
        let agent = Agent::start(program, dir, "snap", &ip, &config);
        eventually("it rejoined after leaving", || is(&agent, "peer", "alive"));
    });
}

/// Killed at times that the clock draws while it writes all of its files, an agent of ours starts
/// again from what is there, every time. (Every step of a write is tried in `driver::file` and
/// `driver::writer`; here the kernel and the whole program are in play.)
#[test]
fn an_agent_killed_while_it_writes_its_files_starts_again() {
    const OTHER: &str = "5K9OtfP7efFrNKe5WCQvXvnaXJ5cWP0SvXNxvZ3xLRM=";
    let (dir, net) = (tempfile::tempdir().expect("a directory"), loopback_net());
    let dir = dir.path();
    let file = |name: &str| dir.join(name).to_str().expect("a path in UTF-8").to_owned();
    fs::write(dir.join("keys"), format!("[\"{KEY}\"]")).unwrap();
    let config = json!({
        "keyring_file": file("keys"), "tags_file": file("tags"), "snapshot_path": file("snapshot"),
        "profile": "local",
    });
    let mut rounds = 0;
    for round in 0..8_u64 {
        let agent = Agent::start(serf_binary(), dir, "killed", &format!("{net}1"), &config);
        let keys = agent.ask(|client| async move { client.list_keys().await }).response;
        let keys = keys.keys.expect("a keyring");
        assert!(keys.contains_key(KEY) && keys.len() <= 2, "round {round}: {keys:?}");
        let tag = tags_of(&agent, "killed")["round"].as_str().map(str::to_owned);
        assert!(tag.is_none_or(|tag| tag.parse::<u64>().is_ok()), "round {round}");
        let pid = agent.pid();
        // Not at the same point of the work each time, whatever the machine's speed.
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
                client.user_event("x", b"payload", false).await?;
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

#[test]
fn failed_and_left_members_are_reaped_after_their_time() {
    for_both(|program, dir, net| {
        let config = json!({
            "reconnect_timeout": "1s", "tombstone_timeout": "1s", "reconnect_interval": "30s",
        });
        let agent = Agent::start(program, dir, "reaper", &format!("{net}1"), &config);
        let failing = Agent::start(program, dir, "failing", &format!("{net}2"), &json!({}));
        let leaving = Agent::start(program, dir, "leaving", &format!("{net}3"), &json!({}));
        for other in [&failing, &leaving] {
            other.join(&agent, false);
        }
        eventually("three", || agent.members().len() == 3);
        drop(failing);
        leaving.signal("INT");
        assert_eq!(leaving.wait().code(), Some(0));
        // The reaper runs every 15 s.
        eventually("both are gone", || agent.members().len() == 1);
        eventually("and handlers were told", || {
            let events = agent.events();
            let reaped = |name: &str| {
                events.iter().any(|line| line.starts_with("member-reap") && line.contains(name))
            };
            reaped("failing") && reaped("leaving")
        });
        assert!(log_of(dir, "reaper").contains("serf: EventMemberReap: failing"));
    });
}

#[test]
fn flags_profiles_protocols_and_limits_are_gos() {
    for_both(|program, dir, net| {
        let ip = format!("{net}1");
        fs::write(
            dir.join("file.json"),
            json!({"node_name": "from-file", "query_size_limit": 10}).to_string(),
        )
        .unwrap();
        let file = dir.join("file.json");
        let rpc = format!("{ip}:7373");
        let args = ["-bind", &ip, "-rpc-addr", &rpc, "-config-file", file.to_str().unwrap()];
        let run = Run::start(program, dir, "from-flag", &args);
        eventually("it runs", || run.text().contains("Serf agent starting"));
        assert!(run.text().contains("Node name: 'from-flag'"), "a flag beats a file");
        let ask = |args: &[&str]| {
            let output =
                Command::new(program).args(args).env("SERF_RPC_ADDR", &rpc).output_in_time();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let limited = ask(&["query", "load"]);
        assert!(limited.contains("query exceeds limit of 10 bytes"), "{limited}");
        drop(run);
        let old = ["-bind", &ip, "-rpc-addr", &rpc, "-protocol", "3"];
        let run = Run::start(program, dir, "old", &old);
        eventually("it runs", || run.text().contains("Serf agent starting"));
        let detailed = ask(&["members", "-detailed"]);
        assert!(detailed.contains("Protocol Version: 3"), "{detailed}");

        let other = format!("{net}2");
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
        // Nobody keeps a syslog where tests run, as a rule.
        .chain(
            (!Path::new("/dev/log").exists())
                .then_some((&["-syslog"][..], "Syslog setup failed: Unix syslog delivery error")),
        )
        .enumerate()
        {
            let mut args = vec!["-bind", other.as_str(), "-rpc-addr", "127.0.0.1:0"];
            args.extend(flags);
            let mut run = Run::start(program, dir, &format!("bad-{n}"), &args);
            run.ends_with(1, text);
        }
    });
}

#[test]
fn log_lines_have_gos_form_and_levels() {
    for_both(|program, dir, net| {
        let (ip, rpc) = (format!("{net}1"), format!("{net}1:7373"));
        let peer = Agent::start(program, dir, "peer", &format!("{net}2"), &json!({}));
        for (level, shown, hidden) in
            [("debug", "[DEBUG]", "[TRACE]"), ("info", "[INFO]", "[DEBUG]"), ("err", "", "[INFO]")]
        {
            let name = format!("level-{level}");
            let join = peer.addr();
            let args = ["-bind", &ip, "-rpc-addr", &rpc, "-log-level", level, "-join", &join];
            let run = Run::start(program, dir, &name, &args);
            eventually("it joined", || is(&peer, &name, "alive"));
            let args = ["event", "-coalesce=false", "logged"];
            let sent = Command::new(program).args(args).env("SERF_RPC_ADDR", &rpc).output_in_time();
            assert!(sent.status.success());
            eventually("the level shows", || run.text().contains(shown));
            thread::sleep(Duration::from_millis(300));
            let text = run.text();
            assert!(!text.contains(hidden), "{level}: {text}");
            let after = text.split("Log data will now stream in as it occurs:\n\n").nth(1);
            for line in after.unwrap_or_default().lines() {
                assert!(has_go_form(line), "{line:?}");
            }
        }
    });
}

#[test]
fn the_minority_of_a_name_conflict_ends_and_can_be_told_to_stay() {
    for_both(|program, dir, net| {
        let first = Agent::start(program, dir, "twin", &format!("{net}1"), &json!({}));
        let voters: Vec<_> = [2, 3, 4]
            .map(|n| {
                let voter =
                    Agent::start(program, dir, &format!("v{n}"), &format!("{net}{n}"), &json!({}));
                voter.join(&first, false);
                voter
            })
            .into();
        eventually("four", || voters.iter().all(|voter| voter.members().len() == 4));
        for (n, stays) in [(5, true), (6, false)] {
            let files = dir.join(format!("second-{stays}"));
            fs::create_dir(&files).unwrap();
            let config = json!({"disable_name_resolution": stays});
            let second = Agent::start(program, &files, "twin", &format!("{net}{n}"), &config);
            // A join may be refused for the conflict that it makes.
            let _ = second.try_ask(|client| {
                let addr = voters[0].addr();
                async move { client.join(vec![addr], false).await }
            });
            eventually("the conflict is told", || {
                log_of(&files, "twin").to_lowercase().contains("conflict")
            });
            if stays {
                thread::sleep(Duration::from_secs(3));
                assert_eq!(second.members().len(), 4, "it runs on");
            } else {
                // Ours tells a service manager that it has failed.
                let code = i32::from(program == serf_binary());
                assert_eq!(second.wait().code(), Some(code), "{}", log_of(&files, "twin"));
                let log = log_of(&files, "twin");
                assert!(log.contains("minority in name conflict resolution, quit"), "{log}");
                assert!(log.contains("agent: Serf shutdown detected, quitting"), "{log}");
            }
        }
        assert!(is(&voters[0], "twin", "alive"));
        assert_eq!(first.members().len(), 4);
    });
}

#[test]
fn a_service_manager_is_told_ready_reloading_stopping_and_alive() {
    let (dir, net) = (tempfile::tempdir().unwrap(), loopback_net());
    let path = dir.path().join("notify");
    let server = UnixDatagram::bind(&path).unwrap();
    server.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut child = Command::new(serf_binary())
        .args(["agent", "-node", "told", "-bind", &format!("{net}1")])
        .args(["-rpc-addr", &format!("{net}1:7373")])
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "400000")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut told = Vec::new();
    let mut until = |what: &str| {
        let mut buf = [0; 256];
        loop {
            let n = server.recv(&mut buf).expect(what);
            let text = String::from_utf8_lossy(&buf[..n]).into_owned();
            told.push(text.clone());
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
    assert_eq!(wait_in_time(&mut child, "agent").code(), Some(0), "{told:?}");
}

#[test]
fn gossip_is_compressed_unless_that_is_disabled() {
    for_both(|program, dir, net| {
        for (n, (flags, kind)) in
            [(&[][..], 9), (&["-disable-compression"], 6)].into_iter().enumerate()
        {
            let (bind, rpc) = (format!("{net}{}:7946", n + 1), format!("{net}{}:7373", n + 1));
            let mut args = vec!["-bind", bind.as_str(), "-rpc-addr", rpc.as_str()];
            args.extend(flags);
            let run = Run::start(program, dir, &format!("compress-{n}"), &args);
            eventually("it runs", || run.text().contains("Serf agent starting"));
            // An exchange of states: the answer's first byte is the type of its message.
            let mut half = Vec::new();
            PushPull::encode(false, [].into_iter(), b"", &mut half);
            let mut stream = TcpStream::connect(&bind).unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            stream.write_all(&half).unwrap();
            let mut first = [0; 1];
            stream.read_exact(&mut first).unwrap();
            assert_eq!(first[0], kind, "{flags:?}");
        }
    });
}

#[test]
fn metrics_reach_statsd_statsite_and_the_dump() {
    for_both(|program, dir, net| {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.set_read_timeout(Some(DEADLINE)).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = json!({
            "statsd_addr": udp.local_addr().unwrap().to_string(),
            "statsite_addr": tcp.local_addr().unwrap().to_string(),
        });
        let agent = Agent::start(program, dir, "measured", &format!("{net}1"), &config);
        let expected = "serf-agent.agent.ipc.command:1.000000|c\n";
        let (mut text, mut buf) = (String::new(), [0; 2048]);
        while !text.contains(expected) {
            agent.members();
            let n = udp.recv(&mut buf).expect("statsd lines");
            assert!(n <= 1400);
            text.push_str(std::str::from_utf8(&buf[..n]).unwrap());
        }
        // Gauges carry the host's name once anything is sent away, counters do not.
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        let gauge = format!("serf-agent.{}.", host.trim_end());
        let (mut stream, _) = tcp.accept().unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
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
            let log = log_of(dir, "measured");
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
