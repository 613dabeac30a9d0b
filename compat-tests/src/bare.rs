//! Scenarios of a serf node with a bare memberlist node, at versions of memberlist that no serf
//! release contains. The serf node is ours, or Go's as the control.

use std::{path::Path, thread::sleep, time::Duration};

use serde_json::{Value, json};

use crate::{
    go::{GoPeer, base64, bytes},
    matrix::{OURS, Program, SOON, key, member, same, until, wait_status},
};

/// One row of the matrix of bare peers.
pub struct BareScenario {
    /// Its title in the matrix.
    pub title: &'static str,
    /// Whether the memberlist must support labels.
    pub labels: bool,
    /// Runs it; an error describes what was not as expected.
    pub run: fn(&Roles<'_>) -> Result<(), String>,
}

/// The two nodes.
pub struct Roles<'a> {
    /// The serf node.
    pub serf: &'a Program,
    /// The bare memberlist.
    pub bare: &'a Program,
    /// Whether the serf node is the one that joins.
    pub serf_joins: bool,
}

/// All scenarios in the order of the matrix.
pub fn bare_scenarios() -> Vec<BareScenario> {
    let plain = |title, run| BareScenario { title, labels: false, run };
    vec![
        plain("join", |roles| joined(roles, &json!({}))),
        plain("aes-128", |roles| joined(roles, &json!({"key": key(16, 1)}))),
        plain("aes-256, uncompressed", |roles| {
            joined(roles, &json!({"key": key(32, 1), "compression": false}))
        }),
        BareScenario {
            title: "label and key",
            labels: true,
            run: |roles| joined(roles, &json!({"label": "blue", "key": key(32, 1)})),
        },
        plain("user messages: gossip, packet, stream", user_messages),
        plain("meta changes", meta),
        plain("ping", ping),
        plain("serf leaves", serf_leaves),
        plain("memberlist leaves", bare_leaves),
        plain("serf dies", serf_dies),
        plain("memberlist dies", bare_dies),
    ]
}

struct Pair {
    serf: GoPeer,
    bare: GoPeer,
}

fn pair(roles: &Roles<'_>, both: &Value) -> Result<Pair, String> {
    let mut config = both.clone();
    for (field, value) in [("profile", json!("local")), ("retransmit_mult", json!(10))] {
        config[field] = value;
    }
    let mut of_bare = config.clone();
    config["name"] = json!("serf");
    // What serf requires of the nodes that it merges with.
    of_bare["delegate_protocol"] = json!(4);
    of_bare["delegate_protocol_range"] = json!([2, 5]);
    of_bare["name"] = json!("bare");
    of_bare["meta"] = json!(base64("web"));
    let serf = launch(&roles.serf.path, config)?;
    let bare = launch(&roles.bare.path, of_bare)?;
    let (joiner, joined) = if roles.serf_joins { (&serf, &bare) } else { (&bare, &serf) };
    joiner.try_call(json!({"cmd": "join", "addrs": [joined.addr()]}))?;
    wait_status(&serf, "bare", "alive")?;
    until("the bare node lists the serf node", || {
        member(&bare, "serf")["port"] == serf.addr().port()
    })?;
    Ok(Pair { serf, bare })
}

fn joined(roles: &Roles<'_>, both: &Value) -> Result<(), String> {
    let pair = pair(roles, both)?;
    // Long enough for some probes and gossip each way.
    sleep(Duration::from_secs(3));
    wait_status(&pair.serf, "bare", "alive")?;
    for node in [&pair.serf, &pair.bare] {
        let accused = node.counter("memberlist.msg.suspect") + node.counter("memberlist.msg.dead");
        same(&accused, &0.0, "suspect and dead messages")?;
    }
    // The other node has the same row, including all version bytes.
    let vsn = &member(&pair.bare, "serf")["vsn"];
    same(&vsn.as_array().map(Vec::len), &Some(6), "version bytes of the serf node")?;
    same(&member(&pair.serf, "bare")["tags"], &json!({"role": "web"}), "meta as a role")
}

