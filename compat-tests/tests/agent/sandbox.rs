//! Goal: an agent in its sandbox does all that it is for, and neither it nor a handler gets at
//! other files. The kernel has to have Landlock.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use compat_tests::{
    net::Net,
    peer::{Launch, Peer},
    process::{InTime as _, Kind, not_run},
    wait::eventually,
};
use serde_json::{Value, json};

/// A directory of the agent, and one that is not its business.
struct Stage {
    net: Net,
    own: tempfile::TempDir,
    outside: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let [own, outside] = [(), ()].map(|()| tempfile::tempdir().unwrap());
        Self { net: Net::new(), own, outside }
    }

    fn own(&self, name: &str) -> PathBuf {
        self.own.path().join(name)
    }

    fn outside(&self, name: &str) -> PathBuf {
        self.outside.path().join(name)
    }

    fn launch(&self, config: &Value) -> Launch {
        let path = self.own("agent.json");
        fs::write(&path, config.to_string()).unwrap();
        Launch::new(Kind::Ours, "a", &self.net.ip(2)).args(&[
            "-config-file",
            path.to_str().unwrap(),
            "-sandbox=require",
        ])
    }
}

fn secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Whether this kernel has Landlock; where it has not, `require` says so.
fn has_landlock(stage: &Stage) -> bool {
    let mut a = stage.launch(&json!({})).spawn();
    let found = eventually("the agent starts or does not", || {
        let log = a.log();
        let fails = log.contains("The sandbox cannot be entered: ");
        (fails || log.contains("Log data will now stream in")).then_some(!fails)
    });
    if !found {
        assert_eq!(a.wait().code(), Some(1));
        not_run("this kernel has no Landlock, or forbids it");
    }
    found
}

