//! A cluster of whole Serf engines with events, queries, tags, leaves, crashes and short isolations
//! drawn from a seed, followed by a quiet minute.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Cluster, Link, NodeId,
    invariants::Violation,
    invariants::serf::{self, SerfInvariant, SerfTruth},
};
use crate::{
    base::{Mutation, Rng},
    serf::{Config, QueryParams},
};

/// One run.
#[derive(Clone)]
pub struct SerfSwarm {
    /// Number of nodes.
    pub nodes: u32,
    /// Seed of all random choices.
    pub seed: u64,
    /// A deliberate bug, if any.
    pub mutation: Option<Mutation>,
    /// Duration of the active phase; default 60 s.
    pub fault_time: Duration,
}

impl SerfSwarm {
    /// Creates a run with the defaults.
    pub fn new(nodes: u32, seed: u64) -> Self {
        Self { nodes, seed, mutation: None, fault_time: Duration::from_secs(60) }
    }

    /// Performs the run; returns the violations.
    pub fn run(&self) -> Vec<Violation> {
        let mut run = Run::new(self);
        let formed = run.cluster.run_until(FORM_TIME, Cluster::agrees);
        if !formed {
            run.note("members_agree", "the cluster did not form");
            return run.violations;
        }
        run.act(self.fault_time);
        run.settle();
        run.violations
    }
}

struct Run {
    cluster: Cluster,
    truth: SerfTruth,
    rules: Vec<Box<dyn SerfInvariant>>,
    violations: Vec<Violation>,
    rng: Rng,
    /// When crashed nodes restart.
    back: BTreeMap<NodeId, u64>,
    /// The isolated node, and until when.
    isolated: Option<(NodeId, u64)>,
    acts: u32,
}

impl Run {
    fn new(swarm: &SerfSwarm) -> Self {
        let link = Link { duplication: 0.1, ..Link::default() };
        let mut cluster = Cluster::with_link(swarm.seed, link);
        for index in 0..swarm.nodes {
            let mut config = Config::lan(&format!("node-{index}"));
            config.swim.codec.compression = false.into();
            config.swim.mutation = swarm.mutation;
            config.reap_interval = REAP_INTERVAL;
            (config.tombstone_timeout, config.reconnect_timeout) = (KEEP_GONE, KEEP_GONE);
            let node = cluster
                .add(config, Some(String::new()))
                .expect("the settings of a simulated node are sound");
            if index > 0 {
                let _ = cluster.join(node, &[NodeId(0)]);
            }
        }
        Self {
            cluster,
            truth: SerfTruth::new(swarm.nodes),
            rules: serf::all(KEEP_GONE + 2 * REAP_INTERVAL),
            violations: Vec::new(),
            rng: Rng::from_u64(swarm.seed ^ 0x5e2f),
            back: BTreeMap::new(),
            isolated: None,
            acts: 0,
        }
    }

    fn act(&mut self, time: Duration) {
        let end = self.cluster.now() + time;
        while self.cluster.now() < end && !self.is_over() {
            self.one_act();
            let pause = Duration::from_millis(700 + self.rng.below(1500) as u64);
            self.run_for(pause);
        }
    }

