//! Scripts made at random, each from its seed.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use ruserf::{
    base::Rng,
    serf::{Filter, LamportTime, MsgpackTransform, TransformDelegate, message},
    wire::Bin,
};
use serde_json::{Value, json};

use super::{
    excluded,
    pair::{Pair, key},
    step::{self, Query, Step},
};

#[test]
fn random_scripts_do_the_same_to_both() {
    if let Some(seed) = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        run(seed);
        return;
    }
    let (next, cut) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= SCRIPTS {
                        break;
                    }
                    cut.fetch_add(run(seed).into(), Ordering::Relaxed);
                }
            });
        }
    });
    let cut = cut.into_inner();
    assert!(cut <= SCRIPTS / 50, "{cut} scripts had to end early");
}

/// Gives whether the script had to end early.
fn run(seed: u64) -> bool {
    let mut script = Script { rng: Rng::from_u64(seed), clocks: [1; 3], keys: false };
    let mut pair = Pair::start(script.options());
    pair.few_relays = true;
    pair.title = format!("SEED={seed} {}", pair.title);
    let reply = script.push_pull(true);
    pair.step(&Step::Peer { addr: PEER.parse().expect("an address"), reply });
    for _ in 0..STEPS {
        if excluded::forgot_itself(&pair) || pair.mixed_up {
            break;
        }
        let stats = pair.ours().engine().stats();
        script.clocks = ["member_time", "event_time", "query_time"]
            .map(|name| stats[name].parse().expect("a number"));
        let steps = script.next(&pair);
        pair.steps(&steps);
    }
    pair.mixed_up
}

/// Makes steps that fit the state of the node, mostly.
struct Script {
    rng: Rng,
    /// Member, event and query time.
    clocks: [u64; 3],
    /// The node has a keyring.
    keys: bool,
}

impl Script {
    fn options(&mut self) -> Value {
        let mut options = json!({
            "protocol": self.one_of(&[4, 5]),
            "retransmit_mult": self.one_of(&[1, 1, 2, 4]),
            "udp_buffer_size": self.one_of(&[60_000, 1_400, 500]),
            "event_buffer": self.one_of(&[4, 16, 512]),
            "query_buffer": self.one_of(&[4, 16, 512]),
            "user_event_size_limit": self.one_of(&[512, 60]),
            "query_size_limit": self.one_of(&[1_024, 130]),
            "query_response_size_limit": self.one_of(&[1_024, 90]),
            "reap_interval_ms": self.one_of(&[15_000, 1_000]),
            "reconnect_timeout_ms": self.one_of(&[86_400_000, 9_000]),
            "tombstone_timeout_ms": self.one_of(&[86_400_000, 7_000]),
            "recent_intent_timeout_ms": self.one_of(&[300_000, 5_000]),
            "broadcast_timeout_ms": self.one_of(&[5_000, 300]),
            "max_queue_depth": excluded::QUEUE_DEPTH,
            "serf_queue_check_interval_ms": self.one_of(&[30_000, 700]),
            "answer_ms": self.one_of(&[0, 0, 900]),
            "tags": self.one_of(&[
                json!({}), json!({"role": "web"}), json!({"role": "db", "dc": "x"}),
            ]),
        });
        let mut also = |name: &str, value: Value, chance| {
            if self.rng.below(chance) == 0 {
                options[name] = value;
            }
        };
        also("answer", json!("an answer"), 2);
        also("keyring", json!([key(1), key(2)]), 2);
        if self.rng.below(5) == 0 {
            options["coalesce_period_ms"] = json!(1_500);
            options["quiescent_period_ms"] = json!(400);
        }
        if self.rng.below(5) == 0 {
            options["user_coalesce_period_ms"] = json!(1_500);
            options["user_quiescent_period_ms"] = json!(400);
        }
        self.keys = options.get("keyring").is_some();
        options
    }

    fn next(&mut self, pair: &Pair) -> Vec<Step> {
        vec![match self.rng.below(100) {
            0..12 => {
                let tags = self.one_of(&[&[][..], &[("role", "web")], &[("role", "db")]]);
                step::alive(self.number(), self.incarnation(), tags)
            }
            12..20 => {
                let (node_number, from) = (self.number(), self.number());
                let node = format!("n{node_number}");
                if !excluded::may_die(pair, &node)
                    || (from == node_number && !excluded::may_go(pair, &node))
                {
                    return vec![Step::Advance(10)];
                }
                step::dead(&node, self.incarnation(), &format!("n{from}"))
            }
            20..30 => {
                let (name, ltime) = (self.name(), self.near(0));
                let prune = self.rng.below(3) == 0 && excluded::may_prune(pair, &name);
                step::leave_or_prune(ltime, &name, prune)
            }
            30..38 => step::join(self.near(0), &self.name()),
            38..48 => {
                let (name, payload) = (self.one_of(&["a", "b", "a-long-name"]), self.payload());
                step::user(self.near(1), name, &payload, self.rng.below(2) == 0)
            }
            48..58 => self.query(),
            58..64 => Step::Event {
                name: self.one_of(&["a", "own"]).to_owned(),
                payload: self.payload(),
                coalesce: self.rng.below(2) == 0,
            },
            64..70 if excluded::may_ask(pair) => self.ask(),
            70..76 => Step::Reply {
                ltime: self.near(2),
                from: self.name(),
                payload: self.payload(),
                ack: self.rng.below(2) == 0,
                wrong_id: self.rng.below(8) == 0,
            },
            76..82 => {
                let join = self.rng.below(2) == 0;
                Step::Stream(self.push_pull(join))
            }
            82..84 => {
                let value = self.one_of(&["web", "db", ""]);
                Step::SetTags([("role".to_owned(), value.to_owned())].into())
            }
            84..87 => {
                let name = self.name();
                let prune = self.rng.below(2) == 0 && excluded::may_prune(pair, &name);
                Step::ForceLeave { name, prune }
            }
            87..90 => {
                let to = self.one_of(&[PEER, PEER, "10.0.0.99:7946"]);
                let ignore_old = self.rng.below(3) == 0;
                Step::Join { to: vec![to.parse().expect("an address")], ignore_old }
            }
            90..91 if self.rng.below(3) == 0 => Step::Leave,
            91..93 if excluded::may_ask(pair) => return self.key_operation(),
            _ => Step::Advance(self.one_of(&[1, 100, 450, 1_000, 1_550, 4_000, 12_000])),
        }]
    }

