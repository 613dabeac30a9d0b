//! A virtual cluster of whole Serf engines, for tests of programs that use them.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{Link, Network, SerfNode, Traffic, World, WorldConfig, address_of};
use crate::{
    base::{Instant, Rng},
    engine::Config,
    serf::{
        self, Engine, Error, Event, Member, MemberStatus, OldEvents, QueryId, QueryParams,
        QueryUpdate, SerfState, Tags, UserEventSpec,
    },
    swim::OpId,
};

/// Identifies a node of a [`Cluster`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// Serf engines on a virtual network in virtual time.
///
/// The engines are those used in production; only sockets, clock and files are replaced. The same
/// seed and the same calls give the same run. An hour of a small cluster takes less than a second.
///
/// ```
/// use std::time::Duration;
/// use ruserf::{Config, MemberStatus, sim::Cluster};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut cluster = Cluster::new(42);
/// let a = cluster.add_node(Config::lan("a"))?;
/// let b = cluster.add_node(Config::lan("b"))?;
/// cluster.join(b, &[a])?;
/// cluster.run_for(Duration::from_secs(2));
/// assert_eq!(cluster.status(a, "b"), Some(MemberStatus::Alive));
///
/// cluster.crash(b);
/// cluster.run_for(Duration::from_secs(60));
/// assert_eq!(cluster.status(a, "b"), Some(MemberStatus::Failed));
/// # Ok(())
/// # }
/// ```
pub struct Cluster {
    world: World<SerfNode>,
    nodes: Vec<Place>,
    rng: Rng,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("now", &self.now())
            .field("nodes", &self.nodes.len())
            .finish_non_exhaustive()
    }
}

/// Parameters for restarting a node.
struct Place {
    name: String,
    config: serf::Config,
    /// The snapshot file left by a crash.
    snapshot: Option<String>,
}

impl Cluster {
    /// Creates an empty cluster with the links of a local network.
    pub fn new(seed: u64) -> Self {
        Self::with_link(seed, Link::default())
    }

    /// Creates an empty cluster with the given links.
    pub fn with_link(seed: u64, link: Link) -> Self {
        let config = WorldConfig { seed, trace_lines: 200, ..WorldConfig::default() };
        Self {
            world: World::new(config, Network::new(link)),
            nodes: Vec::new(),
            rng: Rng::from_u64(seed ^ 0xc105),
        }
    }

    /// Starts a node, alone; see [`Cluster::join`]. The cluster sets its address, ports and seed.
    ///
    /// # Errors
    /// The engine refuses the configuration.
    pub fn add_node(&mut self, config: Config) -> Result<NodeId, Error> {
        self.add(config.into_engine(), None)
    }

    /// Starts a node with a snapshot, which [`Cluster::restart`] restores after a crash.
    ///
    /// # Errors
    /// The engine refuses the configuration.
    pub fn add_node_with_snapshot(&mut self, config: Config) -> Result<NodeId, Error> {
        self.add(config.into_engine(), Some(String::new()))
    }

    /// Starts a node with settings that users cannot set.
    pub(super) fn add(
        &mut self,
        mut config: serf::Config,
        snapshot: Option<String>,
    ) -> Result<NodeId, Error> {
        let index = self.world.len();
        self.prepare(&mut config, index, 0);
        let place = Place {
            name: config.swim.name.to_string(),
            config: config.clone(),
            snapshot: snapshot.clone(),
        };
        let node = SerfNode::build(config, self.world.now(), snapshot)?;
        self.nodes.push(place);
        Ok(NodeId(self.world.add(node)))
    }

    /// Starts a join through other nodes, which proceeds during [`Cluster::run_for`].
    ///
    /// # Errors
    /// The node is not alive.
    pub fn join(&mut self, node: NodeId, through: &[NodeId]) -> Result<OpId, Error> {
        let targets: Vec<SocketAddr> = through.iter().map(|to| self.world.address(to.0)).collect();
        let joined =
            self.world.with_node(node.0, |node, now| node.join(now, &targets, OldEvents::Deliver));
        joined.unwrap_or(Err(Error::NotRunning))
    }

