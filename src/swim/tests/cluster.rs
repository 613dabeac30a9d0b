//! A few engines connected through the real codec, in virtual time.

use super::*;

/// Engines from 10.0.0.1 on; packets and streams arrive after a millisecond, unless blocked.
struct Cluster {
    nodes: Vec<Node>,
    now: Instant,
    cut: Vec<usize>,
    rng: Rng,
}

fn addr(index: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, index as u8 + 1], 7946))
}

fn name(index: usize) -> String {
    format!("n{index}")
}

impl Cluster {
    fn new(n: usize, change: impl Fn(&mut Config)) -> Self {
        let nodes = (0..n)
            .map(|index| {
                let mut config = Config::lan(&name(index));
                config.advertise_addr = vec![10, 0, 0, index as u8 + 1];
                config.seed = [index as u8; 32];
                change(&mut config);
                let mut host = Notes { state: vec![index as u8], ..Notes::default() };
                let now = Instant::from_nanos(100_000_000_000);
                let swim = Swim::build(config, now, &mut host).unwrap();
                Node { swim, host, now }
            })
            .collect();
        let now = Instant::from_nanos(100_000_000_000);
        let mut cluster = Self { nodes, now, cut: Vec::new(), rng: Rng::from_u64(9) };
        for index in 1..n {
            let Node { swim, host, .. } = &mut cluster.nodes[index];
            swim.start_push_pull(now, addr(0), "", true, host);
            cluster.settle();
        }
        cluster
    }

