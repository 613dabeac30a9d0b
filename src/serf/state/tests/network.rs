//! Several states with perfect gossip between them.

use super::*;

/// All nodes know each other; a message reaches all at once, except isolated nodes.
pub(super) struct Net {
    pub(super) nodes: Vec<Node>,
    /// Isolated nodes.
    pub(super) cut: Vec<usize>,
    /// Direct messages sent: from, to, bytes.
    pub(super) sent: Vec<(usize, SocketAddr, Vec<u8>)>,
}

impl Net {
    pub(super) fn new(count: usize) -> Self {
        Self::with(count, |_| {})
    }

    pub(super) fn with(count: usize, change: fn(&mut Config)) -> Self {
        let names: Vec<String> = (0..count).map(|n| format!("n{n}")).collect();
        let mut nodes: Vec<_> = names.iter().map(|name| Node::with(name, change)).collect();
        for node in &mut nodes {
            let own = node.state.cx.name.clone();
            for name in names.iter().filter(|name| **name != *own) {
                node.join(name);
            }
            node.events();
        }
        Self { nodes, cut: Vec::new(), sent: Vec::new() }
    }

    /// Delivers messages until there are none.
    pub(super) fn pump(&mut self) {
        while self.actions() | self.gossip() {}
    }

    pub(super) fn advance(&mut self, time: Duration) {
        for node in &mut self.nodes {
            node.advance(time);
        }
        self.pump();
    }

    fn actions(&mut self) -> bool {
        let mut any = false;
        for from in 0..self.nodes.len() {
            let alive = self.nodes.len();
            let node = &mut self.nodes[from];
            any |= node.state.start_key_op(alive);
            while let Some(action) = self.nodes[from].state.cx.effects.actions.pop_front() {
                any = true;
                self.act(from, action);
            }
        }
        any
    }

    fn act(&mut self, from: usize, action: Action) {
        let count = self.nodes.len();
        let node = &mut self.nodes[from];
        match action {
            Action::BroadcastJoin => {
                node.state.broadcast_join();
            }
            Action::Internal(query) => {
                let ring = node.state.handle_internal(&query, &node.keyring);
                if let Some(ring) = ring {
                    node.keyring = ring;
                    node.state.keyring_changed(query.id, crate::swim::OpId(1));
                }
            }
            Action::Vote => node.state.start_vote(count),
            Action::Reconnect { .. }
            | Action::RejoinSeeds
            | Action::Sync { .. }
            | Action::Recheck(_) => {}
            Action::Send { to, message } if node.state.members.local().addr() == Some(to) => {
                node.state.on_own_message(&message);
            }
            Action::Send { to, message, .. } => {
                self.sent.push((from, to, message.clone()));
                let target =
                    (0..count).find(|at| self.nodes[*at].state.members.local().addr() == Some(to));
                if let Some(target) = target
                    && !self.cut.contains(&target)
                    && !self.cut.contains(&from)
                {
                    let addr = self.nodes[from].state.members.local().addr().unwrap();
                    let origin = Origin { from: addr, seal: Seal::NoKeys };
                    let node = &mut self.nodes[target];
                    node.state.on_user_message(&message, origin);
                }
            }
        }
    }

    fn gossip(&mut self) -> bool {
        let mut any = false;
        for from in 0..self.nodes.len() {
            let messages = self.nodes[from].gossip();
            any |= !messages.is_empty();
            if self.cut.contains(&from) {
                continue;
            }
            for (at, node) in self.nodes.iter_mut().enumerate() {
                if at != from && !self.cut.contains(&at) {
                    for message in &messages {
                        node.state.on_user_message(message, origin());
                    }
                }
            }
        }
        any
    }
}

#[test]
fn events_and_intents_reach_everybody_once_and_the_gossip_ends() {
    let mut net = Net::new(5);
    net.nodes[0].state.user_event("deploy", b"v1", false).unwrap();
    net.nodes[3].state.broadcast_join();
    net.pump();
    for node in &mut net.nodes {
        assert_eq!(node.events(), ["user 1 deploy v1"]);
        assert_eq!(node.state.cx.clocks.event.time(), LamportTime(2));
        assert_eq!(node.status_ltime("n3"), 1);
    }
}

#[test]
fn forced_leave_of_a_living_node_is_refuted_everywhere() {
    let mut net = Net::new(4);
    net.nodes[0].leave_intent(9, "n2", false);
    net.pump();
    for node in &net.nodes {
        assert_eq!(node.status("n2"), Some("alive"));
        assert_eq!(node.status_ltime("n2"), 10);
    }
}

#[test]
fn two_leaves_of_one_node_do_not_gossip_for_ever() {
    let mut net = Net::new(3);
    for node in &mut net.nodes {
        node.leave("n2");
        node.events();
    }
    net.cut.push(2);
    net.nodes[0].leave_intent(20, "n2", false);
    net.nodes[1].leave_intent(21, "n2", false);
    net.pump();
    for node in &net.nodes[..2] {
        assert_eq!(node.status("n2"), Some("left"));
        assert_eq!(node.status_ltime("n2"), 21);
    }
}

proptest::proptest! {
    /// Leaves, forced leaves, prunes and returns terminate in any order, with the same result.
    #[test]
    fn every_interleaving_of_intents_ends(
        steps in proptest::collection::vec((0usize..4, 0usize..4, 0u8..4, 1u64..40), 1..25),
    ) {
        let mut net = Net::new(4);
        for (by, about, what, ltime) in steps {
            let name = format!("n{about}");
            match what {
                0 => net.nodes[by].leave_intent(ltime, &name, false),
                1 => net.nodes[by].leave_intent(ltime, &name, true),
                2 => net.nodes[by].join_intent(ltime, &name),
                _ => {
                    net.nodes[about].state.broadcast_join();
                }
            }
            net.pump();
        }
        net.advance(Duration::from_secs(10));
        let view = |node: &Node| -> Vec<_> {
            (0..4).map(|n| node.status(&format!("n{n}"))).collect::<Vec<_>>()
        };
        for node in &net.nodes {
            for (n, status) in view(node).into_iter().enumerate() {
                let name = &node.state.cx.name;
                proptest::prop_assert_eq!(status, Some("alive"), "n{} at {}", n, name);
            }
        }
    }
}