    /// Restarts the remaining nodes and waits until the cluster agrees; then nothing happens for a
    /// minute.
    fn settle(&mut self) {
        self.back.values_mut().for_each(|at| *at = 0);
        self.run_for(ISOLATION);
        let end = self.cluster.now() + AGREE_TIME;
        while !self.cluster.agrees() && !self.is_over() {
            if self.cluster.now() > end {
                return self.note("members_agree", "no agreed view after the recovery");
            }
            self.run_for(STEP);
        }
        self.run_for(WATCH_TIME);
        for rule in &mut self.rules {
            self.violations.extend(rule.check_end(&self.cluster, &self.truth));
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.cluster.now() + time;
        while self.cluster.now() < end && !self.is_over() {
            self.cluster.run_for(STEP.min(end - self.cluster.now()));
            self.come_back();
            for rule in &mut self.rules {
                self.violations.extend(rule.check(&self.cluster, &self.truth));
            }
        }
    }

    /// Whether the run can stop: with this many violations it might not end otherwise.
    fn is_over(&self) -> bool {
        self.violations.len() >= VIOLATIONS_MAX
    }

    fn come_back(&mut self) {
        let now = self.cluster.now().as_nanos();
        if let Some((node, _)) = self.isolated.take_if(|(_, until)| *until <= now) {
            self.cluster.heal();
            self.truth.disturb(node, now);
        }
        let due: Vec<_> = self.back.iter().filter(|(_, at)| **at <= now).map(|(n, _)| *n).collect();
        for node in due {
            self.back.remove(&node);
            let _ = self.cluster.restart(node);
            self.truth.born(node, now);
        }
    }

    fn one_act(&mut self) {
        self.acts += 1;
        let now = self.cluster.now().as_nanos();
        let Some(node) = self.idle_node() else { return };
        match self.rng.below(10) {
            0..=3 => self.send_event(node),
            4 | 5 => {
                let params =
                    QueryParams { request_ack: true, relay_factor: 2, ..Default::default() };
                if let Ok(id) = self.cluster.query(node, "who", Vec::new(), &params) {
                    self.truth.asked.push((node, id));
                }
            }
            6 => {
                let value = self.acts.to_string();
                let _ = self.cluster.set_tags(node, [("act", value.as_str())]);
            }
            7 if self.isolated.is_none() => {
                let nanos = ISOLATION.as_nanos() as u64;
                self.isolated = Some((node, now + nanos));
                self.cluster.partition(&[node]);
                self.truth.disturb(node, now + nanos);
                if let Some(other) = self.idle_node().filter(|other| *other != node) {
                    self.send_event(other);
                }
            }
            8 if self.truth.gone() < self.truth.nodes() / 4 => {
                self.cluster.crash(node);
                self.truth.die(node, now, false);
                if self.rng.below(3) > 0 {
                    let wait = Duration::from_millis(500 + self.rng.below(30_000) as u64);
                    self.back.insert(node, now + wait.as_nanos() as u64);
                }
            }
            9 if self.truth.gone() < self.truth.nodes() / 4 => {
                // A leave takes some seconds; the process ends when the rule has seen it.
                let _ = self.cluster.leave(node);
                self.truth.die(node, now, true);
                self.run_for(LEAVE_TIME);
                self.cluster.crash(node);
            }
            _ => {}
        }
    }

    fn send_event(&mut self, node: NodeId) {
        let name = format!("event-{}", self.truth.sent.len());
        if self.cluster.user_event(node, &name, vec![0; 20]).is_ok() {
            self.truth.send(node, self.cluster.now().as_nanos(), name);
        }
    }

    /// A node that is currently undisturbed.
    fn idle_node(&mut self) -> Option<NodeId> {
        let isolated = self.isolated.map(|(node, _)| node);
        let idle: Vec<_> = self
            .cluster
            .running()
            .filter(|node| Some(*node) != isolated && self.truth.is_up(*node))
            .collect();
        idle.get(self.rng.below(idle.len())).copied()
    }

    fn note(&mut self, rule: &'static str, detail: &str) {
        let (at, detail) = (self.cluster.now().as_nanos(), detail.to_owned());
        self.violations.push(Violation { rule, at, observer: 0, subject: 0, detail });
    }
}

const STEP: Duration = Duration::from_secs(1);
const FORM_TIME: Duration = Duration::from_secs(60);
const AGREE_TIME: Duration = Duration::from_secs(120);
const WATCH_TIME: Duration = Duration::from_secs(60);
/// Shorter than the least suspicion, so that no node is declared dead.
const ISOLATION: Duration = Duration::from_millis(3_500);
/// Longest graceful leave in a cluster at work.
const LEAVE_TIME: Duration = Duration::from_secs(6);
const REAP_INTERVAL: Duration = Duration::from_secs(5);
/// How long failed and left members are kept.
const KEEP_GONE: Duration = Duration::from_secs(60);
const VIOLATIONS_MAX: usize = 100;
