//! Goal: `serf keys rotate` gives a cluster of both programs a new key wherever it is interrupted,
//! and removes the old one never before all have the new one. Method: it talks to an agent through
//! a proxy that knows each of its commands and kills it before or after one of them.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use compat_tests::{
    alone::one_at_a_time,
    net::Net,
    peer::Peer,
    process::{Kind, Process, Said, serf, signal},
    wait::{eventually, poll},
};
use serde_json::Value;

const OLD: &str = "T9jncgl9mbLus+baTTa7q7nPSUrXwbDi2dhbtqir37s=";
const NEW: &str = "HvY8ubRZMgafUOWvrOadwOckVa1wN3QWAo46FVKbVN8=";

/// Six agents, three of each kind, with a keyring file each.
struct Cluster {
    dir: tempfile::TempDir,
    agents: Vec<Peer>,
}

impl Cluster {
    fn start() -> Self {
        let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
        let mut agents: Vec<Peer> = Vec::new();
        for (n, name) in NAMES.into_iter().enumerate() {
            let kind = if name.starts_with('r') { Kind::Ours } else { Kind::Go };
            let file = keyring_file(dir.path(), name);
            std::fs::write(&file, format!("[\"{OLD}\"]")).unwrap();
            let mut args = vec!["-keyring-file", &file];
            if let Some(first) = agents.first() {
                args.extend(["-join", &first.addr]);
            }
            let ip = net.ip(u8::try_from(n).unwrap() + 1);
            agents.push(Peer::start_in(kind, name, &ip, &args, dir.path()));
        }
        agents.iter().for_each(|agent| agent.wait_for_members(NAMES.len()));
        Self { dir, agents }
    }

    /// The keys in each keyring file; the first one encrypts.
    fn rings(&self) -> Vec<Vec<String>> {
        NAMES.iter().map(|name| ring(self.dir.path(), name)).collect()
    }

    fn all_have(&self, key: &str) -> bool {
        self.rings().iter().all(|ring| ring.iter().any(|known| known == key))
    }

    /// `serf keys rotate` through an agent.
    fn rotate(&self, agent: &Peer, flags: &[&str]) -> Said {
        let state = self.state();
        let args = [&["keys", "rotate", "-state", &state][..], flags].concat();
        serf(Kind::Ours, &agent.rpc, &args)
    }

    fn state(&self) -> String {
        self.dir.path().join("rotation.json").to_string_lossy().into_owned()
    }
}

fn keyring_file(dir: &Path, name: &str) -> String {
    dir.join(format!("{name}.keys")).to_string_lossy().into_owned()
}

fn ring(dir: &Path, name: &str) -> Vec<String> {
    let text = poll(compat_tests::wait::PATIENCE, || {
        // Go's agent rewrites the file in place.
        serde_json::from_slice(&std::fs::read(keyring_file(dir, name)).unwrap()).ok()
    });
    text.expect("a keyring file")
}

/// When the rotation is killed: at the nth command of a name, before it reaches the agent or after
/// the agent has answered.
#[derive(Clone, Copy, Debug)]
struct Kill {
    command: &'static str,
    nth: usize,
    before: bool,
}

