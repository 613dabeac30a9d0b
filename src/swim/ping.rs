//! Pings answered, relayed, and asked through the API. Go: `net.go`, `handlePing` and on.

use std::net::SocketAddr;

use tracing::debug;

use super::{
    Error, Host, OpId, OpResult, Output, Swim,
    budget::{Budget, Dropped},
    relays::{Requester, Share},
    table::RawAddr,
    timer::Timer,
};
use crate::{
    base::{Instant, printable},
    wire::{Ack, Bin, IndirectPing, Nack, Ping, SeqNo},
};

/// Who waits for an ack.
#[derive(Debug)]
pub(super) enum Handler {
    /// The running probe.
    Probe,
    /// A ping for somebody else.
    Relay {
        /// Where the answer goes.
        route: Route,
        /// To be given back.
        share: Share,
        /// Of the request.
        seq_no: SeqNo,
        /// Whether a nack is wanted.
        nack: bool,
    },
    /// [`Swim::start_ping`].
    Api {
        /// Of the caller.
        op: OpId,
        /// Whom.
        name: String,
        /// When the ping went out.
        sent: Instant,
    },
}

/// An address that an answer goes to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    to: SocketAddr,
    /// Whether a node is listed with it. Others get no gossip, and no more bytes than they sent.
    member: bool,
}

impl Swim {
    /// Pings an address; done with the round-trip time, or after a probe timeout with an error.
    /// Changes neither state nor health. Go: `Ping`.
    pub fn start_ping(
        &mut self,
        now: Instant,
        to: SocketAddr,
        name: &str,
        host: &mut dyn Host,
    ) -> OpId {
        let op = self.op();
        let seq_no = self.next_seq_no();
        self.handlers.insert(seq_no, Handler::Api { op, name: name.to_owned(), sent: now });
        self.timers.set(now + self.config.probe_timeout, Timer::Handler(seq_no));
        self.send_ping(to, seq_no, name.as_bytes(), host);
        op
    }

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

    /// Answers with an ack, and members with gossip. Go: `handlePing`.
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

    /// Shortens an ack for a stranger until it is no larger than what came: first as Go's without
    /// a payload, then without the field.
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

    /// Where the answer to a request goes: to the source that it names if that is a member's
    /// address or on the sender's host, else to the sender. So no third party can be answered.
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

    /// Sends an answer, to members with gossip aboard, but once for each datagram.
    fn answer(&mut self, route: Route, message: &[u8], host: &mut dyn Host) {
        if route.member && self.budget.take_gossip() {
            self.send_with_gossip(route.to, message, host);
        } else {
            self.send_compound(route.to, &[message], false);
        }
    }

    /// Pings a node for a peer that got no answer. Go: `handleIndirectPing`.
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
            // Whoever is there answers to where it comes from; it need not know us.
            Ping { seq_no, node: request.node, ..Ping::default() }.encode(&mut ping);
            echo += self.codec.sealed_len(ping.len());
        }
        if self.budget.take_echo(echo) {
            let (asked, nack) = (request.seq_no, request.nack);
            self.handlers.insert(seq_no, Handler::Relay { route, share, seq_no: asked, nack });
            self.timers.set(now + self.config.probe_timeout, Timer::Handler(seq_no));
            self.answer(target, &ping, host);
        } else {
            self.relays.end(share);
            self.stats.dropped_answers += 1;
        }
        self.builder.put_scratch(ping);
    }

    /// Whoever waits for this ack gets it; the sender does not matter. Go: `handleAck`.
    pub(super) fn handle_ack(&mut self, now: Instant, ack: &Ack<'_>, host: &mut dyn Host) {
        match self.handlers.remove(&ack.seq_no) {
            Some(Handler::Probe) => self.probe_acked(now, ack.payload.as_slice(), host),
            Some(Handler::Relay { route, share, seq_no, .. }) => {
                self.relays.end(share);
                let mut message = self.builder.take_scratch();
                match route.member {
                    true => Ack { seq_no, payload: Bin::NIL }.encode(&mut message),
                    false => Ack::encode_bare(seq_no, &mut message),
                }
                self.answer(route, &message, host);
                self.builder.put_scratch(message);
            }
            Some(Handler::Api { op, sent, .. }) => {
                let result = Ok(OpResult::Rtt(now - sent));
                self.outputs.push_back(Output::Done { op, result });
            }
            None if self.logs.details.admit(now) => {
                debug!(target: "memberlist", seq_no = ack.seq_no.0, "no ping waits for this ack");
            }
            None => {}
        }
    }

    /// A helper got no answer either; it is itself alive, though. Go: `handleNack`.
    pub(super) fn handle_nack(&mut self, nack: Nack) {
        if matches!(self.handlers.get(&nack.seq_no), Some(Handler::Probe))
            && let Some(probe) = &mut self.probe
        {
            probe.nacks = (probe.nacks + 1).min(probe.expected_nacks);
        }
    }

    /// The time for an ack to a relayed or API ping is over.
    pub(super) fn expire_handler(&mut self, seq_no: SeqNo, host: &mut dyn Host) {
        match self.handlers.remove(&seq_no) {
            Some(Handler::Relay { route, share, seq_no, nack }) => {
                self.relays.end(share);
                if nack {
                    let mut message = self.builder.take_scratch();
                    Nack { seq_no }.encode(&mut message);
                    self.budget = Budget::new(0); // no datagram is at hand
                    self.answer(route, &message, host);
                    self.builder.put_scratch(message);
                }
            }
            Some(Handler::Api { op, name, .. }) => {
                let error = Error::Peer(format!("No response from node {name}"));
                self.outputs.push_back(Output::Done { op, result: Err(error) });
            }
            Some(Handler::Probe) => {
                self.handlers.insert(seq_no, Handler::Probe); // its own timers end it
            }
            None => {}
        }
    }
}

/// An ack or nack that carries nothing but its number, at most.
const BARE_ANSWER_BYTES: usize = 13;
