//! A cluster of bare membership engines whose packets are seen.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ruserf::{
    engine::{Instant, StreamId, StreamInput},
    sim::{
        ClusterSpec, Link, Network, Node, Observation, ObservationKind, SwimNode, Traffic, World,
        WorldConfig, node_at, theory,
    },
    swim::{Cast, NodeStateKind, Output},
    wire::StreamCodec,
};

/// A cluster, and what the page shows of it.
pub struct Stage {
    spec: ClusterSpec,
    world: World<Watched>,
    wire: Arc<Mutex<Vec<u8>>>,
    packets: Vec<u8>,
    nodes: Vec<u8>,
    /// How often each node was started.
    lives: Vec<u32>,
    news: Option<News>,
    false_failures: u32,
}

struct News {
    at: Instant,
    knows: Vec<bool>,
}

/// What a packet begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Sort {
    /// A ping, an ack, or a request for them; gossip may be aboard.
    Probe = 0,
    /// Gossip.
    Gossip = 1,
    /// A stream is opened: a push/pull, or a ping over TCP.
    Stream = 2,
}

/// Bytes of a packet in [`Stage::packets`].
pub type Packet = [u8; 5];

impl Stage {
    /// A cluster whose nodes know each other already.
    pub fn new(nodes: u32, seed: u64) -> Self {
        let spec = ClusterSpec::lan(nodes.clamp(2, NODES_MAX), seed);
        let config = WorldConfig { seed, ..WorldConfig::default() };
        let mut world = World::new(config, Network::new(Link::default()));
        let wire = Arc::default();
        let mut cast = Cast::default();
        for index in 0..spec.nodes {
            cast.add(&spec.node_config(index, 0, 0), &[], None);
        }
        for index in 0..spec.nodes {
            let mut node = Watched::new(&spec, index, 0, Instant::ZERO, &wire);
            node.inner.preload(Instant::ZERO, &cast);
            world.add(node);
        }
        let count = spec.nodes as usize;
        Self {
            spec,
            world,
            wire,
            packets: Vec::new(),
            nodes: vec![0; count],
            lives: vec![0; count],
            news: None,
            false_failures: 0,
        }
    }

    /// Lets time pass, and gives the number of packets that were sent.
    pub fn advance(&mut self, micros: u32) -> usize {
        self.world.run_for(Duration::from_micros(micros.into()));
        for seen in self.world.take_observations() {
            match seen.kind {
                ObservationKind::Updated => {
                    if let Some(news) = &mut self.news {
                        news.knows[seen.observer as usize] = true;
                    }
                }
                ObservationKind::Failed => {
                    let is_up = seen.subject < self.spec.nodes && self.is_up(seen.subject);
                    self.false_failures += u32::from(is_up);
                }
                ObservationKind::Joined | ObservationKind::Left | ObservationKind::Conflict => {}
            }
        }
        self.packets = std::mem::take(&mut *lock(&self.wire));
        self.packets.len() / size_of::<Packet>()
    }

    /// Virtual time in seconds.
    pub fn now(&self) -> f64 {
        self.world.now().since(Instant::ZERO).as_secs_f64()
    }

    /// A byte for each node: 1 runs, 2 knows the news, 4 suspected by somebody, 8 held dead by
    /// somebody.
    pub fn nodes(&mut self) -> &[u8] {
        let mut states: Vec<u8> = (0..self.spec.nodes).map(|n| u8::from(self.is_up(n))).collect();
        if let Some(news) = &self.news {
            for (state, knows) in states.iter_mut().zip(&news.knows) {
                *state |= u8::from(*knows) << 1;
            }
        }
        for observer in 0..self.spec.nodes {
            let Some(node) = self.world.node(observer) else { continue };
            for seen in node.inner.engine().nodes() {
                let bit = match seen.state {
                    NodeStateKind::Suspect => 4,
                    NodeStateKind::Dead => 8,
                    NodeStateKind::Alive | NodeStateKind::Left => continue,
                };
                if let Some(state) = states.get_mut(SwimNode::index_of(seen.name) as usize) {
                    *state |= bit;
                }
            }
        }
        self.nodes = states;
        &self.nodes
    }

    /// The packets of the last step: [`Packet`]s of from, to, [`Sort`].
    pub fn packets(&self) -> &[u8] {
        &self.packets
    }

    /// Loses this share of all datagrams.
    pub fn set_loss(&mut self, share: f64) {
        let link = Link { loss: share.clamp(0.0, 1.0), ..Link::default() };
        self.world.network_mut().set_link(link);
    }

    /// Cuts this share of the nodes off; 0 heals.
    pub fn set_cut(&mut self, share: f64) {
        let cut = (f64::from(self.spec.nodes) * share.clamp(0.0, 1.0)).round() as u32;
        let network = self.world.network_mut();
        network.heal();
        for node in 0..self.spec.nodes {
            network.set_group(node, u8::from(node < cut));
        }
        if cut > 0 {
            network.cut(0, 1, Traffic::All);
            network.cut(1, 0, Traffic::All);
        }
    }