fn user_messages(roles: &Roles<'_>) -> Result<(), String> {
    let Pair { serf, bare } = pair(roles, &json!({}))?;
    serf.call(json!({"cmd": "event", "name": "up", "payload": base64("hi")}));
    bare.wait_event("message", SOON, |event| {
        let message = bytes(&event["payload"]);
        // Serf's message type of user events; the fields in the order of their names.
        message.starts_with(b"\x03\x84\xa2CC\xc2\xa5LTime")
            && message.ends_with(b"\xa4Name\xa2up\xa7Payload\xa2hi")
    });
    for (number, how) in ["broadcast", "send_best_effort", "send_reliable"].into_iter().enumerate()
    {
        let mut message = b"\x03\x84\xa2CC\xc2\xa5LTime".to_vec();
        message.push(40 + number as u8);
        message.extend_from_slice(b"\xa4Name\xa4down\xa7Payload\xa1");
        message.push(b'0' + number as u8);
        bare.call(json!({"cmd": how, "name": "serf", "payload": base64(&message)}));
        serf.wait_event("user", SOON, |event| {
            event["name"] == "down" && bytes(&event["payload"]) == [b'0' + number as u8]
        });
    }
    Ok(())
}

fn meta(roles: &Roles<'_>) -> Result<(), String> {
    let Pair { serf, bare } = pair(roles, &json!({}))?;
    bare.call(json!({"cmd": "update_meta", "payload": base64(b"\xff\x81\xa1a\xa1b")}));
    until("the new tags reach serf", || member(&serf, "bare")["tags"] == json!({"a": "b"}))?;
    serf.call(json!({"cmd": "set_tags", "tags": {"k": "v"}}));
    until("the new meta reaches memberlist", || {
        bytes(&member(&bare, "serf")["meta"]) == b"\xff\x81\xa1k\xa1v"
    })
}

fn ping(roles: &Roles<'_>) -> Result<(), String> {
    let Pair { serf, bare } = pair(roles, &json!({}))?;
    let result = bare.try_call(json!({"cmd": "ping", "name": "serf", "addr": serf.addr()}))?;
    // Go starts its watch after sending: on loopback the answer can be there before.
    same(&(result["rtt_us"].as_i64() < Some(5_000_000)), &true, "a round trip time")
}

fn serf_leaves(roles: &Roles<'_>) -> Result<(), String> {
    let Pair { serf, bare } = pair(roles, &json!({}))?;
    serf.call(json!({"cmd": "leave"}));
    bare.wait_event("leave", SOON, |event| event["node"]["name"] == "serf");
    until("the serf node is gone", || member(&bare, "serf").is_null())
}

/// A leave without a preceding leave intent is regarded as a failure.
fn bare_leaves(roles: &Roles<'_>) -> Result<(), String> {
    let Pair { serf, bare } = pair(roles, &json!({}))?;
    bare.call(json!({"cmd": "leave"}));
    // It sends no intent. Ours nevertheless regards a dead message of the node about itself as a
    // leave; old releases do not mark it as such.
    let statuses: &[&str] = match (roles.serf.title == OURS, roles.bare.labels) {
        (false, _) => &["failed"],
        (true, true) => &["left"],
        (true, false) => &["left", "failed"],
    };
    until(&format!("serf lists bare as {statuses:?}"), || {
        member(&serf, "bare")["status"].as_str().is_some_and(|status| statuses.contains(&status))
    })
}

fn serf_dies(roles: &Roles<'_>) -> Result<(), String> {
    let Pair { serf, bare } = pair(roles, &json!({}))?;
    drop(serf); // SIGKILL
    bare.wait_event("leave", SOON, |event| event["node"]["name"] == "serf");
    Ok(())
}

fn bare_dies(roles: &Roles<'_>) -> Result<(), String> {
    let Pair { serf, bare } = pair(roles, &json!({}))?;
    drop(bare); // SIGKILL
    wait_status(&serf, "bare", "failed")
}

fn launch(program: &Path, config: Value) -> Result<GoPeer, String> {
    GoPeer::try_start(program.to_str().ok_or("the path of a program is not UTF-8")?, config)
}
