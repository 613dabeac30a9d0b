//! Answers pings and relays them for peers. Go: `net.go`, from `handlePing`.

use std::net::SocketAddr;

use tracing::debug;

use super::{
    Host, Swim,
    budget::{Budget, Dropped},
    relays::Requester,
    timer::Timer,
    under_way::{Relay, Route},
};
use crate::{
    base::{Instant, printable},
    wire::{Ack, Bin, IndirectPing, Nack, Ping, RawAddr, SeqNo},
};

impl Swim {
    pub(super) fn send_ping(
        &mut self,
        to: SocketAddr,
        seq_no: SeqNo,
        node: &[u8],
        host: &mut dyn Host,
    ) {
        let mut message = self.builder.take_scratch();
        self.encode_ping(seq_no, node, &mut message);
        self.send_with_gossip(to, &message, host);
        self.builder.put_scratch(message);
    }

    pub(super) fn encode_ping(&self, seq_no: SeqNo, node: &[u8], out: &mut Vec<u8>) {
        let Some(me) = self.table.get(self.me) else { return };
        let ping = Ping {
            seq_no,
            node,
            source_addr: me.record.addr.as_slice().into(),
            source_port: me.record.port,
            source_node: me.record.name.as_bytes(),
        };
        ping.encode(out);
    }

    /// Answers with an ack; an ack to a member also carries gossip. Go: `handlePing`.
    pub(super) fn handle_ping(&mut self, from: SocketAddr, ping: &Ping<'_>, host: &mut dyn Host) {
        if !self.budget.take_answer() {
            self.stats.dropped_answers += 1;
            return;
        }
        if !ping.node.is_empty() && ping.node != self.config.name.as_bytes() {
            let name = printable(ping.node).to_string();
            return self.budget.drop_part(Dropped::UnexpectedNode(name));
        }
        let source = (ping.source_addr.as_slice(), ping.source_port, ping.source_node);
        let route = self.route(source, from);
        let mut payload = self.builder.take_scratch();
        host.ack_payload(&mut payload);
        let bin = if payload.is_empty() { Bin::NIL } else { payload.as_slice().into() };
        let mut message = self.builder.take_scratch();
        Ack { seq_no: ping.seq_no, payload: bin }.encode(&mut message);
        if route.member || self.fits_echo(ping.seq_no, &mut message) {
            self.answer(route, &message, host);
        } else {
            self.stats.dropped_answers += 1;
        }
        self.builder.put_scratch(message);
        self.builder.put_scratch(payload);
    }

    /// Shortens an ack to a non-member until it is no larger than the ping: first to Go's form with
    /// an empty payload, then to one without the field. Returns whether it may be sent.
    fn fits_echo(&mut self, seq_no: SeqNo, ack: &mut Vec<u8>) -> bool {
        let mut fits = |ack: &[u8]| self.budget.take_echo(self.codec.sealed_len(ack.len()));
        if fits(ack) {
            return true;
        }
        ack.clear();
        Ack { seq_no, payload: Bin::NIL }.encode(ack);
        if fits(ack) {
            return true;
        }
        ack.clear();
        Ack::encode_bare(seq_no, ack);
        fits(ack)
    }

    /// Where the answer to a request is sent: to the source address in the request if that belongs
    /// to a member or to the sender's host, otherwise to the sender, so that no third party
    /// receives answers.
    fn route(&mut self, source: (&[u8], u16, &[u8]), from: SocketAddr) -> Route {
        let (addr, port, name) = source;
        let ip = RawAddr::from_wire(addr).and_then(|addr| addr.ip()).filter(|_| port > 0);
        let named = ip.map_or(from, |ip| SocketAddr::new(ip, port));
        if self.table.has_addr(named, name) {
            return Route { to: named, member: true };
        }
        if named.ip() == from.ip().to_canonical() {
            return Route { to: named, member: false };
        }
        Route { to: from, member: self.table.has_addr(from, name) }
    }

    /// Sends an answer; to members with gossip, but only once for each datagram.
    fn answer(&mut self, route: Route, message: &[u8], host: &mut dyn Host) {
        if route.member && self.budget.take_gossip() {
            self.send_with_gossip(route.to, message, host);
        } else {
            self.send_compound(route.to, &[message], false);
        }
    }

