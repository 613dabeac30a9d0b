//! The one place where differences are let through. Each has its row in docs/differences.md.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::pair::Pair;

/// Row "broadcasts while more than 16 packets wait": own and relayed messages are not pruned alike,
/// so random scripts never reach this depth. (`long_queues_are_pruned` compares relayed ones.)
pub(crate) const QUEUE_DEPTH: u32 = 4_096;

/// Row "pruned member that lives on": a member that was pruned although it lives is never listed
/// again by Go, but by us when it says something. A script ends here.
pub(crate) fn pruned_while_it_lives(pair: &Pair, name: &str, lives: bool) -> bool {
    lives && pair.status(name).is_none()
}

/// The same for generated scripts: only those that are gone are pruned. (Row "prune of a leaving
/// member": Go erases it even when it has refuted.)
pub(crate) fn may_prune(pair: &Pair, name: &str) -> bool {
    name != "self" && matches!(pair.status(name).as_deref(), None | Some("left" | "failed"))
}

/// Row "late suspect or dead evidence" of the membership engine: only the living die.
pub(crate) fn may_die(pair: &Pair, name: &str) -> bool {
    matches!(pair.status(name).as_deref(), Some("alive" | "leaving"))
}

/// Row "dead message of a node about itself without a leave intent": left here, failed in Go.
pub(crate) fn may_go(pair: &Pair, name: &str) -> bool {
    pair.status(name).as_deref() != Some("alive")
}

/// Random in Go: its refutation of a leave that came in a push/pull takes the clock of the
/// moment, while other names of the same push/pull, in random order, move it.
pub(crate) fn refutes_amid_others(names: &[&[u8]], left: usize) -> bool {
    names.len() > 1 && names.iter().take(left).any(|name| *name == b"self")
}

/// Row "answers to pings" of the membership engine: only members get gossip and a payload above the
/// size of the ping. A node that refuses even itself has no member to observe it.
pub(crate) fn answers_to_strangers(
    pair: &Pair,
    go: &mut BTreeMap<&'static str, Value>,
    ours: &mut BTreeMap<&'static str, Value>,
) {
    if pair.status("self").is_none() {
        for topic in ["ack payload", "gossip", "own alive messages"] {
            for view in [&mut *go, &mut *ours] {
                view.insert(topic, Value::Array(Vec::new()));
            }
        }
    }
}

/// Row "own record after a leave": Go crashes once its own tombstone is reaped. A script ends here.
pub(crate) fn forgot_itself(pair: &Pair) -> bool {
    pair.status("self").is_none()
}

/// Row "answers of late joiners": Go has room for as many answers as nodes were alive; after a
/// leave that is none, and whether one arrives is a race.
pub(crate) fn may_ask(pair: &Pair) -> bool {
    pair.ours().state() == "alive"
}

/// Row "tag expressions": a repetition right after a flag group does not compile here.
pub(crate) fn repeats_flags(expr: &str) -> bool {
    expr.split("(?").skip(1).any(|rest| {
        let after = rest.trim_start_matches(['i', 's', 'm', 'U', '-']);
        after.strip_prefix(')').is_some_and(|after| after.starts_with(['*', '+', '?', '{']))
    })
}

/// Row "relay messages": Go forwards all that follows the header, also nothing at all.
pub(crate) fn relays_no_answer(kind: u8, body: &[u8]) -> bool {
    let header_is_whole = !matches!(body, b"" | b"\xc1");
    kind == 9 && header_is_whole
}

/// Row "member coalescer": Go reports an update again with every later flush. Of both coalescers
/// the order within a flush is random, except for user events of one name.
pub(crate) struct Coalesced {
    reported: BTreeSet<String>,
    members: bool,
}

impl Coalesced {
    pub(crate) fn new(options: &Value) -> Self {
        Self { reported: BTreeSet::new(), members: options.get("coalesce_period_ms").is_some() }
    }

    fn order(&self, event: &Value) -> (u8, String) {
        if event.get("members").is_some() && self.members {
            (2, event.to_string())
        } else if event["coalesce"] == true {
            (1, event["name"].to_string())
        } else {
            (0, String::new())
        }
    }
}

impl Coalesced {
    pub(crate) fn take_out(
        &mut self,
        go: &mut BTreeMap<&'static str, Value>,
        ours: &mut BTreeMap<&'static str, Value>,
    ) {
        let before = self.reported.clone();
        for view in [&mut *go, ours] {
            let mut reported = before.clone();
            let events = view.get_mut("events").and_then(Value::as_array_mut).expect("a list");
            for event in &mut *events {
                let is_update = event["event"] == "member-update" && self.members;
                let Some(members) = event["members"].as_array_mut() else { continue };
                members.sort_by_key(Value::to_string);
                if is_update {
                    members.retain(|member| reported.insert(member.to_string()));
                }
            }
            events.retain(|event| event["members"] != Value::Array(Vec::new()));
            events.sort_by_key(|event| self.order(event));
            self.reported.append(&mut reported);
        }
    }
}

/// Row "numbers of broadcasts": Go numbers from 1 again when a packet took all that waits, although
/// some of it comes back. Among messages of one length "the newest" is another one then, or one
/// message takes the place of another. A script ends here.
pub(crate) fn mixed_up_broadcasts(
    go: &BTreeMap<&'static str, Value>,
    ours: &BTreeMap<&'static str, Value>,
) -> bool {
    let mut topics = [go, ours].map(|view| view.clone());
    let mut waiting = [0, 0];
    for (view, waiting) in topics.iter_mut().zip(&mut waiting) {
        let gossip = view.get_mut("gossip").and_then(Value::as_array_mut).expect("a list");
        gossip.sort_by_key(|message| message[1].to_string().len());
        *waiting += gossip.len();
        let lens = gossip.iter().map(|m| Value::from(m[1].to_string().len())).collect();
        view.insert("gossip", lens);
        let stats = view.get_mut("stats").and_then(Value::as_object_mut).expect("stats");
        for queue in ["intent_queue", "event_queue", "query_queue"] {
            let len = stats.remove(queue).expect("a length");
            *waiting += len.as_str().and_then(|len| len.parse::<usize>().ok()).expect("a number");
        }
    }
    go != ours && topics[0] == topics[1] && waiting[0] <= waiting[1]
}

/// Go erases the members of one tick in the order of a list that each removal shuffles.
pub(crate) fn order_of_reaps(view: &mut BTreeMap<&'static str, Value>) {
    let events = view.get_mut("events").and_then(Value::as_array_mut).expect("a list");
    let is_reap = |event: &Value| event["event"] == "member-reap";
    for run in events.chunk_by_mut(|a, b| is_reap(a) && is_reap(b)) {
        run.sort_by_key(Value::to_string);
    }
}

/// Go finds helpers by random tries and may find none: compared only where both relayed the same
/// number of messages.
pub(crate) fn relays(
    go: &mut BTreeMap<&'static str, Value>,
    ours: &mut BTreeMap<&'static str, Value>,
) {
    let is_relay = |message: &Value| message[0] == "(a relay)";
    let count = |view: &BTreeMap<&'static str, Value>| {
        let list = view["direct messages"].as_array().expect("a list");
        list.iter().filter(|message| is_relay(message)).count()
    };
    if count(go) != count(ours) {
        for view in [go, ours] {
            let direct = view.get_mut("direct messages").and_then(Value::as_array_mut);
            direct.expect("a list").retain(|message| !is_relay(message));
        }
    }
}
