//! Goal: the keyring and tags files of hosts as people have them: owned by a service user in a
//! directory of root, mounted by themselves, behind links, read-only. Method: each place is made
//! for Go's agent and for ours, and both must do and say the same.
//!
//! Needs root, `setpriv` and `unshare`, for other users and for mounts; without them the tests that
//! use them end early and say so.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use compat_tests::{
    net::Net,
    peer::{Launch, Peer},
    process::{BOTH, InTime, Kind, Said, not_run},
};

const KEY: &str = "wsGlMv8mfgjD1f+CVVMHZA==";
const OTHER: &str = "T9jncgl9mbLus+baTTa7q7nPSUrXwbDi2dhbtqir37s=";
const SERVICE_USER: u32 = 65_534;
const SERVICE_GROUP: u32 = 65_533;
/// Becomes the service user.
const AS_SERVICE: &[&str] = &["setpriv", "--reuid=65534", "--regid=65533", "--clear-groups"];

/// A directory with a keyring and a tags file.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().expect("a directory") };
        // Others come in, but only root changes what is in it.
        set_mode(place.dir.path(), 0o755);
        fs::write(place.keys(), format!("[\"{KEY}\"]")).unwrap();
        fs::write(place.tags(), "{}").unwrap();
        place
    }

    /// Files of the service user.
    fn of_service(mode: u32) -> Self {
        let place = Self::new();
        for file in [place.keys(), place.tags()] {
            chown(&file, Some(SERVICE_USER), Some(SERVICE_GROUP)).unwrap();
            set_mode(&file, mode);
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn keys(&self) -> PathBuf {
        self.path("keys")
    }

    fn tags(&self) -> PathBuf {
        self.path("tags")
    }

    fn start(&self, wrapper: &[&str], kind: Kind, ip: &str, name: &str) -> Peer {
        self.launch(kind, ip, name).args(&["-profile", "local"]).wrapper(wrapper).start()
    }

    fn launch(&self, kind: Kind, ip: &str, name: &str) -> Launch {
        let (keys, tags) = (self.keys(), self.tags());
        let (keys, tags) = (keys.to_str().unwrap(), tags.to_str().unwrap());
        Launch::new(kind, name, ip).args(&["-keyring-file", keys, "-tags-file", tags])
    }

    /// Text without the directory, whose name differs.
    fn shown(&self, said: Said) -> (String, Option<i32>) {
        let dir = self.dir.path().to_str().unwrap();
        (format!("{}{}", said.out, said.err).replace(dir, "DIR"), said.code)
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Whether this machine lets us be another user and mount files.
fn is_possible() -> bool {
    let tried = Command::new("unshare")
        .args(["-m", "setpriv", "--reuid=65534", "--regid=65533", "--clear-groups", "true"])
        .output_in_time();
    let program = Kind::Ours.program();
    let reachable = Command::new(AS_SERVICE[0])
        .args(&AS_SERVICE[1..])
        .args(["test", "-x", program.to_str().unwrap()])
        .output_in_time();
    let possible = tried.status.success() && reachable.status.success();
    if !possible {
        not_run("this needs root, setpriv, unshare and a program that all may run");
    }
    possible
}

/// Changes tags and keys, which must work and reach the files.
fn changes_are_written(place: &Place, agent: &Peer) {
    agent.ok(&["tags", "-set", "x=1"]);
    agent.ok(&["keys", "-install", OTHER]);
    let kind = agent.kind;
    let both = format!("[\n  \"{KEY}\",\n  \"{OTHER}\"\n]");
    assert_eq!(fs::read_to_string(place.keys()).unwrap(), both, "{kind:?}");
    agent.ok(&["keys", "-use", OTHER]);
    agent.ok(&["keys", "-remove", KEY]);
    let keys = fs::read_to_string(place.keys()).unwrap();
    assert_eq!(keys, format!("[\n  \"{OTHER}\"\n]"), "{kind:?}");
    assert_eq!(fs::read_to_string(place.tags()).unwrap(), "{\n  \"x\": \"1\"\n}", "{kind:?}");
}

// parity: cli-keys: Keyring and tags files as hosts have them
#[test]
fn files_of_a_service_user_in_a_directory_of_root_are_written() {
    if !is_possible() {
        return;
    }
    let net = Net::new();
    for (at, kind) in BOTH.into_iter().enumerate() {
        let place = Place::of_service(0o600);
        let agent = place.start(AS_SERVICE, kind, &format!("{net}{}", at + 1), "a");
        changes_are_written(&place, &agent);
    }
}

/// An agent of root, whose files a service user takes over later.
// parity: cli-keys: Keyring and tags files as hosts have them
#[test]
fn owner_group_mode_and_links_stay() {
    if !is_possible() {
        return;
    }
    let net = Net::new();
    for (at, kind) in BOTH.into_iter().enumerate() {
        let place = Place::of_service(0o640);
        let [keys, tags] = ["real-keys", "real-tags"].map(|name| place.path(name));
        fs::rename(place.keys(), &keys).unwrap();
        symlink("real-keys", place.keys()).unwrap();
        fs::rename(place.tags(), &tags).unwrap();
        symlink(&tags, place.tags()).unwrap();
        let agent = place.start(&[], kind, &format!("{net}{}", at + 1), "a");
        changes_are_written(&place, &agent);
        for (link, file) in [(place.keys(), keys), (place.tags(), tags)] {
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "{kind:?} {link:?}");
            let now = fs::metadata(&file).unwrap();
            let access = (now.uid(), now.gid(), now.mode() & 0o7777);
            assert_eq!(access, (SERVICE_USER, SERVICE_GROUP, 0o640), "{kind:?} {file:?}");
        }
        let left = fs::read_dir(place.dir.path()).unwrap().count();
        assert_eq!(left, 4, "{kind:?}: nothing else is left there");
    }
}

/// As a container has it with a volume that is one file.
// parity: cli-keys: Keyring and tags files as hosts have them
#[test]
fn files_that_are_mounted_by_themselves_are_written() {
    if !is_possible() {
        return;
    }
    let net = Net::new();
    for (at, kind) in BOTH.into_iter().enumerate() {
        let (place, host) = (Place::new(), Place::new());
        let script = "mount --bind \"$1/keys\" \"$2/keys\" && \
                      mount --bind \"$1/tags\" \"$2/tags\" && shift 2 && exec \"$@\"";
        let [host_dir, dir] = [&host, &place].map(|place| place.dir.path().to_str().unwrap());
        let wrapper = ["unshare", "-m", "sh", "-c", script, "sh", host_dir, dir];
        let agent = place.start(&wrapper, kind, &format!("{net}{}", at + 1), "a");
        changes_are_written(&host, &agent);
        assert_eq!(fs::read_to_string(place.tags()).unwrap(), "{}", "not the one beneath");
    }
}

/// Files that cannot be written: the caller gets an error, with Go's words and codes.
// parity: cli-keys: A keyring or tags file that cannot be written
#[test]
fn what_cannot_be_written_is_a_failure() {
    if !is_possible() {
        return;
    }
    let net = Net::new();
    let read_only = "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\" && \
                     shift && exec \"$@\"";
    for (name, reason) in [("mode", "permission denied"), ("mount", "read-only file system")] {
        let said = BOTH.map(|kind| {
            let (place, ip) = match kind {
                Kind::Go => (Place::of_service(0o444), format!("{net}1")),
                Kind::Ours => (Place::of_service(0o444), format!("{net}2")),
            };
            let dir = place.dir.path().to_str().unwrap();
            let mounted = ["unshare", "-m", "sh", "-c", read_only, "sh", dir];
            let wrapper = if name == "mode" { AS_SERVICE } else { &mounted };
            let agent = place.start(wrapper, kind, &ip, "a");
            let said = [
                &["tags", "-set", "x=1"][..],
                &["keys", "-install", OTHER],
                &["keys", "-use", OTHER],
                &["keys", "-remove", KEY],
                &["keys", "-list"],
            ]
            .map(|args| place.shown(agent.cli(args)));
            let log = agent.process.out();
            let twice =
                "[ERR] serf: Failed to write keyring file: Failed to write keyring file: open ";
            assert!(log.contains(twice), "{log}");
            assert!(log.contains("[ERR] agent: Failed to write tags file: "), "{log}");
            assert_eq!(fs::read_to_string(place.keys()).unwrap(), format!("[\"{KEY}\"]"));
            said
        });
        assert_eq!(said[0], said[1], "{name}");
        let [tags, install, ..] = &said[1];
        let text =
            format!("Error setting tags: Failed to write tags file: open DIR/tags: {reason}\n");
        assert_eq!(tags, &(text, Some(1)));
        let text = format!("failed:  a  Failed to write keyring file: open DIR/keys: {reason}");
        assert!(install.0.contains(&text), "{install:?}");
        assert!(install.0.ends_with("Error installing key: 1/1 nodes reported failure\n"));
        assert_eq!(install.1, Some(1));
    }
}

/// Either kind hears of the other's failure.
// parity: cli-keys: A keyring or tags file that cannot be written
#[test]
fn a_node_that_asks_hears_that_another_cannot_write_its_keys() {
    if !is_possible() {
        return;
    }
    let net = Net::new();
    for (at, (asks, cannot)) in [(Kind::Go, Kind::Ours), (Kind::Ours, Kind::Go)].iter().enumerate()
    {
        let [good, bad] = [Place::new(), Place::of_service(0o444)];
        let a = good.start(&[], *asks, &format!("{net}{}", 2 * at + 1), "a");
        let b = bad.start(AS_SERVICE, *cannot, &format!("{net}{}", 2 * at + 2), "b");
        a.ok(&["join", &b.addr]);
        a.wait_member("b", "alive");
        let (said, code) = bad.shown(a.cli(&["keys", "-install", OTHER]));
        let text = "failed:  b  Failed to write keyring file: open DIR/keys: permission denied\n";
        assert!(said.contains(text), "{asks:?}: {said}");
        assert!(said.ends_with("Error installing key: 1/2 nodes reported failure\n"), "{said}");
        assert_eq!(code, Some(1));
    }
}

/// The whole of it: keys are rotated over two nodes whose files a service user owns, and a node
/// that starts again has the new key.
#[test]
fn a_node_is_back_after_a_rotation() {
    if !is_possible() {
        return;
    }
    let net = Net::new();
    let places = [Place::of_service(0o600), Place::of_service(0o600)];
    let a = places[0].start(AS_SERVICE, Kind::Ours, &format!("{net}1"), "a");
    let mut b = places[1].start(AS_SERVICE, Kind::Ours, &format!("{net}2"), "b");
    a.ok(&["join", &b.addr]);
    a.wait_member("b", "alive");
    for step in [["keys", "-install", OTHER], ["keys", "-use", OTHER], ["keys", "-remove", KEY]] {
        a.ok(&step);
        let [first, second] =
            [0, 1].map(|at: usize| fs::read_to_string(places[at].keys()).unwrap());
        assert_eq!(first, second, "both have it on disk when {step:?} ends");
    }
    b.signal("KILL");
    b.process.wait_status();
    b.restart();
    b.ok(&["join", &a.addr]);
    b.wait_member("a", "alive");
}

/// Who does not answer is named: by our agent, and with Go's agent by a ping.
// parity: cli-keys: Who is missing
#[test]
fn those_that_do_not_answer_are_named() {
    let net = Net::new();
    for (at, kind) in BOTH.into_iter().enumerate() {
        let places = [Place::new(), Place::new(), Place::new()];
        let agents: Vec<_> = places
            .iter()
            .zip(["a", "b", "c"])
            .enumerate()
            .map(|(n, (place, name))| {
                // Not the local profile, whose key requests end after 240 ms: on a busy machine
                // others are late, too.
                place.launch(kind, &format!("{net}{}", 3 * at + n + 1), name).start()
            })
            .collect();
        let (a, c) = (&agents[0], &agents[2]);
        for other in &agents[1..] {
            a.ok(&["join", &other.addr]);
        }
        a.wait_member("b", "alive");
        a.wait_member("c", "alive");
        let ours = |args: &[&str]| compat_tests::process::serf(Kind::Ours, &a.rpc, args);
        // All answer: not a byte more than Go prints.
        let all_answer = || {
            let said = ours(&["query", "-timeout", "20s", "x"]);
            assert!(said.out.ends_with("Total Acks: 3\nTotal Responses: 0\n"), "{said:?}");
        };
        all_answer();
        // While it is stopped the others take it for alive, for a moment.
        c.signal("STOP");
        let said = ours(&["query", "-timeout", "2s", "x"]);
        assert!(said.out.ends_with("Total Responses: 0\nMissing acks from:\n\tc\n"), "{said:?}");
        let json = ours(&["query", "-format", "json", "-timeout", "300ms", "-node", "c", "x"]);
        let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
        assert_eq!(json["Missing"], serde_json::json!(["c"]));
        c.signal("CONT");
        a.wait_member("c", "alive");
        all_answer();
        c.signal("STOP");
        let said = ours(&["keys", "-install", OTHER]);
        let named = match kind {
            Kind::Ours => "No answer from:\n\tc\n",
            Kind::Go => "No answer to a ping from:\n",
        };
        assert!(
            said.out.contains("Error installing key: 2/3 nodes reported success\n"),
            "{said:?}"
        );
        assert!(said.out.contains(named), "{said:?}");
        assert_eq!(said.code, Some(1));
        if kind == Kind::Ours {
            // Lines come when the console has time for them.
            a.wait_for_line("Query 'x' was not acknowledged by: c");
            a.wait_for_line("No answer to key request from: c");
        }
        c.signal("CONT");
    }
}
