//! Swarm testing: exposes a cluster to a mixture of faults drawn from a seed, then lets it recover.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::{
    ClusterSpec, Network, Oracle, SwimNode, TruthState, World,
    faults::{Fault, Plan},
    forge::Forger,
    invariants::{self, Invariant, View, Violation},
    network::Traffic,
};
use crate::base::{Instant, Rng};

/// Kinds of faults in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Any fault, on any node.
    Storm,
    /// Few faults, none of which excuses the other nodes; no push/pull.
    Calm,
    /// An adversary forges messages.
    Byzantine,
}

/// One run of the swarm.
#[derive(Clone)]
pub struct Swarm {
    /// Kinds of faults.
    pub weather: Weather,
    /// The cluster; its seed also determines the faults.
    pub cluster: ClusterSpec,
    /// Duration of the faults; default 120 s.
    pub fault_time: Duration,
    /// Longest time to recover afterwards; default 10 min.
    pub recovery_max: Duration,
    /// Time between two scans of all views; default 5 s.
    pub scan_interval: Duration,
    /// A plan to use instead of the one drawn from the seed.
    pub plan: Option<Plan>,
}

/// Results of a run.
#[derive(Clone, Debug)]
pub struct SwarmReport {
    /// Seed.
    pub seed: u64,
    /// Number of nodes.
    pub nodes: u32,
    /// Whether they have `fast_detection`.
    pub fast_detection: bool,
    /// Number of faults performed.
    pub faults: usize,
    /// Violations of rules; should be empty.
    pub violations: Vec<Violation>,
    /// Time until the cluster agreed again, if it did.
    pub recovery: Option<Duration>,
    /// Number of events handled.
    pub events: u64,
    /// Most broadcasts queued by one node at a scan.
    pub queued_max: usize,
    /// The last lines of the trace, if one is kept and a rule was violated.
    pub trace: String,
}

impl Swarm {
    /// Creates a run with the defaults.
    pub fn new(cluster: ClusterSpec) -> Self {
        Self {
            weather: Weather::Storm,
            cluster,
            fault_time: Duration::from_secs(120),
            recovery_max: Duration::from_secs(600),
            scan_interval: Duration::from_secs(5),
            plan: None,
        }
    }

    /// Creates a run with rules for undisturbed nodes: news spreads by gossip only and is checked
    /// every half second.
    pub fn calm(mut cluster: ClusterSpec) -> Self {
        cluster.config.push_pull_interval = Duration::ZERO;
        Self {
            weather: Weather::Calm,
            fault_time: Duration::from_secs(60),
            recovery_max: Duration::from_secs(120),
            scan_interval: Duration::from_millis(500),
            ..Self::new(cluster)
        }
    }

    /// Creates a run with an adversary.
    pub fn byzantine(cluster: ClusterSpec) -> Self {
        Self {
            weather: Weather::Byzantine,
            fault_time: Duration::from_secs(30),
            recovery_max: Duration::from_secs(180),
            scan_interval: Duration::from_secs(1),
            ..Self::new(cluster)
        }
    }

    /// Performs the run.
    pub fn run(&self) -> SwarmReport {
        let (seed, nodes, time) = (self.cluster.seed, self.cluster.nodes, self.fault_time);
        let plan = self.plan.clone().unwrap_or_else(|| match self.weather {
            Weather::Storm => Plan::draw(seed, nodes, time),
            Weather::Calm => Plan::draw_calm(seed, nodes, time, self.cluster.config.fast_detection),
            Weather::Byzantine => Plan::draw_byzantine(seed, nodes, time),
        });
        let spec = ClusterSpec { link: plan.link, ..self.cluster.clone() };
        let mut run = Run::new(self, &spec);
        run.suffer(&plan);
        let recovery = run.recover();
        let violations = run.violations;
        let trace = if violations.is_empty() { String::new() } else { run.world.trace() };
        SwarmReport {
            seed: spec.seed,
            nodes: spec.nodes,
            fast_detection: spec.config.fast_detection,
            faults: plan.steps.len(),
            violations,
            recovery,
            events: run.world.events_handled(),
            queued_max: run.queued_max,
            trace,
        }
    }
}