    /// Pings a node on behalf of a peer. Go: `handleIndirectPing`.
    pub(super) fn handle_indirect_ping(
        &mut self,
        now: Instant,
        from: SocketAddr,
        request: &IndirectPing<'_>,
        host: &mut dyn Host,
    ) {
        if !self.budget.take_answer() {
            self.stats.dropped_answers += 1;
            return;
        }
        let target = RawAddr::from_wire(request.target.as_slice()).and_then(|addr| addr.ip());
        let Some(ip) = target else {
            self.stats.dropped_malformed += 1;
            return;
        };
        let requester = match self.table.has_addr(from, request.source_node) {
            true => Requester::Member(from),
            false => Requester::Stranger(from.ip()),
        };
        let Some(share) = self.relays.begin(requester) else {
            self.stats.dropped_relays += 1;
            return;
        };
        let source = (request.source_addr.as_slice(), request.source_port, request.source_node);
        let route = self.route(source, from);
        let to = SocketAddr::new(ip, self.fix_port(request.port));
        let target = Route { to, member: self.table.has_addr(to, request.node) };
        let seq_no = self.next_seq_no();
        let mut ping = self.builder.take_scratch();
        let mut echo = if route.member { 0 } else { self.codec.sealed_len(BARE_ANSWER_BYTES) };
        if target.member {
            self.encode_ping(seq_no, request.node, &mut ping);
        } else {
            // The target answers to the address that the ping came from; it need not know this
            // node.
            Ping { seq_no, node: request.node, ..Ping::default() }.encode(&mut ping);
            echo += self.codec.sealed_len(ping.len());
        }
        if self.budget.take_echo(echo) {
            let (asked, nack) = (request.seq_no, request.nack);
            self.relayed.insert(seq_no, Relay { route, share, seq_no: asked, nack });
            self.timers.set(now + self.config.probe_timeout, Timer::Relay(seq_no));
            self.answer(target, &ping, host);
        } else {
            self.relays.end(share);
            self.stats.dropped_answers += 1;
        }
        self.builder.put_scratch(ping);
    }

    /// Passes an ack to the probe or relay with its sequence number. The sender is not compared.
    /// Go: `handleAck`.
    pub(super) fn handle_ack(
        &mut self,
        now: Instant,
        from: SocketAddr,
        ack: &Ack<'_>,
        host: &mut dyn Host,
    ) {
        if let Some(probe) = self.probes.take_acked(ack.seq_no) {
            self.note_reached(now, from, &probe);
            return self.probe_acked(now, &probe, ack.payload.as_slice(), host);
        }
        let Some(Relay { route, share, seq_no, .. }) = self.relayed.remove(&ack.seq_no) else {
            if self.logs.details.admit(now) {
                debug!(target: "memberlist", seq_no = ack.seq_no.0, "no ping waits for this ack");
            }
            return;
        };
        self.relays.end(share);
        let mut message = self.builder.take_scratch();
        match route.member {
            true => Ack { seq_no, payload: Bin::NIL }.encode(&mut message),
            false => Ack::encode_bare(seq_no, &mut message),
        }
        self.answer(route, &message, host);
        self.builder.put_scratch(message);
    }

    /// Go: `handleNack`.
    pub(super) fn handle_nack(&mut self, nack: Nack) {
        self.probes.count_nack(nack.seq_no);
    }

    /// A relayed ping was not acked in time.
    pub(super) fn expire_relay(&mut self, seq_no: SeqNo, host: &mut dyn Host) {
        let Some(relay) = self.relayed.remove(&seq_no) else { return };
        let Relay { route, share, seq_no, nack } = relay;
        self.relays.end(share);
        if nack {
            let mut message = self.builder.take_scratch();
            Nack { seq_no }.encode(&mut message);
            self.budget = Budget::new(0); // there is no current datagram
            self.answer(route, &message, host);
            self.builder.put_scratch(message);
        }
    }
}

/// Largest ack or nack that carries only its sequence number.
const BARE_ANSWER_BYTES: usize = 13;