    /// A node changes its meta, which is news for all others.
    pub fn tell(&mut self, node: u32) {
        let meta = self.world.now().as_nanos().to_be_bytes();
        let update = self.world.with_node(node, |of, now| of.inner.start_update(now, &meta));
        if update.is_some() {
            let mut knows = vec![false; self.spec.nodes as usize];
            knows[node as usize] = true;
            self.news = Some(News { at: self.world.now(), knows });
        }
    }

    /// Stops a node's machine, or starts it again; then it joins by another.
    pub fn toggle(&mut self, node: u32) {
        if node >= self.spec.nodes {
            return;
        }
        if self.is_up(node) {
            self.world.crash(node, true);
            return;
        }
        self.lives[node as usize] += 1;
        let (life, spec, wire) = (self.lives[node as usize], &self.spec, &self.wire);
        self.world.restart(node, false, |now| Watched::new(spec, node, life, now, wire));
        let seed = (0..self.spec.nodes).find(|other| *other != node && self.is_up(*other));
        if let Some(seed) = seed {
            let to = self.world.address(seed);
            self.world.with_node(node, |of, now| of.inner.start_push_pull(now, to, true));
        }
    }

    /// Nodes that know the latest news.
    pub fn knowing(&self) -> u32 {
        let knows = self.news.iter().flat_map(|news| &news.knows);
        knows.filter(|knows| **knows).count() as u32
    }

    /// Seconds since the latest news; negative: there are none.
    pub fn since_news(&self) -> f64 {
        self.news.as_ref().map_or(-1.0, |news| self.world.now().since(news.at).as_secs_f64())
    }

    /// Share of nodes that know news of this age, by the logistic model without loss.
    pub fn theory(&self, seconds: f64) -> f64 {
        let time = Duration::from_secs_f64(seconds.clamp(0.0, 60.0));
        theory::spread(&self.spec.config, self.spec.nodes as usize, time)
    }

    /// Failures of nodes that run, seen by any node.
    pub fn false_failures(&self) -> u32 {
        self.false_failures
    }

    fn is_up(&self, node: u32) -> bool {
        self.world.is_running(node)
    }
}

/// The simulator's node, with a note of each packet that leaves it.
struct Watched {
    inner: SwimNode,
    index: u32,
    wire: Arc<Mutex<Vec<u8>>>,
}

impl Watched {
    fn new(
        spec: &ClusterSpec,
        index: u32,
        life: u32,
        now: Instant,
        wire: &Arc<Mutex<Vec<u8>>>,
    ) -> Self {
        Self { inner: spec.build_node(index, 0, life, now), index, wire: wire.clone() }
    }

    fn note(&self, output: &Output) {
        let (to, sort) = match output {
            Output::Packet { to, data, .. } => (to, sort(data)),
            Output::Open { to, .. } => (to, Sort::Stream),
            _ => return,
        };
        let Some((to, _)) = node_at(*to) else { return };
        let [from, to] = [self.index, to].map(|node| (node as u16).to_le_bytes());
        lock(&self.wire).extend([from[0], from[1], to[0], to[1], sort as u8]);
    }
}

impl Node for Watched {
    fn handle_packet(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.inner.handle_packet(now, from, datagram);
    }

    fn handle_queued(&mut self, now: Instant) {
        self.inner.handle_queued(now);
    }

    fn handle_stream(&mut self, now: Instant, id: StreamId, input: StreamInput) {
        self.inner.handle_stream(now, id, input);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.inner.handle_timeout(now);
    }

    fn poll_output(&mut self, now: Instant) -> Option<Output> {
        let output = self.inner.poll_output(now);
        output.inspect(|output| self.note(output))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.inner.poll_timeout()
    }

    fn accept_stream(&mut self) -> StreamId {
        self.inner.accept_stream()
    }

    fn stream_codec(&self) -> StreamCodec {
        self.inner.stream_codec()
    }

    fn take_observations(&mut self) -> Vec<Observation> {
        self.inner.take_observations()
    }

    fn has_observations(&self) -> bool {
        self.inner.has_observations()
    }
}

/// By the first message: behind a CRC, and in a compound.
fn sort(packet: &[u8]) -> Sort {
    let inside = packet.strip_prefix(&[12]).and_then(|rest| rest.get(4..)).unwrap_or(packet);
    let first = match inside {
        // Type, count, two bytes of length for each part.
        [7, count, rest @ ..] => rest.get(2 * usize::from(*count)),
        other => other.first(),
    };
    match first {
        Some(0..=2 | 11) => Sort::Probe,
        _ => Sort::Gossip,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a browser draws and computes without a pause.
const NODES_MAX: u32 = 500;
