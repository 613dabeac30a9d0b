//! Goal: RPC clients that others wrote get from our agent what they get from Go's. Method: each
//! runs the same script against an agent of each program, and prints what it got. The clients are
//! fetched into the cache; where they cannot be, the test says that it has not run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use compat_tests::{
    fetched::{limited, prepare},
    net::Net,
    peer::Peer,
    process::{BOTH, InTime as _, Kind},
    wait::BUILD,
};

// parity: rpc-stream: third-party clients
#[test]
fn serfio_gets_from_us_what_it_gets_from_go() {
    let Some(cache) = python() else { return };
    let got = compare(&cache.join("bin/python"), "serfio_client.py", &cache);
    expect(&got, &["members", "too large", "event", "asked", "answer", "wrong token"]);
}

#[test]
fn node_serf_gets_from_us_what_it_gets_from_go() {
    let Some(cache) = node() else { return };
    let got = compare(Path::new("node"), "node_serf.js", &cache);
    expect(&got, &["wrong token", "members", "too large", "event", "done"]);
}

#[test]
fn serf_rpc_gets_from_us_what_it_gets_from_go() {
    let Some(cache) = node() else { return };
    let got = compare(Path::new("node"), "serf_rpc.js", &cache);
    expect(&got, &["wrong token", "members", "event", "query", "answered", "stopped"]);
}

/// Runs a script against both programs, whose agents have the same name, tags and token.
fn compare(interpreter: &Path, script: &str, cache: &Path) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script);
    let [go, ours] = thread::scope(|scope| {
        let path = &path;
        let both = BOTH.map(|program| scope.spawn(move || run(program, interpreter, path, cache)));
        both.map(|one| one.join().unwrap())
    });
    assert_eq!(go, ours, "left: Go, right: ours");
    ours
}

fn run(program: Kind, interpreter: &Path, script: &Path, cache: &Path) -> Vec<String> {
    let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
    fs::write(dir.path().join("a.json"), r#"{"rpc_auth": "s3cret"}"#).unwrap();
    let args = ["-config-file", "a.json", "-tag", "role=web"];
    let agent = Peer::start_in(program, "a", &net.ip(2), &args, dir.path());
    let (host, port) = agent.rpc.split_once(':').unwrap();
    let output = Command::new("timeout")
        .arg("60")
        .arg(interpreter)
        .arg(script)
        .args([host, port, "s3cret"])
        .env("NODE_PATH", cache.join("node_modules"))
        .env("NODE_NO_WARNINGS", "1")
        .output_within(BUILD);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program:?}: {output:?}\n{:?}", agent.printed());
    let octets = host.split('.').map(|octet| octet.parse::<u8>().unwrap()).collect::<Vec<_>>();
    // Addresses are hex, or numbers one by one.
    let numbers = octets.iter().map(u8::to_string).collect::<Vec<_>>();
    let hide = |line: &str| {
        line.replace(&hex::encode(&octets), "ADDR").replace(&numbers.join(","), "ADDR")
    };
    text.lines().map(hide).collect()
}

fn expect(got: &[String], steps: &[&str]) {
    for step in steps {
        let start = format!("[\"{step}\",");
        let spaced = format!("[\"{step}\", ");
        let has = |line: &String| line.starts_with(&start) || line.starts_with(&spaced);
        assert!(got.iter().any(has), "no {step} in {got:#?}");
    }
}

fn python() -> Option<PathBuf> {
    prepare("serfio-0.3.3", |dir| {
        let pip = dir.join("bin/pip");
        let mut venv = limited("python3");
        venv.args(["-m", "venv"]).arg(dir);
        let mut install = limited(pip);
        install.args(["install", "-q", "--disable-pip-version-check", "serfio==0.3.3"]);
        install.arg("msgpack==1.2.4");
        vec![venv, install]
    })
}

fn node() -> Option<PathBuf> {
    prepare("node-serf-2.0.0-serf-rpc-0.2.1", |dir| {
        let mut install = limited("npm");
        install.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]);
        install.arg(dir).args(["node-serf@2.0.0", "serf-rpc@0.2.1"]);
        vec![install]
    })
}