    /// Advances the virtual time by `time`.
    pub fn run_for(&mut self, time: Duration) {
        self.world.run_for(time);
    }

    /// Runs until `done` returns true, checked every 100 ms; returns false if `limit` passed first.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now() + limit;
        loop {
            if done(self) {
                return true;
            }
            if self.now() >= end {
                return false;
            }
            self.run_for(Duration::from_millis(100));
        }
    }

    /// World time.
    pub fn now(&self) -> Instant {
        self.world.now()
    }

    /// Separates the nodes of `side` from all others, in both directions. A second call replaces
    /// the partition.
    pub fn partition(&mut self, side: &[NodeId]) {
        self.world.network_mut().heal();
        for node in side {
            self.world.network_mut().set_group(node.0, 1);
        }
        self.world.network_mut().cut(0, 1, Traffic::All);
        self.world.network_mut().cut(1, 0, Traffic::All);
    }

    /// Ends a partition.
    pub fn heal(&mut self) {
        self.world.network_mut().heal();
    }

    /// The network, for finer faults: loss, latency, one-way cuts, UDP alone.
    pub fn network_mut(&mut self) -> &mut Network {
        self.world.network_mut()
    }

    /// Kills a node without any message, like a power failure. Its snapshot file remains.
    pub fn crash(&mut self, node: NodeId) {
        if let Some(dead) = self.world.crash(node.0, true)
            && let Some(place) = self.nodes.get_mut(node.0 as usize)
        {
            place.snapshot = dead.snapshot().map(str::to_owned);
        }
    }

    /// Restarts a crashed node with its name, address and, if there is one, its snapshot. It
    /// contacts the peers in the snapshot, one after the other, until one answers.
    ///
    /// # Errors
    /// The engine refuses the configuration.
    pub fn restart(&mut self, node: NodeId) -> Result<(), Error> {
        let Some(place) = self.nodes.get(node.0 as usize) else {
            return Err(Error::NotRunning);
        };
        let (mut config, snapshot) = (place.config.clone(), place.snapshot.clone());
        self.prepare(&mut config, node.0, 0);
        let built = SerfNode::build(config, self.world.now(), snapshot)?;
        self.world.restart(node.0, false, |_| built);
        self.world.with_node(node.0, |node, now| node.engine_mut().start_rejoin(now));
        Ok(())
    }

    /// Stops a node's process as SIGSTOP does.
    pub fn pause(&mut self, node: NodeId) {
        self.world.pause(node.0);
    }

    /// Continues a paused node.
    pub fn resume(&mut self, node: NodeId) {
        self.world.resume(node.0);
    }

    /// Starts a graceful leave; [`Cluster::state`] shows when it is done.
    ///
    /// # Errors
    /// The node is already leaving, or was shut down.
    pub fn leave(&mut self, node: NodeId) -> Result<OpId, Error> {
        let left = self.world.with_node(node.0, |node, now| node.engine_mut().start_leave(now));
        left.unwrap_or(Err(Error::NotRunning))
    }

    /// Sends a user event from a node.
    ///
    /// # Errors
    /// The event is too large.
    pub fn user_event(
        &mut self,
        node: NodeId,
        name: &str,
        payload: impl Into<Bytes>,
    ) -> Result<(), Error> {
        let event = UserEventSpec::new(name, payload);
        let sent =
            self.world.with_node(node.0, |node, now| node.engine_mut().user_event(now, &event));
        sent.unwrap_or(Err(Error::NotRunning))
    }

    /// Asks a query from a node; see [`Cluster::query_updates`].
    ///
    /// # Errors
    /// The query is too large.
    pub fn query(
        &mut self,
        node: NodeId,
        name: &str,
        payload: impl Into<Bytes>,
        params: &QueryParams,
    ) -> Result<QueryId, Error> {
        let payload = payload.into();
        let asked = self
            .world
            .with_node(node.0, |node, now| node.engine_mut().query(now, name, payload, params));
        asked.unwrap_or(Err(Error::NotRunning))
    }

    /// Answers a query that a node received as an event.
    ///
    /// # Errors
    /// The query was answered before, its deadline has passed, or the answer is too large.
    pub fn respond(&mut self, node: NodeId, id: QueryId, payload: &[u8]) -> Result<(), Error> {
        let answered =
            self.world.with_node(node.0, |node, now| node.engine_mut().respond(now, id, payload));
        answered.unwrap_or(Err(Error::NotRunning))
    }

    /// Replaces a node's tags.
    ///
    /// # Errors
    /// The tags are too large.
    pub fn set_tags(&mut self, node: NodeId, tags: impl Into<Tags>) -> Result<OpId, Error> {
        let tags = tags.into().into();
        let set =
            self.world.with_node(node.0, |node, now| node.engine_mut().start_set_tags(now, tags));
        set.unwrap_or(Err(Error::NotRunning))
    }

    /// Calls any method of a node's engine. `None` if the node has crashed.
    pub fn with_engine<R>(
        &mut self,
        node: NodeId,
        call: impl FnOnce(&mut Engine, Instant) -> R,
    ) -> Option<R> {
        self.world.with_node(node.0, |node, now| call(node.engine_mut(), now))
    }

    /// A node's engine, for inspection. `None` if the node has crashed.
    pub fn engine(&self, node: NodeId) -> Option<&Engine> {
        self.world.node(node.0).map(SerfNode::engine)
    }

    /// All events of a node since its start, the oldest first.
    pub fn events(&self, node: NodeId) -> &[(Instant, Event)] {
        self.world.node(node.0).map(SerfNode::events).unwrap_or_default()
    }

    /// Takes a node's events, which empties the list.
    pub fn take_events(&mut self, node: NodeId) -> Vec<(Instant, Event)> {
        self.world.with_node(node.0, |node, _| node.take_events()).unwrap_or_default()
    }

    /// The updates of a query so far.
    pub fn query_updates(&self, node: NodeId, id: QueryId) -> &[QueryUpdate] {
        self.world.node(node.0).map(|node| node.query_updates(id)).unwrap_or_default()
    }

    /// The members as seen by a node; empty if it has crashed.
    pub fn members(&self, node: NodeId) -> Vec<Arc<Member>> {
        let engine = self.engine(node);
        engine.map(|engine| engine.members().cloned().collect()).unwrap_or_default()
    }

    /// The status of the member `name` as seen by a node.
    pub fn status(&self, node: NodeId, name: &str) -> Option<MemberStatus> {
        let engine = self.engine(node)?;
        engine.members().find(|member| &*member.name == name).map(|member| member.status)
    }

    /// State of a node; `None` if it has crashed.
    pub fn state(&self, node: NodeId) -> Option<SerfState> {
        self.engine(node).map(Engine::state)
    }

    /// The running nodes, in order.
    pub fn running(&self) -> impl Iterator<Item = NodeId> {
        (0..self.world.len()).filter(|node| self.world.node(*node).is_some()).map(NodeId)
    }

    /// Name of a node.
    pub fn name(&self, node: NodeId) -> &str {
        self.nodes.get(node.0 as usize).map_or("", |place| &place.name)
    }

    /// Whether each running node sees exactly the running nodes as alive.
    pub fn agrees(&self) -> bool {
        let mut names: Vec<&str> = self.running().map(|node| self.name(node)).collect();
        names.sort_unstable();
        self.running().all(|node| {
            let Some(engine) = self.engine(node) else { return false };
            let mut alive: Vec<&str> = engine
                .members()
                .filter(|member| member.status == MemberStatus::Alive)
                .map(|member| &*member.name)
                .collect();
            alive.sort_unstable();
            alive == names
        })
    }

    /// The underlying world, for other faults and statistics.
    #[doc(hidden)]
    pub fn world(&self) -> &World<SerfNode> {
        &self.world
    }

    fn prepare(&mut self, config: &mut serf::Config, index: u32, moves: u8) {
        let addr = address_of(index, moves);
        if let std::net::IpAddr::V4(ip) = addr.ip() {
            config.swim.advertise_addr = ip.octets().to_vec();
        }
        config.swim.advertise_port = addr.port();
        config.swim.bind_port = addr.port();
        self.rng.fill(&mut config.swim.seed);
    }
}
