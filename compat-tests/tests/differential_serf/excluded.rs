//! The one place where differences are let through. Each has its row in docs/differences.md.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::pair::Pair;

/// Row "pruned member that lives on": a member that was pruned although it lives is never listed
/// again by Go, but by us when it says something. A script ends here.
pub(crate) fn pruned_while_it_lives(pair: &Pair, name: &str, lives: bool) -> bool {
    lives && pair.status(name).is_none()
}

/// Row "relay messages": Go forwards whatever stands behind the header, also nothing at all.
pub(crate) fn relays_no_answer(kind: u8, body: &[u8]) -> bool {
    let header_is_whole = !matches!(body, b"" | b"\xc1");
    kind == 9 && header_is_whole
}

/// Row "member coalescer": Go tells an update again with every later flush; and its order within
/// a flush is random.
#[derive(Default)]
pub(crate) struct Coalesced {
    told: BTreeSet<String>,
}

impl Coalesced {
    pub(crate) fn take_out(
        &mut self,
        go: &mut BTreeMap<&'static str, Value>,
        ours: &mut BTreeMap<&'static str, Value>,
    ) {
        let mut updates = Vec::new();
        for view in [&mut *go, ours] {
            let events = view.get_mut("events").and_then(Value::as_array_mut).expect("a list");
            for event in &mut *events {
                let is_update = event["event"] == "member-update";
                let Some(members) = event["members"].as_array_mut() else { continue };
                members.sort_by_key(Value::to_string);
                if is_update {
                    updates.extend(members.iter().map(Value::to_string));
                    members.retain(|member| !self.told.contains(&member.to_string()));
                }
            }
            events.retain(|event| event["members"] != Value::Array(Vec::new()));
            events.sort_by_key(Value::to_string);
        }
        self.told.extend(updates);
    }
}

/// Go finds helpers by random tries and may find none: compared only where both found some.
pub(crate) fn relays(
    go: &mut BTreeMap<&'static str, Value>,
    ours: &mut BTreeMap<&'static str, Value>,
) {
    let is_relay = |message: &Value| message[0] == "(a relay)";
    let has = |view: &BTreeMap<&'static str, Value>| {
        view["direct messages"].as_array().is_some_and(|list| list.iter().any(is_relay))
    };
    if has(go) != has(ours) {
        for view in [go, ours] {
            let direct = view.get_mut("direct messages").and_then(Value::as_array_mut);
            direct.expect("a list").retain(|message| !is_relay(message));
        }
    }
}