    fn query(&mut self) -> Step {
        let names = ["q", "r", "_serf_ping", "_serf_conflict", "_serf_list-keys", "_serf_x"];
        let name = self.one_of(&names);
        let ltime = self.near(2);
        let mut asked =
            step::asked(ltime, 1 + u32::try_from(self.rng.below(3)).expect("small"), name);
        asked.flags = self.one_of(&[0, 1, 1, 2, 3]);
        asked.relay_factor = self.one_of(&[0, 0, 0, 1, 3]);
        asked.timeout_ns = self.one_of(&[5_000_000_000, 1_000_000, 0]);
        let filter = self.one_of(&[
            Filter::Nodes(vec![b"self", b"n1"]),
            Filter::Nodes(vec![b"n1"]),
            Filter::Tag { tag: b"role", expr: b"^w" },
        ]);
        let mut raw = Vec::new();
        MsgpackTransform.encode_filter(&filter, &mut raw);
        if self.rng.below(3) == 0 {
            asked.filters = vec![Bin::from(&raw[..])];
        }
        let payload = match name {
            "_serf_conflict" => self.name().into_bytes(),
            "_serf_list-keys" => b"\x07\x80".to_vec(),
            _ => self.payload(),
        };
        asked.payload = Bin::from(&payload[..]);
        step::query(&asked)
    }

    fn ask(&mut self) -> Step {
        let nodes = self.one_of(&[&[][..], &[], &["n1", "n2"], &["self"]]);
        let tags = self.one_of(&[&[][..], &[], &[("role", "web|db")]]);
        let tags = tags.iter().map(|(name, expr)| ((*name).to_owned(), (*expr).to_owned()));
        Step::Query(Query {
            name: self.one_of(&["q", "own"]).to_owned(),
            payload: self.payload(),
            nodes: nodes.iter().map(|name| (*name).to_owned()).collect(),
            tags: tags.collect(),
            ack: self.rng.below(2) == 0,
            relay_factor: self.one_of(&[0, 0, 2]),
            ms: self.one_of(&[0, 50, 2_000]),
        })
    }

    /// A whole one: Go lets the next one wait for its end.
    fn key_operation(&mut self) -> Vec<Step> {
        let op = self.one_of(&["install-key", "use-key", "remove-key", "list-keys"]);
        let number = self.one_of(&[1, 2, 3]);
        vec![Step::Keys { op, key: key(number) }, Step::Advance(12_000)]
    }

    fn push_pull(&mut self, join: bool) -> Vec<u8> {
        let mut alive = Vec::new();
        for number in 1..=3 {
            if self.rng.below(3) == 0 {
                alive.push(number);
            }
        }
        let mut names = ["self", "n1", "n2", "n3", "n4", "ghost"];
        self.rng.shuffle(&mut names);
        let known = self.rng.below(names.len());
        let names = names.iter().take(known).map(|name| name.as_bytes()).collect::<Vec<_>>();
        let mut left = self.rng.below(3).min(names.len());
        if excluded::refutes_amid_others(&names, left) || join {
            left = 0;
        }
        let payload = self.payload();
        let mut slots = Vec::new();
        for _ in 0..self.rng.below(4) {
            let event = message::RecentEvent { name: b"a", payload: Bin::from(&payload[..]) };
            let slot =
                message::UserEvents { ltime: LamportTime(self.near(1)), events: vec![event] };
            slots.push((self.rng.below(4) != 0).then_some(slot));
        }
        let statuses = names.iter().map(|name| (*name, LamportTime(self.near(0)))).collect();
        let state = message::PushPull {
            ltime: LamportTime(self.near(0)),
            status_ltimes: statuses,
            left_members: names.iter().take(left).copied().collect(),
            event_ltime: LamportTime(self.near(1)),
            events: slots,
            query_ltime: LamportTime(self.near(2)),
        };
        step::push_pull(join, &alive, &state)
    }

    /// A time about that of a clock, seldom far from it.
    fn near(&mut self, clock: usize) -> u64 {
        let spread = if self.rng.below(10) == 0 { 40 } else { 4 };
        let offset = self.rng.below(2 * spread) as u64;
        (self.clocks[clock] + offset).saturating_sub(spread as u64)
    }

    fn number(&mut self) -> u8 {
        1 + u8::try_from(self.rng.below(5)).expect("small")
    }

    fn incarnation(&mut self) -> u32 {
        1 + u32::try_from(self.rng.below(6)).expect("small")
    }

    fn name(&mut self) -> String {
        self.one_of(&["self", "n1", "n1", "n2", "n2", "n3", "n4", "n5", "ghost"]).to_owned()
    }

    fn payload(&mut self) -> Vec<u8> {
        vec![b'p'; self.one_of(&[0, 1, 1, 2, 30, 45, 60])]
    }

    fn one_of<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.rng.below(list.len())].clone()
    }
}

const SCRIPTS: u64 = 220;
const STEPS: usize = 30;
const THREADS: usize = 3;
const PEER: &str = "10.0.0.50:7946";