impl fmt::Display for SwarmReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recovery = self.recovery.map_or("never".to_owned(), |time| format!("{time:.1?}"));
        writeln!(
            f,
            "SEED={} nodes={} faults={} events={} queued_max={} recovery={recovery} violations={}",
            self.seed,
            self.nodes,
            self.faults,
            self.events,
            self.queued_max,
            self.violations.len()
        )?;
        for violation in self.violations.iter().take(VIOLATIONS_SHOWN) {
            writeln!(f, "  {violation}")?;
        }
        if !self.violations.is_empty() {
            writeln!(
                f,
                "  commit {}; replay: serf simulate --scenario swarm --nodes {} --seed {}{}",
                commit(),
                self.nodes,
                self.seed,
                if self.fast_detection { " --fast-detection" } else { "" }
            )?;
        }
        f.write_str(&self.trace)
    }
}

struct Run<'a> {
    swarm: &'a Swarm,
    spec: &'a ClusterSpec,
    world: World<SwimNode>,
    oracle: Oracle,
    rules: Vec<Box<dyn Invariant>>,
    violations: Vec<Violation>,
    rng: Rng,
    forger: Forger,
    view: View,
    lives: BTreeMap<u32, u32>,
    /// Restarted nodes that have not joined yet.
    joining: Vec<u32>,
    /// Leaving nodes, with the time at which their process ends.
    exits: Vec<(Instant, u32)>,
    next_scan: Instant,
    queued_max: usize,
}

impl<'a> Run<'a> {
    fn new(swarm: &'a Swarm, spec: &'a ClusterSpec) -> Self {
        let world = spec.build();
        let mut rules = invariants::all(&spec.config);
        if swarm.weather == Weather::Calm {
            rules.extend(invariants::calm(&spec.config, spec.nodes));
        }
        Self {
            swarm,
            spec,
            oracle: Oracle::new(spec.nodes),
            view: View::scan(&world),
            world,
            rules,
            violations: Vec::new(),
            rng: Rng::from_u64(spec.seed ^ 0xab1e),
            forger: Forger::new(spec.seed, 0, spec.nodes),
            lives: BTreeMap::new(),
            joining: Vec::new(),
            exits: Vec::new(),
            next_scan: Instant::ZERO + swarm.scan_interval,
            queued_max: 0,
        }
    }

    /// The safety phase: performs the faults.
    fn suffer(&mut self, plan: &Plan) {
        for (at, fault) in &plan.steps {
            self.run_until(Instant::ZERO + *at);
            self.perform(fault);
        }
        self.run_until(Instant::ZERO + self.swarm.fault_time);
    }

    /// The liveness phase: restores all nodes that can run and the network; returns the time until
    /// the cluster agrees.
    fn recover(&mut self) -> Option<Duration> {
        *self.world.network_mut() = Network::new(super::Link::default());
        for node in 0..self.world.len() {
            self.world.resume(node);
        }
        let start = self.world.now();
        // Serf's reconnect is above the engine: here both sides of a partition that lasted longer
        // than dead nodes are remembered are joined again. At once, so that later scans see no
        // changes from it.
        for node in 0..self.world.len() {
            self.join(node);
        }
        let end = start + self.swarm.recovery_max;
        let mut agreed: Option<Instant> = None;
        while self.world.now() < end {
            self.run_until(self.next_scan);
            let broken =
                self.look(|rule, (view, oracle, world)| rule.check_end(view, oracle, world));
            if broken.is_empty() {
                let recovered = agreed.unwrap_or(self.world.now());
                self.watch();
                return Some(recovered.since(start));
            }
            let only_noise = broken.iter().all(|v| v.rule == "no_rebroadcast_loop");
            agreed = if only_noise { agreed.or(Some(self.world.now())) } else { None };
            if self.world.now() + self.swarm.scan_interval >= end {
                self.violations.extend(broken);
            }
        }
        None
    }

