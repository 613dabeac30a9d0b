//! Receives and sends packets: dispatches received messages and piggybacks gossip on sent ones.

use std::net::SocketAddr;

use tracing::{debug, error, warn};

use super::{
    Done, Host, Order, Origin, Output, Seal, Swim,
    budget::{Budget, Dropped},
    claim::Source,
    handoff::{Handoff, Queued},
    packet_builder::PacketBuilder,
    queue::retransmit_limit,
};
use crate::{
    base::{Instant, mutated, printable},
    wire::{
        Alive, CompoundParts, Dead, DecodeError, Kind, RawAddr, Suspect, decode_body, kind,
        limits::PACKET_DEPTH_MAX,
    },
};

impl Swim {
    /// Handles a datagram read at `now`. Pings, acks and nacks are handled at once; other messages
    /// wait for [`Swim::handle_queued`]. Go: `net.go`, `ingestPacket`.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        host: &mut dyn Host,
    ) {
        self.stats.udp_received += datagram.len() as u64;
        self.budget = Budget::new(datagram.len());
        self.credit.earn(datagram.len());
        let mut buf = self.builder.take_scratch();
        match self.codec.open_sealed(datagram, &mut buf) {
            Ok((_, Some(seal))) if self.config.drop_replays && !self.replays.admit(now, &seal) => {
                self.stats.dropped_replays += 1;
                if self.logs.details.admit(now) {
                    debug!(target: "memberlist", "Dropping the copy of a packet from={from}");
                }
            }
            Ok((message, seal)) => {
                self.reach.heard(from);
                self.seal = self.seal_of(seal.is_some());
                self.dispatch(now, from, message, 0, host);
            }
            Err(error) => self.malformed(error),
        }
        self.builder.put_scratch(buf);
        self.log_dropped(now, from);
    }

    /// Whether messages wait for [`Swim::handle_queued`].
    pub fn has_queued(&self) -> bool {
        !self.handoff.is_empty()
    }

    /// Drains the hand-off queues: alive messages first, the newest first. Call it after each batch
    /// of datagrams. Go: `packetHandler`.
    pub fn handle_queued(&mut self, now: Instant, host: &mut dyn Host) {
        self.handle_some_queued(now, usize::MAX, host);
    }

    /// The same for at most so many messages: the socket is read again before the others, so that
    /// pings are answered however much waits.
    pub fn handle_some_queued(&mut self, now: Instant, max: usize, host: &mut dyn Host) {
        self.drain_queued(now, max, Handoff::pop, host);
    }

    /// What may refute a suspicion must not wait for its timer.
    pub(super) fn handle_queued_alive(&mut self, now: Instant, host: &mut dyn Host) {
        self.drain_queued(now, usize::MAX, Handoff::pop_high, host);
    }

    fn drain_queued(&mut self, now: Instant, max: usize, pop: Pop, host: &mut dyn Host) {
        if self.handoff.is_empty() {
            return;
        }
        let mut body = self.builder.take_scratch();
        let (mut first, mut count) = (None, 0_usize);
        for _ in 0..max {
            let Some((kind, origin)) = pop(&mut self.handoff, &mut body) else { break };
            if let Err(error) = self.handle_handed_off(now, kind, &body, origin, host) {
                first.get_or_insert((Dropped::of(Some(kind.kind()), error), origin.from));
                count += 1;
            }
        }
        self.builder.put_scratch(body);
        if let Some((reason, from)) = first {
            self.stats.dropped_malformed += count as u64;
            // The last datagram has already been logged.
            if !self.budget.has_dropped() {
                self.log_malformed(now, &reason, from, count - 1);
            }
        }
    }

    /// Handles one message of a datagram, which may contain others. Go: `handleCommand`.
    fn dispatch(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: &[u8],
        depth: usize,
        host: &mut dyn Host,
    ) {
        if !self.budget.take_part() {
            return;
        }
        if depth > PACKET_DEPTH_MAX {
            return self.malformed(Dropped::TooDeep);
        }
        if let Err(error) = self.dispatch_part(now, from, message, depth, host) {
            let kind = Kind::split(message).ok().map(|(kind, _)| kind);
            self.malformed(Dropped::of(kind, error));
        }
    }

    fn dispatch_part(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: &[u8],
        depth: usize,
        host: &mut dyn Host,
    ) -> Result<(), DecodeError> {
        let (kind, body) = Kind::split(message)?;
        match kind {
            Kind::Ping => self.handle_ping(from, &decode_body(body)?, host),
            Kind::IndirectPing => self.handle_indirect_ping(now, from, &decode_body(body)?, host),
            Kind::Ack => self.handle_ack(now, from, &decode_body(body)?, host),
            Kind::Nack => self.handle_nack(decode_body(body)?),
            Kind::Alive => {
                // Checked here, where the sender is known. Go: `handleAlive`.
                if self.addr_allowed(RawAddr::from(from.ip())) {
                    self.hand_off(now, Queued::Alive, body, from);
                } else if self.logs.details.admit(now) {
                    debug!(target: "memberlist", "Blocked alive message from {from}");
                }
            }
            Kind::Suspect => self.hand_off(now, Queued::Suspect, body, from),
            Kind::Dead => self.hand_off(now, Queued::Dead, body, from),
            Kind::User => self.hand_off(now, Queued::User, body, from),
            Kind::Compound => {
                for part in CompoundParts::parse(body)? {
                    match part {
                        Ok(part) => self.dispatch(now, from, part, depth + 1, host),
                        Err(error) => self.malformed(error),
                    }
                    if self.budget.is_spent() {
                        break;
                    }
                }
            }
            Kind::Compress => self.unpack(now, from, body, depth, host),
        }
        Ok(())
    }

    fn unpack(
        &mut self,
        now: Instant,
        from: SocketAddr,
        body: &[u8],
        depth: usize,
        host: &mut dyn Host,
    ) {
        if self.budget.unpacked == 0 {
            return self.malformed(Dropped::UnpacksToTooMuch);
        }
        let mut plain = self.builder.take_scratch();
        match self.codec.decompress(body, &mut plain) {
            Ok(()) => {
                self.budget.unpacked = self.budget.unpacked.saturating_sub(plain.len());
                self.dispatch(now, from, &plain, depth + 1, host);
            }
            Err(error) => {
                self.budget.unpacked = 0; // malformed data costs as much as valid data
                self.malformed(Dropped::of(Some(Kind::Compress), error));
            }
        }
        self.builder.put_scratch(plain);
    }

    fn hand_off(&mut self, now: Instant, kind: Queued, body: &[u8], from: SocketAddr) {
        if !self.handoff.push(kind, body, Origin { from, seal: self.seal }) {
            self.stats.dropped_queue_full += 1;
            if self.logs.handoff.admit(now) {
                warn!(target: "memberlist", "handler queue full, dropping message from={from}");
            }
        }
    }

    fn handle_handed_off(
        &mut self,
        now: Instant,
        kind: Queued,
        body: &[u8],
        origin: Origin,
        host: &mut dyn Host,
    ) -> Result<(), DecodeError> {
        // Names in the table are text: bytes that are not UTF-8 match none.
        let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
        match kind {
            Queued::Alive => {
                let mut alive: Alive<'_> = decode_body(body)?;
                alive.port = self.fix_port(alive.port);
                self.alive(now, &alive, None, Source::Anybody, host);
            }
            Queued::Suspect => {
                let Suspect { incarnation, node, from } = decode_body(body)?;
                self.suspect(now, text(node), incarnation, text(from), Source::Anybody);
            }
            Queued::Dead => {
                let Dead { incarnation, node, from } = decode_body(body)?;
                self.dead(now, text(node), incarnation, text(from), None, Source::Anybody, host);
            }
            Queued::User => host.on_user_message(body, origin),
        }
        Ok(())
    }

    /// How a message was protected; `by_key` if a key decrypted it.
    pub(super) fn seal_of(&self, by_key: bool) -> Seal {
        match (by_key, self.keyring().is_empty()) {
            (true, _) => Seal::Key,
            (false, false) => Seal::Clear,
            (false, true) => Seal::NoKeys,
        }
    }

    fn malformed(&mut self, reason: impl Into<Dropped>) {
        self.stats.dropped_malformed += 1;
        self.budget.drop_part(reason.into());
    }

    /// Logs one line for all dropped parts of the datagram.
    fn log_dropped(&mut self, now: Instant, from: SocketAddr) {
        let Some((reason, parts)) = self.budget.take_dropped() else { return };
        self.log_malformed(now, &reason, from, parts.saturating_sub(1));
    }

    fn log_malformed(&mut self, now: Instant, reason: &Dropped, from: SocketAddr, more: usize) {
        if !self.logs.packets.admit(now) {
            return;
        }
        let text = match reason {
            Dropped::Undecodable(DecodeError::Crypto(_)) => {
                format!("Decrypt packet failed: {reason}")
            }
            Dropped::Undecodable(DecodeError::ForeignLabel { got }) => {
                format!("discarding packet with unacceptable label \"{}\":", printable(got))
            }
            Dropped::Undecodable(DecodeError::ForeignProtocol(protocol)) => {
                format!("msg type ({}) not supported: {reason}", protocol.first_byte())
            }
            reason => reason.to_string(),
        };
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        if reason.is_warning() {
            warn!(target: "memberlist", "{text} from={from}{more}");
        } else {
            error!(target: "memberlist", "{text} from={from}{more}");
        }
    }

    /// Sends one message and fills the packet with broadcasts. Go: `sendMsg`.
    pub(super) fn send_with_gossip(&mut self, to: SocketAddr, message: &[u8], host: &mut dyn Host) {
        let limit = self.packet_budget(self.codec.config().verify_outgoing, message.len());
        let mut builder = std::mem::take(&mut self.builder);
        builder.push(message);
        self.fill(&mut builder, limit, host);
        self.send_built(to, &mut builder, false);
        self.builder = builder;
    }

    /// Sends these messages as one packet, without gossip.
    pub(super) fn send_compound(&mut self, to: SocketAddr, messages: &[&[u8]], crc: bool) {
        let mut builder = std::mem::take(&mut self.builder);
        messages.iter().for_each(|message| builder.push(message));
        self.send_built(to, &mut builder, crc);
        self.builder = builder;
    }

    /// Sends a user message in a packet of its own. Messages to addresses of non-members are
    /// limited to about the number of bytes received. Go: `SendToAddress`.
    pub fn send_user(&mut self, to: SocketAddr, message: &[u8]) {
        let bytes = self.codec.sealed_len(message.len() + 1);
        if !self.table.has_addr(to, b"") && !self.credit.spend(bytes) {
            self.stats.dropped_answers += 1;
            return;
        }
        let mut packet = self.builder.take_scratch();
        packet.push(kind::USER);
        packet.extend_from_slice(message);
        self.send_compound(to, &[&packet], false);
        self.builder.put_scratch(packet);
    }

    /// Bytes left for piggybacked messages beside a message of `used` bytes.
    pub(super) fn packet_budget(&self, encrypts: bool, used: usize) -> usize {
        let overhead = self.codec.overhead(encrypts && !self.keyring().is_empty());
        self.config.udp_buffer_size.saturating_sub(used + COMPOUND_HEADER + overhead)
    }

    /// Largest message of the layer above that fits a gossip packet.
    pub(crate) fn broadcast_bytes_max(&self) -> usize {
        self.packet_budget(true, 0).saturating_sub(USER_OVERHEAD)
    }

    /// Takes back the buffer of a packet that was sent.
    pub fn recycle(&mut self, mut packet: Vec<u8>) {
        if self.spare.len() < SPARE_MAX && packet.capacity() <= SPARE_BYTES_MAX {
            packet.clear();
            self.spare.push(packet);
        }
    }

    /// Fills a packet: our own broadcasts first, then those of the layer above. Go:
    /// `getBroadcasts`.
    pub(super) fn fill(&mut self, builder: &mut PacketBuilder, limit: usize, host: &mut dyn Host) {
        let transmits = match mutated!(self.config, EndlessTransmits) {
            false => retransmit_limit(self.config.retransmit_mult, self.table.len()),
            true => u32::MAX,
        };
        let emit = &mut |message: &[u8]| builder.push(message);
        let used = self.queue.take(Order::Longest, COMPOUND_OVERHEAD, limit, transmits, 1, emit);
        self.end_broadcasts();
        self.fill_from_host(builder, limit.saturating_sub(used), 1, host);
    }

    /// Completes the operations whose broadcast was sent for the last time or replaced.
    pub(super) fn end_broadcasts(&mut self) {
        let Self { queue, done, .. } = self;
        done.extend(queue.take_ended().map(|(op, _)| Done { op, result: Ok(()) }));
    }

    pub(super) fn fill_from_host(
        &mut self,
        builder: &mut PacketBuilder,
        limit: usize,
        copies: u32,
        host: &mut dyn Host,
    ) {
        if limit > USER_OVERHEAD {
            let push = &mut |message: &[u8]| builder.push_user(message);
            host.take_broadcasts(USER_OVERHEAD, limit, copies, push);
        }
    }

    /// Encrypts and sends the collected parts, in packets of at most 255 parts.
    pub(super) fn send_built(&mut self, to: SocketAddr, builder: &mut PacketBuilder, crc: bool) {
        self.send_copy(to, builder, crc);
        builder.clear();
    }

    /// The same, and keeps it to be sent to others.
    pub(super) fn send_copy(&mut self, to: SocketAddr, builder: &mut PacketBuilder, crc: bool) {
        while let Some(message) = builder.next_packet() {
            let mut data = self.spare.pop().unwrap_or_default();
            self.codec.seal(&mut self.rng, message, crc, &mut data);
            self.stats.udp_sent += data.len() as u64;
            self.outputs.push_back(Output::Packet { to, data });
        }
        builder.rewind();
    }
}

/// Takes the next message that waits.
type Pop = fn(&mut Handoff, &mut Vec<u8>) -> Option<(Queued, Origin)>;

/// Buffers of packets that are kept for the next ones, and how large.
const SPARE_MAX: usize = 32;
const SPARE_BYTES_MAX: usize = 4 * 1024;
/// Bytes that a part takes in a compound in addition to its own. Go: `compoundOverhead`.
const COMPOUND_OVERHEAD: usize = 2;
/// The same for a user message, including its type byte. Go: `userMsgOverhead`.
pub(super) const USER_OVERHEAD: usize = COMPOUND_OVERHEAD + 1;
/// Bytes at the front of a compound. Go: `compoundHeaderOverhead`.
const COMPOUND_HEADER: usize = 2;