    /// Delivers everything until no engine has outputs at this instant.
    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for index in 0..self.nodes.len() {
                for output in self.nodes[index].outputs() {
                    quiet = false;
                    self.carry(index, output);
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn target(&self, from: usize, to: SocketAddr) -> Option<usize> {
        let target = (0..self.nodes.len()).find(|index| addr(*index) == to)?;
        (!self.cut.contains(&from) && !self.cut.contains(&target)).then_some(target)
    }

    fn carry(&mut self, from: usize, output: Output) {
        match output {
            Output::Packet { to, data } => {
                let Some(to) = self.target(from, to) else { return };
                let now = self.now;
                let Node { swim, host, .. } = &mut self.nodes[to];
                swim.handle_packet(now, addr(from), &data, host);
                swim.handle_queued(now, host);
            }
            Output::Open { id, to, message, reply, .. } => {
                let input = match self.target(from, to) {
                    None => StreamInput::Failed { connected: false, error: "refused".into() },
                    Some(to) => self.exchange(from, to, &message, reply),
                };
                let now = self.now;
                let Node { swim, host, .. } = &mut self.nodes[from];
                swim.handle_stream(now, id, input, host);
            }
            Output::Reply { .. } | Output::Close { .. } => panic!("outside of an exchange"),
        }
    }

    fn exchange(&mut self, from: usize, to: usize, message: &[u8], reply: bool) -> StreamInput {
        let (now, mut bytes) = (self.now, Vec::new());
        self.nodes[from].swim.stream_codec().seal(&mut self.rng, Role::Dialer, message, &mut bytes);
        let Node { swim, host, .. } = &mut self.nodes[to];
        let (id, codec) = (swim.accept_stream(), swim.stream_codec());
        let mut decoder = StreamDecoder::new(codec.clone(), Role::Acceptor);
        swim.handle_stream(now, id, StreamInput::Accepted { from: addr(from) }, host);
        let input = match decoder.feed(&bytes) {
            Ok(message) => StreamInput::Message(message.expect("a whole message")),
            Err(error) => StreamInput::Broken(error),
        };
        swim.handle_stream(now, id, input, host);
        let mut answer = None;
        for output in self.nodes[to].outputs() {
            match output {
                Output::Reply { id, message, .. } => {
                    let mut bytes = Vec::new();
                    codec.seal(&mut self.rng, Role::Acceptor, &message, &mut bytes);
                    let Node { swim, host, .. } = &mut self.nodes[to];
                    swim.handle_stream(now, id, StreamInput::Sent, host);
                    answer = Some(bytes);
                }
                Output::Close { .. } => {}
                other => self.carry(to, other),
            }
        }
        let codec = self.nodes[from].swim.stream_codec();
        match answer {
            _ if !reply => StreamInput::Sent,
            None => StreamInput::Failed { connected: true, error: "EOF".into() },
            Some(bytes) => match StreamDecoder::new(codec, Role::Dialer).feed(&bytes) {
                Ok(message) => StreamInput::Message(message.expect("a whole message")),
                Err(error) => StreamInput::Broken(error),
            },
        }
    }

    fn wait(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        loop {
            let next = self.nodes.iter().filter_map(|node| node.swim.poll_timeout()).min();
            let Some(at) = next.filter(|at| *at <= until) else { break };
            self.now = self.now.max(at);
            for index in 0..self.nodes.len() {
                let now = self.now;
                let Node { swim, host, .. } = &mut self.nodes[index];
                if swim.poll_timeout().is_some_and(|at| at <= now) {
                    swim.handle_timeout(now, host);
                }
            }
            self.settle();
        }
        self.now = until;
    }

    fn states(&self, of: usize) -> Vec<Option<NodeStateKind>> {
        let view = |node: &Node| node.swim.node(&name(of)).map(|node| node.state);
        self.nodes.iter().map(view).collect()
    }
}

#[test]
fn nodes_that_join_one_another_all_know_all_and_stay_alive() {
    for encrypted in [false, true] {
        let mut cluster = Cluster::new(5, |config| {
            if encrypted {
                config.codec.label = b"dc1".to_vec();
                config.codec.keyring.add_key(&[7; 16]).unwrap();
            }
        });
        cluster.wait(60);
        for index in 0..5 {
            assert_eq!(cluster.states(index), [Some(NodeStateKind::Alive); 5]);
            let node = &cluster.nodes[index];
            assert_eq!((node.swim.health_score(), node.swim.stats().failed_probes), (0, 0));
            assert_eq!(node.swim.stats().dropped_malformed, 0);
            assert_eq!(node.swim.queued_broadcasts(), 0);
            assert!(!node.host.rtts.is_empty() && !node.host.merged.is_empty());
            assert!(!node.host.events.iter().any(|event| event.starts_with("leave")));
        }
    }
}

#[test]
fn a_crashed_node_is_found_dead_by_all_and_comes_back() {
    let mut cluster = Cluster::new(5, |_| {});
    cluster.wait(5);
    cluster.cut.push(4);
    cluster.wait(25);
    for index in 0..4 {
        let state = cluster.nodes[index].swim.node(&name(4)).map(|node| node.state);
        assert!(matches!(state, Some(NodeStateKind::Dead)), "{index}: {state:?}");
    }
    cluster.cut.clear();
    let now = cluster.now;
    let Node { swim, host, .. } = &mut cluster.nodes[4];
    swim.start_push_pull(now, addr(0), "", true, host);
    cluster.settle();
    cluster.wait(60);
    assert_eq!(cluster.states(4), [Some(NodeStateKind::Alive); 5]);
}

#[test]
fn a_leave_is_seen_as_left_by_all() {
    let mut cluster = Cluster::new(4, |_| {});
    cluster.wait(5);
    let now = cluster.now;
    let Node { swim, host, .. } = &mut cluster.nodes[3];
    swim.start_leave(now, host);
    cluster.wait(5);
    assert_eq!(cluster.states(3), [Some(NodeStateKind::Left); 4]);
}

#[test]
fn a_suspected_node_hears_of_it_and_refutes() {
    let mut cluster = Cluster::new(4, |_| {});
    cluster.wait(5);
    cluster.nodes[0].now = cluster.now;
    cluster.nodes[0].suspect("n1", 1, "n2");
    cluster.wait(10);
    assert_eq!(cluster.states(1), [Some(NodeStateKind::Alive); 4]);
    let incarnation = cluster.nodes[3].swim.node("n1").map(|node| node.incarnation.0);
    assert_eq!(incarnation, Some(2));
}

#[test]
fn nodes_of_other_labels_do_not_join() {
    let cluster = Cluster::new(2, |config| config.codec.label = config.name.as_bytes().to_vec());
    assert_eq!(cluster.nodes[0].swim.node_count(), 1);
    assert_eq!(cluster.nodes[1].swim.node_count(), 1);
}