    /// After the recovery nothing may change any more.
    fn watch(&mut self) {
        let end = self.world.now() + WATCH_TIME;
        while self.world.now() < end && self.violations.len() < VIOLATIONS_MAX {
            self.run_until(self.next_scan);
            let broken =
                self.look(|rule, (view, oracle, world)| rule.check_after(view, oracle, world));
            self.violations.extend(broken);
        }
    }

    /// Passes the last scan to all rules.
    fn look(
        &mut self,
        ask: impl Fn(&mut dyn Invariant, (&View, &Oracle, &World<SwimNode>)) -> Vec<Violation>,
    ) -> Vec<Violation> {
        let at = (&self.view, &self.oracle, &self.world);
        self.rules.iter_mut().flat_map(|rule| ask(&mut **rule, at)).collect()
    }

    fn run_until(&mut self, end: Instant) {
        while self.next_scan <= end {
            self.world.run_until(self.next_scan);
            self.tick();
            self.next_scan += self.swarm.scan_interval;
        }
        self.world.run_until(end);
    }

    /// Performs the work of a scan: rules, exits of left nodes, retries of joins.
    fn tick(&mut self) {
        let seen = self.world.take_observations();
        for node in 0..self.world.len() {
            if let Some(member) = self.world.node(node) {
                self.oracle.witness(node, member.engine().local().incarnation.0);
                let queued = member.engine().queued_broadcasts();
                self.oracle.note_queue(node, queued);
                self.queued_max = self.queued_max.max(queued);
            }
        }
        self.view = View::scan(&self.world);
        self.view.seen = seen;
        let broken = self.look(|rule, (view, oracle, world)| rule.check(view, oracle, world));
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.extend(broken);
        }
        let now = self.world.now();
        let (due, later) = self.exits.drain(..).partition(|(at, _)| *at <= now);
        self.exits = later;
        let due: Vec<(Instant, u32)> = due;
        for (_, node) in due {
            self.world.crash(node, false);
        }
        for node in std::mem::take(&mut self.joining) {
            self.join(node);
        }
    }

    /// Joins through a few other nodes; retried at the next scan unless one of them answered.
    fn join(&mut self, node: u32) {
        if !self.oracle.is_up(node) || !self.world.is_running(node) {
            return;
        }
        for _ in 0..JOIN_TARGETS {
            let peer = self.rng.below(self.world.len() as usize) as u32;
            let to = self.world.address(peer);
            if self.oracle.is_up(peer) && peer != node {
                self.world.with_node(node, |member, now| member.start_push_pull(now, to, true));
            }
        }
        let alone = self.world.node(node).is_some_and(|member| member.engine().member_count() < 2);
        if alone {
            self.joining.push(node);
        }
    }

    fn perform(&mut self, fault: &Fault) {
        let now = self.world.now();
        let at = now.as_nanos();
        match fault {
            Fault::Crash { node, host } => {
                self.witness(*node);
                self.world.crash(*node, *host);
                self.oracle.set(*node, TruthState::Down, now.as_nanos());
            }
            Fault::Restart { node } => self.restart(*node),
            Fault::Pause { node } => {
                // In calm runs a stop is so short that it only excuses being late.
                match self.swarm.weather {
                    Weather::Calm => self.oracle.delay(*node, at),
                    Weather::Storm | Weather::Byzantine => self.oracle.disturb(*node, at),
                }
                self.world.pause(*node);
            }
            Fault::Block { node } => {
                // It will accuse all other nodes.
                self.oracle.disturb_all(at);
                self.world.block_io(*node);
            }
            Fault::Resume { node } => {
                self.oracle.delay(*node, at);
                self.world.resume(*node);
            }
            Fault::StepClock { node, by } => {
                self.oracle.disturb_all(at);
                self.world.step_clock(*node, *by);
            }
            Fault::Partition { nodes, one_way, traffic } => {
                self.oracle.disturb_all(at);
                self.partition(nodes, *one_way, *traffic);
            }
            Fault::Heal => self.world.network_mut().heal(),
            Fault::Link(link) => {
                if link.loss > LOSS_EXCUSED {
                    self.oracle.disturb_all(at);
                }
                self.world.network_mut().set_link(*link);
            }
            Fault::NodeLoss { node, loss } => {
                self.oracle.disturb_all(at);
                self.world.network_mut().set_node_loss(*node, *loss);
            }
            Fault::CutPair { pair, traffic } => {
                for (node, group) in pair.iter().zip([1, 2]) {
                    self.world.network_mut().set_group(*node, group);
                }
                self.world.network_mut().cut(1, 2, *traffic);
                self.world.network_mut().cut(2, 1, *traffic);
            }
            Fault::Forge { node, datagrams } => self.forge(*node, *datagrams),
            Fault::Leave { node } => {
                self.witness(*node);
                self.world.with_node(*node, |member, now| member.start_leave(now));
                self.oracle.set(*node, TruthState::Left, now.as_nanos());
                self.exits.push((now + LEAVE_TIME, *node));
            }
            Fault::Update { node } => {
                let meta = now.as_nanos().to_be_bytes();
                self.world.with_node(*node, |member, now| member.start_update(now, &meta));
                if let Some(incarnation) = self.witness(*node) {
                    self.oracle.update(*node, at, incarnation);
                }
            }
        }
    }

    fn restart(&mut self, node: u32) {
        let life = self.lives.entry(node).or_default();
        *life += 1;
        let (spec, life) = (self.spec, *life);
        self.world.restart(node, false, |now| spec.build_node(node, 0, life, now));
        self.oracle.set(node, TruthState::Up, self.world.now().as_nanos());
        self.join(node);
    }

    fn partition(&mut self, minority: &[u32], one_way: bool, traffic: Traffic) {
        let network = self.world.network_mut();
        for node in minority {
            network.set_group(*node, 1);
        }
        network.cut(1, 0, traffic);
        if !one_way {
            network.cut(0, 1, traffic);
        }
    }

    fn forge(&mut self, node: u32, datagrams: u32) {
        self.oracle.disturb_all(self.world.now().as_nanos());
        for _ in 0..datagrams {
            let (from, datagram) = self.forger.datagram(&self.oracle);
            self.oracle.forge(datagram.len(), self.forger.ghosts());
            self.world.inject(node, from, &datagram);
        }
        self.witness(node);
        if let Some(member) = self.world.node(node) {
            self.oracle.note_queue(node, member.engine().queued_broadcasts());
        }
    }

    fn witness(&mut self, node: u32) -> Option<u32> {
        let incarnation = self.world.node(node)?.engine().local().incarnation.0;
        self.oracle.witness(node, incarnation);
        Some(incarnation)
    }
}

/// The commit of a report: `RUSERF_COMMIT`, which the scripts set.
fn commit() -> String {
    std::env::var("RUSERF_COMMIT").unwrap_or_else(|_| "unknown".to_owned())
}

/// How long the process of a leaving node runs, so that its message spreads.
const LEAVE_TIME: Duration = Duration::from_secs(3);
/// Duration after the recovery in which nothing may change.
const WATCH_TIME: Duration = Duration::from_secs(60);
/// With a higher loss live nodes may be declared dead.
const LOSS_EXCUSED: f64 = 0.05;
const JOIN_TARGETS: usize = 3;
const VIOLATIONS_MAX: usize = 1000;
const VIOLATIONS_SHOWN: usize = 5;
