//! Clusters with the settings, tags and events of the programs that have Serf inside.

use std::{thread::sleep, time::Duration};

use compat_tests::{
    go::{GoPeer, base64},
    matrix::Program,
};
use serde_json::{Value, json};

/// Their names, and the ports of their gossip.
pub(crate) const PORTS: [(&str, u16); 2] = [("consul", 8301), ("nomad", 4648)];

/// Two servers of such a program: they join, name a leader, send an event each, and leave.
pub(crate) fn run(title: &str, first: &Program, second: &Program) -> Result<(), String> {
    let a = start(title, first, "server-1")?;
    let b = start(title, second, "server-2")?;
    a.try_call(json!({"cmd": "join", "addrs": [b.addr()], "ignore_old": true}))?;
    for (from, to) in [(&a, &b), (&b, &a)] {
        for (name, payload) in events(title, from.name()) {
            from.call(json!({"cmd": "event", "name": name, "payload": base64(payload)}));
            to.wait_event("user", SOON, |event| event["name"] == *name);
        }
    }
    // Probes and gossip each way.
    sleep(Duration::from_secs(1));
    a.call(json!({"cmd": "leave"}));
    b.wait_member_event("member-leave", a.name(), SOON);
    Ok(())
}

fn start(title: &str, program: &Program, server: &str) -> Result<GoPeer, String> {
    let id = format!("0a1b2c3d-0000-4000-8000-00000000000{}", &server["server-".len()..]);
    let (name, tags) = match title {
        "consul" => (server.to_owned(), consul_tags(&id)),
        _ => (format!("{server}.global"), nomad_tags(&id)),
    };
    let config = json!({
        "name": name, "profile": "local", "retransmit_mult": 10, "protocol": 4,
        "key": base64([1; 32]), "tags": tags,
    });
    GoPeer::try_start(program.path.to_str().expect("UTF-8"), config)
}

fn consul_tags(id: &str) -> Value {
    json!({
        "role": "consul", "dc": "dc1", "segment": "", "id": id, "vsn": "2", "vsn_min": "2",
        "vsn_max": "3", "build": "1.14.11:00000000", "port": "8300", "wan_join_port": "8302",
        "raft_vsn": "3", "expect": "2", "acls": "0", "ft_fs": "1", "ft_si": "1",
    })
}

fn nomad_tags(id: &str) -> Value {
    json!({
        "role": "nomad", "region": "global", "dc": "dc1", "id": id, "vsn": "1", "mvn": "1",
        "build": "1.6.5", "port": "4647", "rpc_addr": "10.0.0.1", "raft_vsn": "3", "expect": "2",
    })
}

/// An event of the program itself, and one of a user in the program's own form.
fn events(title: &str, server: &str) -> [(String, Vec<u8>); 2] {
    let leader = (format!("{title}:new-leader"), server.as_bytes().to_vec());
    let name = format!("{title}:event:deploy-{server}");
    // A map of the bare kind: no strings of the newer format.
    let fields = [&b"\x83\xa2ID\xa4\x01\xfe\x02\xff"[..], b"\xa4Name\xa6deploy\xa7Version\x01"];
    [leader, (name, fields.concat())]
}

const SOON: Duration = Duration::from_secs(30);
