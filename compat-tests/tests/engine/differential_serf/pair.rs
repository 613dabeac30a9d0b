//! Both sides together.

use std::collections::BTreeMap;

use compat_tests::go::{self, GoFeed};
use ruserf::{
    serf::{LamportTime, Message, message},
    wire::{Bin, Ping, SeqNo},
};
use serde_json::{Value, json};

use super::{
    excluded::{self, Coalesced},
    ours::{Ours, show_member},
    step::{self, Step},
    view::{Sent, View},
};

/// Go's serf and our engine, each doing the same.
pub(crate) struct Pair {
    go: GoFeed,
    ours: Ours,
    /// Ids of own queries by their time: Go's and ours.
    ids: [BTreeMap<u64, u32>; 2],
    script: Vec<String>,
    /// Printed when the two differ.
    pub(crate) title: String,
    coalesced: Option<Coalesced>,
    /// Messages are sent more than once.
    repeats: bool,
    /// The script must end; see [`excluded::mixed_up_broadcasts`].
    pub(crate) mixed_up: bool,
    /// So few members can relay that Go's random tries may find none.
    pub(crate) few_relays: bool,
    /// Nothing is compared: the script is long, and what it leaves is compared.
    pub(crate) quick: bool,
}

impl Pair {
    /// Starts both with options of the Go harness beside those that make them quiet.
    pub(crate) fn start(options: Value) -> Self {
        let options = quiet(options);
        // Ours first: Go writes to the snapshot file that both read.
        let ours = Ours::start(&options);
        let go = GoFeed::start_serf(&options);
        let first = go.first().clone();
        let title = options.to_string();
        let repeats = options["retransmit_mult"] != 1;
        let coalesced = options.to_string().contains("coalesce").then(|| Coalesced::new(&options));
        let mut pair = Self {
            go,
            ours,
            ids: Default::default(),
            script: Vec::new(),
            title,
            coalesced,
            repeats,
            mixed_up: false,
            quick: false,
            few_relays: false,
        };
        pair.compare(vec![first], None);
        pair
    }

    /// Does a step on both sides and compares what can be seen.
    ///
    /// # Panics
    /// When something differs that is not excluded.
    pub(crate) fn step(&mut self, step: &Step) -> &mut Self {
        self.script.push(step.describe());
        let (go, error) = match self.reply(step) {
            Some([for_go, for_ours]) => (self.go.step(&for_go.to_go()), self.ours.apply(&for_ours)),
            None => (self.go.step(&step.to_go()), self.ours.apply(step)),
        };
        if !self.quick {
            self.compare(vec![go], error);
        }
        self
    }

    /// Several steps.
    pub(crate) fn steps(&mut self, steps: &[Step]) -> &mut Self {
        for step in steps {
            if !self.mixed_up {
                self.step(step);
            }
        }
        self
    }

    /// A step after which a node may be shut down: only its state of life is compared then.
    pub(crate) fn last(&mut self, step: &Step) {
        let go = self.go.step(&step.to_go());
        let _ = self.ours.apply(step);
        assert_eq!(go["state"], self.ours.state(), "{}\n{}", self.script.join("\n  "), go["logs"]);
    }

    /// Our engine, for a look at what the script reached.
    pub(crate) fn ours(&self) -> &Ours {
        &self.ours
    }

    /// A member's status, the same on both sides after each step.
    pub(crate) fn status(&self, name: &str) -> Option<String> {
        Some(self.ours.engine().member(name)?.status.to_string())
    }

    /// A reply carries the id of the query it answers, which each side chose itself.
    fn reply(&self, step: &Step) -> Option<[Step; 2]> {
        let Step::Reply { ltime, from, payload, ack, wrong_id } = step else { return None };
        Some([0, 1].map(|side| {
            let id = self.ids[side].get(ltime).copied().unwrap_or(7);
            step::serf(&Message::QueryResponse(message::QueryResponse {
                ltime: LamportTime(*ltime),
                id: if *wrong_id { id ^ 1 } else { id },
                from: from.as_bytes(),
                flags: u32::from(*ack),
                payload: if *ack { Bin::NIL } else { Bin::from(&payload[..]) },
            }))
        }))
    }

    fn compare(&mut self, mut answers: Vec<Value>, our_error: Option<String>) {
        // The ack of a ping carries all that waits to be gossiped.
        let ping = Ping { seq_no: SeqNo(1), node: b"self", ..Ping::default() };
        let mut packet = Vec::new();
        ping.encode(&mut packet);
        let state = step::push_pull_raw(false, &[], &[]);
        for look in [Step::Packet(packet.clone()), Step::Stream(state.clone())] {
            answers.push(self.go.step(&look.to_go()));
        }
        // Ours sends to members alone; the one that is always there is the node itself.
        self.ours.packet_from(OWN_ADDR.parse().expect("an address"), &packet);
        self.ours.sent.state = self.ours.stream(&state);

        let go = go_view(&answers);
        let ours = self.our_view(our_error);
        for (ids, view) in self.ids.iter_mut().zip([&go, &ours]) {
            ids.extend(&view.own_queries);
        }
        let (mut go, mut ours) = (go.topics, ours.topics);
        if let Some(coalesced) = &mut self.coalesced {
            coalesced.take_out(&mut go, &mut ours);
        }
        for view in [&mut go, &mut ours] {
            excluded::order_of_reaps(view);
        }
        excluded::answers_to_strangers(self, &mut go, &mut ours);
        if self.few_relays {
            excluded::relays(&mut go, &mut ours);
        }
        if self.repeats && excluded::mixed_up_broadcasts(&go, &ours) {
            self.mixed_up = true;
            return;
        }
        for (topic, theirs) in &go {
            let mine = &ours[topic];
            assert!(
                theirs == mine,
                "{topic} differ\n  Go:   {theirs}\n  ours: {mine}\n{}\nsteps:\n  {}\nGo's log: {}",
                self.title,
                self.script.join("\n  "),
                answers.iter().map(|answer| answer["logs"].to_string()).collect::<String>(),
            );
        }
    }

