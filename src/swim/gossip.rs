//! The gossip round. Go: `state.go`, `gossip`.

use std::net::SocketAddr;

use super::{
    Host, NodeStateKind, Swim, draw::draw, packet_builder::PacketBuilder, packets::USER_OVERHEAD,
    row::Row, timer::Timer,
};
use crate::base::{Instant, mutated};

impl Swim {
    pub(super) fn gossip_tick(&mut self, now: Instant, host: &mut dyn Host) {
        self.timers.set(now + self.config.gossip_interval, Timer::Gossip);
        let Some(dead_since) = now.as_nanos().checked_sub(
            u64::try_from(self.config.gossip_to_the_dead_time.as_nanos()).unwrap_or(u64::MAX),
        ) else {
            return self.gossip(host);
        };
        self.table.expire_recently_dead(Instant::from_nanos(dead_since));
        self.gossip(host);
    }

    /// Sends queued messages to a few random nodes, including recently dead ones, so that they can
    /// refute. Each packet counts as one transmit of the messages in it.
    fn gossip(&mut self, host: &mut dyn Host) {
        self.stats.gossip_rounds += 1;
        let silent = mutated!(self.config, SilentGossip);
        if silent || self.queue.is_empty() && !host.has_broadcasts() {
            return; // nothing to send: skip the choice of targets
        }
        let targets = self.gossip_targets();
        // Go subtracts the encryption overhead even if outgoing packets are not encrypted.
        let limit = self.packet_budget(true, 0);
        let burst = self.burst(limit, host);
        let mut builder = std::mem::take(&mut self.builder);
        let mut full = false;
        for target in &targets {
            let Some((to, crc)) = self.destination(*target) else { continue };
            self.fill(&mut builder, limit, host);
            full = builder.len() >= limit / 2;
            if builder.is_empty() {
                break;
            }
            self.send_built(to, &mut builder, crc);
        }
        if full && burst > 1 {
            self.gossip_backlog(&targets, burst - 1, &mut builder, host);
        }
        self.builder = builder;
    }

    /// The nodes that the next packets of gossip go to.
    pub(super) fn gossip_targets(&mut self) -> Vec<u32> {
        let Self { table, rng, config, me, .. } = self;
        let k = config.gossip_nodes;
        let wanted = |slot, row: &Row| slot != *me && row.state != NodeStateKind::Left;
        let Some(home) = table.zones().and_then(|zones| zones.home(*me)) else {
            return table.sample(k, true, rng, wanted);
        };
        // Other zones first: with a long queue the messages sent least often are there.
        let mut targets = home.links(k, rng);
        // A bridge sends to its own zone as much as any other node.
        let most = if home.is_bridge() { k + targets.len() } else { k };
        let fresh = |slot: u32, targets: &[u32]| slot != *me && !targets.contains(&slot);
        if home.strays(rng) {
            let more = table.sample(1, true, rng, |s, row| wanted(s, row) && fresh(s, &targets));
            targets.extend(more);
        }
        let nodes = home.nodes();
        let near = draw(nodes.len(), most.saturating_sub(targets.len()), rng, |index| {
            nodes.get(index).copied().filter(|slot| fresh(*slot, &targets))
        });
        targets.extend(near);
        // A small zone: what is left goes anywhere.
        let left = k.saturating_sub(targets.len());
        if left > 0 {
            let more = table.sample(left, true, rng, |s, row| wanted(s, row) && fresh(s, &targets));
            targets.extend(more);
        }
        targets
    }

    /// A backlog of events drains in several packets a round. Each goes to all targets: were it
    /// left to chance, as with a packet of its own for each, some events would go to one of two
    /// nodes four times and never to the other.
    fn gossip_backlog(
        &mut self,
        targets: &[u32],
        packets: usize,
        builder: &mut PacketBuilder,
        host: &mut dyn Host,
    ) {
        let limit = self.packet_budget(true, 0);
        let copies = u32::try_from(targets.len()).unwrap_or(u32::MAX);
        for _ in 0..packets {
            self.fill_from_host(builder, limit, copies, host);
            let full = builder.len() >= limit / 2;
            for target in targets {
                if let Some((to, crc)) = self.destination(*target) {
                    self.send_copy(to, builder, crc);
                }
            }
            builder.clear();
            if !full {
                break;
            }
        }
    }

    /// Where a node's gossip goes, and whether it checks sums.
    fn destination(&self, target: u32) -> Option<(SocketAddr, bool)> {
        let row = self.table.get(target)?;
        Some((row.socket_addr()?, row.record.checks_crc()))
    }

    /// Number of packets to one target in this round: more with a long backlog, so that the backlog
    /// is sent once within a few seconds.
    fn burst(&self, limit: usize, host: &dyn Host) -> usize {
        let least = self.config.gossip_burst;
        if least <= 1 {
            return least;
        }
        let packets = host.broadcast_bytes(USER_OVERHEAD) / limit.max(1);
        (packets / BACKLOG_ROUNDS).clamp(least, least.max(BURST_MAX))
    }
}

/// Rounds in which a backlog is sent once to one target, if [`BURST_MAX`] permits.
const BACKLOG_ROUNDS: usize = 16;
/// Most packets to one target in a round, unless the configuration has a higher number: about what
/// a socket buffer of the usual size holds.
const BURST_MAX: usize = 64;