/// Method: all files that an agent has, each of which it writes or reads again; then a token in a
/// file that is not its business, which anybody could read.
#[test]
fn an_agent_in_its_sandbox_uses_its_own_files_and_no_other() {
    let stage = Stage::new();
    if !has_landlock(&stage) {
        return;
    }
    let [snapshot, keyring, tags, tokens, seeds, rpc] =
        ["snapshot", "keyring", "tags", "tokens.json", "seeds", "rpc"].map(|name| stage.own(name));
    secret(&keyring, r#"["4uAsdvxGc5Qdd0SokOHxxZB7AHgVK0OEzdx5SBwBObw="]"#);
    secret(&tokens, r#"{"all": {"token": "a long enough token", "allow": ["admin"]}}"#);
    let b = Peer::start(
        Kind::Ours,
        "b",
        &stage.net.ip(3),
        &["-encrypt", "4uAsdvxGc5Qdd0SokOHxxZB7AHgVK0OEzdx5SBwBObw="],
    );
    fs::write(&seeds, "").unwrap();
    let config = json!({
        "snapshot_path": snapshot, "keyring_file": keyring, "tags_file": tags,
        "rpc_tokens_file": tokens, "retry_join": [format!("file:{}", seeds.display())],
        "retry_interval": "1s",
    });
    let a = stage.launch(&config).rpc(&format!("unix:{}", rpc.display())).start();
    assert!(a.log().contains("==> Sandbox: own files only\n"), "{}", a.log_tail());
    let auth = "-rpc-auth=a long enough token";
    // As an editor replaces it.
    fs::write(stage.own("new"), &b.addr).unwrap();
    fs::rename(stage.own("new"), &seeds).unwrap();
    a.wait_said(&["members", auth], |out| out.contains("b "));
    a.ok(&["tags", auth, "-set", "x=1"]);
    assert!(fs::read_to_string(&tags).unwrap().contains("\"x\": \"1\""));
    let key = "5tPW3QbJWeuY6CZTAcJEdSJxR5rE0nJvdIsZZNvG0Yk=";
    a.ok(&["keys", auth, "-install", key]);
    assert!(fs::read_to_string(&keyring).unwrap().contains(key));
    eventually("the snapshot has the other member", || {
        let text = fs::read_to_string(&snapshot).ok()?;
        text.contains("alive: b ").then_some(())
    });
    let mut new = config.clone();
    new["log_level"] = json!("debug");
    fs::write(stage.own("agent.json"), new.to_string()).unwrap();
    a.signal("HUP");
    a.ok(&["event", auth, "hello"]);
    a.wait_for_line("Requesting user event send: hello");
    let outside = stage.outside("token");
    fs::write(&outside, "a token that is long enough").unwrap();
    let allowed = json!({ "all": { "token": format!("@{}", outside.display()), "allow": [] } });
    secret(&stage.own("new"), &allowed.to_string());
    fs::rename(stage.own("new"), &tokens).unwrap();
    a.wait_for_line(&format!("open {}: permission denied", outside.display()));
    // A handler that comes later would have to be run.
    new["event_handlers"] = json!(["user=true"]);
    fs::write(stage.own("agent.json"), new.to_string()).unwrap();
    a.signal("HUP");
    a.wait_for_line("the sandbox was entered without event handlers: restart the agent");
    a.ok(&["event", auth, "again"]);
    a.wait_for_line("Error invoking script 'true': ");
    a.signal("INT");
    let mut a = a;
    assert_eq!(a.wait().code(), Some(0), "{}", a.log_tail());
    assert!(!rpc.exists(), "the socket is removed");
}

/// Method: each file of the agent is a link to another directory; the snapshot is not there yet.
#[test]
fn an_agent_in_its_sandbox_follows_links_to_its_files() {
    let stage = Stage::new();
    if !has_landlock(&stage) {
        return;
    }
    secret(&stage.outside("keyring"), r#"["4uAsdvxGc5Qdd0SokOHxxZB7AHgVK0OEzdx5SBwBObw="]"#);
    let tokens = r#"{"all": {"token": "a long enough token", "allow": ["admin"]}}"#;
    secret(&stage.outside("tokens"), tokens);
    for name in ["snapshot", "keyring", "tokens"] {
        std::os::unix::fs::symlink(stage.outside(name), stage.own(name)).unwrap();
    }
    let config = json!({
        "snapshot_path": stage.own("snapshot"), "keyring_file": stage.own("keyring"),
        "rpc_tokens_file": stage.own("tokens"),
    });
    let a = stage.launch(&config).start();
    let key = "5tPW3QbJWeuY6CZTAcJEdSJxR5rE0nJvdIsZZNvG0Yk=";
    a.ok(&["keys", "-rpc-auth=a long enough token", "-install", key]);
    assert!(fs::read_to_string(stage.outside("keyring")).unwrap().contains(key));
    eventually("the snapshot is written", || {
        fs::read_to_string(stage.outside("snapshot")).is_ok_and(|text| !text.is_empty())
    });
    secret(&stage.outside("tokens"), &tokens.replace("long", "longer"));
    a.signal("HUP");
    a.wait_said(&["members", "-rpc-auth=a longer enough token"], |out| out.contains("alive"));
}

#[test]
fn handlers_in_a_sandbox_run_and_read_and_write_what_is_configured() {
    let stage = Stage::new();
    if !has_landlock(&stage) {
        return;
    }
    let (given, other) = (stage.own("given"), stage.outside("other"));
    let missing = stage.own("missing");
    fs::create_dir(&given).unwrap();
    fs::write(stage.outside("text"), "read me\n").unwrap();
    let script = stage.outside("handler");
    let text = format!(
        "#!/bin/sh\ncat '{}' >'{}'\necho x >'{}'\ntrue >/dev/null && echo done >'{}'\n",
        stage.outside("text").display(),
        given.join("read").display(),
        other.display(),
        given.join("done").display(),
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let config = json!({
        "event_handlers": [format!("user={}", script.display())], "sandbox_paths": [given, missing],
        "log_level": "debug",
    });
    let a = stage.launch(&config).start();
    assert!(a.log().contains("Sandbox: own files only; programs read everything"));
    let warning = format!("Warning: there is no {} to be in the sandbox", missing.display());
    assert!(a.log().contains(&warning) && a.log().matches("Warning").count() == 1, "{}", a.log());
    a.ok(&["event", "go"]);
    let done = given.join("done");
    eventually("the handler ends", || {
        fs::read_to_string(&done).is_ok_and(|text| text == "done\n").then_some(())
    });
    assert_eq!(fs::read_to_string(given.join("read")).unwrap(), "read me\n");
    assert!(!other.exists(), "a handler writes outside");
}

/// Method: a filter of system calls makes the kernel look like one without Landlock.
#[test]
fn without_landlock_try_goes_on_and_require_does_not() {
    let stage = Stage::new();
    let check = Command::new("python3").args(["-c", WITHOUT_LANDLOCK, "true"]).output_in_time();
    if !check.status.success() {
        return not_run("Python cannot filter system calls here");
    }
    let wrapper = ["python3", "-c", WITHOUT_LANDLOCK];
    let mut a = stage.launch(&json!({})).wrapper(&wrapper).spawn();
    a.ends_with(1, "The sandbox cannot be entered: this kernel has no Landlock");
    let a = stage.launch(&json!({})).args(&["-sandbox=try"]).wrapper(&wrapper).start();
    assert!(a.log().contains("Warning: no sandbox: this kernel has no Landlock"));
    a.wait_for_members(1);
}

/// `landlock_create_ruleset` (444 on all architectures) gives ENOSYS; then the rest of the command.
const WITHOUT_LANDLOCK: &str = "
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
class Filter(ctypes.Structure):
    _fields_ = [('code', ctypes.c_ushort), ('jt', ctypes.c_ubyte), ('jf', ctypes.c_ubyte),
                ('k', ctypes.c_uint)]
class Program(ctypes.Structure):
    _fields_ = [('len', ctypes.c_ushort), ('filter', ctypes.POINTER(Filter))]
filters = (Filter * 4)(
    Filter(0x20, 0, 0, 0),           # load the number of the call
    Filter(0x15, 0, 1, 444),
    Filter(0x06, 0, 0, 0x00050000 | 38),
    Filter(0x06, 0, 0, 0x7fff0000),
)
program = Program(4, filters)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0
os.execvp(sys.argv[1], sys.argv[1:])
";