    fn our_view(&mut self, error: Option<String>) -> View {
        let mut view = View::default();
        let sent = std::mem::take(&mut self.ours.sent);
        view.add_sent(&sent, "self", OWN_ADDR);
        let engine = self.ours.engine();
        let members = engine.members().map(|member| show_member(member)).collect::<Vec<_>>();
        view.topics.insert("members", json!(members));
        let mut stats = engine.stats();
        // Go does not say how its key is used.
        stats.retain(|key, _| !["keys", "key_age_seconds", "key_messages"].contains(key));
        view.topics.insert("stats", json!(stats));
        view.topics.insert("life", json!(self.ours.state()));
        view.topics.insert("error", json!(error));
        view.topics.insert("events", std::mem::take(&mut self.ours.events).into());
        view.topics.insert("progress", sorted(std::mem::take(&mut self.ours.progress)));
        view
    }
}

fn go_view(answers: &[Value]) -> View {
    let mut view = View::default();
    let mut sent = Sent::default();
    let (mut events, mut progress) = (Vec::new(), Vec::new());
    for answer in answers {
        for capture in answer["sent"].as_array().expect("a list") {
            let bytes = hex::decode(capture["hex"].as_str().expect("hex")).expect("hex");
            let to = capture["to"].as_str().expect("an address").to_owned();
            match capture["kind"].as_str() {
                Some("packet") => sent.packets.push((to, bytes)),
                Some("stream") => sent.dialled.push((to, bytes)),
                _ => {}
            }
        }
        for event in answer["events"].as_array().expect("a list") {
            let mut event = event.clone();
            if event.get("payload").is_some_and(Value::is_null) {
                event["payload"] = json!("");
            }
            match event["event"].as_str().expect("a name") {
                "query-ack" | "query-response" | "query-done" | "answered" | "merge" => {
                    progress.push(event);
                }
                // A refused operation comes with an empty response.
                "keys"
                    if event["num_resp"] == 0
                        && event["num_nodes"] == 0
                        && event.get("error").is_some() =>
                {
                    progress.push(json!({
                        "event": "done", "step": event["step"], "error": event["error"],
                    }))
                }
                "keys" | "done" => {
                    let failed = event.get("error").is_some();
                    if failed && event["step"] == "join" && event["error"] != NOT_ALIVE {
                        event["error"] = json!(true);
                    }
                    progress.push(event);
                }
                _ => events.push(event),
            }
        }
    }
    let last = answers.last().expect("a look at the state");
    sent.state = hex::decode(last["reply"].as_str().unwrap_or_default()).expect("hex");
    view.add_sent(&sent, "self", OWN_ADDR);
    let members = last["members"].as_array().expect("a list").iter().map(|member| {
        let mut member = member.clone();
        // Compared through the push/pull.
        member.as_object_mut().expect("an object").remove("status_ltime");
        member
    });
    view.topics.insert("members", members.collect());
    view.topics.insert("stats", last["stats"].clone());
    view.topics.insert("life", last["state"].clone());
    view.topics.insert("error", answers[0]["error"].clone());
    view.topics.insert("events", events.into());
    view.topics.insert("progress", sorted(progress));
    view
}

fn sorted(mut list: Vec<Value>) -> Value {
    list.sort_by_key(Value::to_string);
    list.into()
}

/// Options of the Go harness with those that make a node quiet.
pub(crate) fn quiet(mut options: Value) -> Value {
    let given = options.as_object_mut().expect("options are an object");
    for (name, value) in [
        ("name", json!("self")),
        ("compression", json!(false)),
        ("verify_incoming", json!(false)),
        ("verify_outgoing", json!(false)),
        // Each message is seen once, and all of them at once.
        ("retransmit_mult", json!(1)),
        ("udp_buffer_size", json!(60_000)),
        ("reconnect_interval_ms", json!(1_000_000_000)),
        ("protocol", json!(5)),
    ] {
        given.entry(name).or_insert(value);
    }
    options
}

/// Bytes that Go and ours have in common as a key.
pub(crate) fn key(byte: u8) -> String {
    go::base64([byte; 32])
}

const OWN_ADDR: &str = "10.0.0.1:7946";
const NOT_ALIVE: &str = "Serf can't Join after Leave or Shutdown";
