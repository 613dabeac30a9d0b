//! Goal: the manifests of packaging/kubernetes are ones that Kubernetes takes, and their agents
//! start. Method: its own schemas, by the package kubernetes-validate, and `serf agent` with their
//! flags.

use std::{fs, path::Path, process::Command};

use compat_tests::{
    fetched::{limited, prepare},
    net::Net,
    process::{InTime as _, Kind, Process},
    wait::BUILD,
};

const MANIFESTS: [&str; 2] = ["statefulset", "daemonset"];

fn manifest(name: &str) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/kubernetes");
    fs::read_to_string(dir.join(format!("{name}.yaml"))).expect("a manifest")
}

#[test]
fn manifests_fit_the_schemas_of_kubernetes() {
    let Some(cache) = prepare("kubernetes-validate-1.37.0", |dir| {
        let mut venv = limited("python3");
        venv.args(["-m", "venv"]).arg(dir);
        let mut install = limited(dir.join("bin/pip"));
        install.args(["install", "-q", "--disable-pip-version-check"]);
        install.arg("kubernetes-validate==1.37.0");
        vec![venv, install]
    }) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let fits = |text: &str| {
        let file = dir.path().join("manifest.yaml");
        fs::write(&file, text).unwrap();
        let program = cache.join("bin/kubernetes-validate");
        let said = Command::new(program).arg("--strict").arg(&file).output_within(BUILD);
        (said.status.success(), String::from_utf8_lossy(&said.stderr).into_owned())
    };
    for name in MANIFESTS {
        let (good, said) = fits(&manifest(name));
        assert!(good, "{name}: {said}");
        // That mistakes are noticed.
        for (right, wrong) in [("livenessProbe", "livenesProbe"), ("7946", "gossip")] {
            let (good, said) = fits(&manifest(name).replace(right, wrong));
            assert!(!good, "{name}: {wrong}: {said}");
        }
    }
}

#[test]
fn agents_start_with_the_flags_of_the_manifests() {
    for name in MANIFESTS {
        let (net, dir) = (Net::new(), tempfile::tempdir().unwrap());
        let key = dir.path().join("key");
        fs::write(&key, "T9jncgl9mbLus+baTTa7q7nPSUrXwbDi2dhbtqir37s=\n").unwrap();
        let text = manifest(name);
        let (_, args) = text.split_once("args:\n").expect("arguments");
        let args = args.lines().map_while(|line| line.trim().strip_prefix("- "));
        let here = |arg: &str| {
            arg.replace("$(POD_NAME)", "serf-0")
                .replace("$(NODE_NAME)", "node")
                .replace("$(NAMESPACE)", "ns")
                .replace("$(POD_IP)", &net.ip(1))
                .replace("$(HOST_IP)", &net.ip(1))
                .replace("0.0.0.0", &net.ip(1))
                .replace("/run/secrets/serf/key", key.to_str().unwrap())
                .replace("/run/serf", dir.path().to_str().unwrap())
                .replace("/var/lib/serf", dir.path().to_str().unwrap())
        };
        let mut command = Command::new(Kind::Ours.program());
        command.args(args.map(here));
        if !text.contains("-rpc-addr") {
            // In a pod its port is free.
            command.args(["-rpc-addr", &format!("{}:7373", net.ip(1))]);
        }
        let process = Process::start(command);
        process.wait_for("Log data will now stream in");
        // The service does not resolve here; it is asked for again and again.
        process.wait_until("a look for seeds", |out| out.contains("Failed to look up seeds"));
    }
}