#[test]
fn a_rotation_of_a_mixed_cluster_survives_a_kill_at_every_step() {
    let _alone = one_at_a_time();
    let cluster = Cluster::start();
    // Through an agent of ours, and back through one of Go's.
    for (through, old, new) in [(0, OLD, NEW), (1, NEW, OLD)] {
        let agent = &cluster.agents[through];
        for (command, nth, before) in KILLS {
            let kill = Kill { command, nth, before };
            let had_old = cluster.all_have(old);
            killed_at(&cluster, agent, kill, new);
            if command != "remove-key" && had_old {
                assert!(cluster.all_have(old), "{kill:?}: {:?}", cluster.rings());
            }
        }
        let said = cluster.rotate(agent, &["-key", new, "-wait", "60s"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        for name in NAMES {
            let row = said.out.lines().find(|line| line.starts_with(name)).expect("a row");
            let cells: Vec<_> = row.split_whitespace().collect();
            assert_eq!(cells, [name, "alive", "ok", "ok", "ok"], "{}", said.out);
        }
        eventually("only the new key", || cluster.rings().iter().all(|ring| ring == &[new]));
        let state = std::fs::read_to_string(cluster.state()).unwrap();
        assert!(state.contains("\"done\"") && !state.contains(new) && !state.contains(old));
    }
    // Nobody was lost, and gossip arrives.
    cluster.agents.iter().for_each(|agent| agent.wait_for_members(NAMES.len()));
    cluster.agents[1].ok(&["event", "after", ""]);
    // A query is gossiped in few copies, and one may miss a member.
    eventually("all members answer", || {
        serf(Kind::Ours, &cluster.agents[0].rpc, &["reachability"]).code == Some(0)
    });
}

#[test]
fn a_rotation_waits_for_absent_members_and_changes_nothing_in_a_dry_run() {
    let _alone = one_at_a_time();
    let mut cluster = Cluster::start();
    let without = ["-without", "no-such", "-without", NAMES[1]];
    let dry = ["-dry-run", "-key", NEW];
    let dry = cluster.rotate(&cluster.agents[0], &[&dry[..], &without].concat());
    assert_eq!(dry.code, Some(0), "{dry:?}");
    let unknown = "==> No live or failed member has the name no-such (-without).\n";
    assert!(dry.out.starts_with(unknown) && dry.out.matches("-without").count() == 1, "{dry:?}");
    assert!(dry.out.contains("install a new key on 6 members, use it, then remove 1 key"));
    assert!(!Path::new(&cluster.state()).exists() && cluster.rings().concat() == [OLD; 6]);
    let gone = NAMES.len() - 1;
    cluster.agents[gone].signal("KILL");
    cluster.agents[gone].wait();
    cluster.agents[0].wait_member(NAMES[gone], "failed");
    // On a busy machine, the answers of the others can come later than that.
    let report = eventually("all others have the new key", || {
        let args = ["-key", NEW, "-wait", "3s", "-format", "json"];
        let said = cluster.rotate(&cluster.agents[0], &args);
        assert_eq!(said.code, Some(2), "{said:?}");
        let report: Value = serde_json::from_str(&said.out).expect("JSON");
        let mut others = NAMES[..gone].iter().map(|name| &report["nodes"][name]["install"]);
        others.all(|install| install == "ok").then_some(report)
    });
    assert_eq!(report["complete"], false);
    assert_eq!(report["nodes"][NAMES[gone]]["status"], "failed");
    assert!(report["reason"].as_str().unwrap().contains(&format!("{}: failed", NAMES[gone])));
    assert!(cluster.rings().iter().all(|ring| ring[0] == OLD), "nobody uses the new key");
    // Another key must wait, and another rotation.
    let other = cluster.rotate(&cluster.agents[0], &["-key", OLD, "-wait", "1s"]);
    assert!(other.code == Some(1) && other.out.contains("Finish it first"), "{other:?}");
    // It comes back while the rotation waits.
    let first = cluster.agents[0].addr.clone();
    let rotation = {
        let state = cluster.state();
        let mut command = Command::new(Kind::Ours.program());
        command.args(["keys", "rotate", "-state", &state, "-wait", "110s"]);
        command.env("SERF_RPC_ADDR", &cluster.agents[0].rpc);
        Process::start(command)
    };
    rotation.wait_for(&format!("{}: failed", NAMES[gone]));
    let locked = cluster.rotate(&cluster.agents[1], &["-wait", "1s"]);
    assert!(locked.code == Some(1) && locked.out.contains("Another rotation"), "{locked:?}");
    cluster.agents[gone].restart();
    cluster.agents[gone].ok(&["join", &first]);
    let mut rotation = rotation;
    assert_eq!(rotation.wait(), Some(0), "{}{}", rotation.out(), rotation.err());
    assert_eq!(cluster.rings().concat(), [NEW; 6]);
    let young = cluster.rotate(&cluster.agents[0], &["-max-age", "1h"]);
    assert!(young.code == Some(0) && young.out.starts_with("Not due"), "{young:?}");
    assert_eq!(cluster.rings().concat(), [NEW; 6]);
}

/// Runs a rotation until it is killed. Whenever a removal passes, all must have the new key.
fn killed_at(cluster: &Cluster, agent: &Peer, kill: Kill, new: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let rpc = listener.local_addr().unwrap().to_string();
    let (pid, seen) = (Arc::new(AtomicU32::new(0)), Mutex::new(Vec::new()));
    let mut process = None;
    thread::scope(|scope| {
        let proxy = scope.spawn(|| proxy(&listener, cluster, agent, kill, new, (&pid, &seen)));
        let mut command = Command::new(Kind::Ours.program());
        command.args(["keys", "rotate", "-state", &cluster.state(), "-key", new, "-wait", "60s"]);
        command.env("SERF_RPC_ADDR", &rpc);
        let started = process.insert(Process::start(command));
        pid.store(started.pid(), Ordering::SeqCst);
        let code = started.wait();
        let (out, seen) = (started.out(), seen.lock().unwrap());
        assert_eq!(code, None, "{kill:?}: not killed after {seen:?}: {out}");
        proxy.join().expect("no removal came too early");
    });
}

fn proxy(
    listener: &TcpListener,
    cluster: &Cluster,
    agent: &Peer,
    kill: Kill,
    new: &str,
    (pid, seen): (&AtomicU32, &Mutex<Vec<&'static str>>),
) {
    let end = || {
        let pid = poll(compat_tests::wait::PATIENCE, || {
            Some(pid.load(Ordering::SeqCst)).filter(|pid| *pid != 0)
        });
        signal(pid.expect("it was started"), "KILL");
    };
    let (mut client, _) = listener.accept().unwrap();
    let mut upstream = TcpStream::connect(&agent.rpc).unwrap();
    let (mut answers, mut back) = (upstream.try_clone().unwrap(), client.try_clone().unwrap());
    let last = Mutex::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; 16_384];
            while let Ok(count @ 1..) = answers.read(&mut buffer) {
                if *last.lock().unwrap() {
                    end();
                    break;
                }
                if back.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            let _ = back.shutdown(Shutdown::Both);
        });
        let mut buffer = [0; 16_384];
        while let Ok(count @ 1..) = client.read(&mut buffer) {
            let request = &buffer[..count];
            let asked = COMMANDS.into_iter().find(|name| has(request, name.as_bytes()));
            if let Some(name) = asked {
                let mut seen = seen.lock().unwrap();
                seen.push(name);
                if name == "remove-key" {
                    assert!(cluster.all_have(new), "removed too early: {:?}", cluster.rings());
                }
                let nth = seen.iter().filter(|known| **known == kill.command).count();
                if name == kill.command && nth == kill.nth {
                    if kill.before {
                        end();
                        break;
                    }
                    *last.lock().unwrap() = true;
                }
            }
            if upstream.write_all(request).is_err() {
                break;
            }
        }
        let _ = upstream.shutdown(Shutdown::Both);
    });
}

fn has(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// In this order each is reached, by what the earlier ones left in the state file.
const KILLS: [(&str, usize, bool); 14] = [
    // The plan; the new key; the look whether all have it.
    ("list-keys", 1, true),
    ("list-keys", 1, false),
    ("install-key", 1, true),
    ("install-key", 1, false),
    ("list-keys", 2, true),
    // The use; the look before the removal, and the use again.
    ("use-key", 1, true),
    ("use-key", 1, false),
    ("list-keys", 2, false),
    ("use-key", 1, true),
    ("use-key", 1, false),
    ("remove-key", 1, true),
    ("remove-key", 1, false),
    // The last look.
    ("list-keys", 3, true),
    ("list-keys", 3, false),
];
const COMMANDS: [&str; 4] = ["list-keys", "install-key", "use-key", "remove-key"];
const NAMES: [&str; 6] = ["r1", "g1", "r2", "g2", "r3", "g3"];
