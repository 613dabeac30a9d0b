//! Full state exchange over a stream. Go: `state.go`, `pushPull`; `net.go`, `sendAndReceiveState`.

use std::{net::SocketAddr, sync::Arc};

use tracing::{debug, error, info};

use super::{
    Error, Exchange, Host, NodeStateKind, OpId, Output, Swim,
    answers::{Answer, State, too_large},
    draw::draw,
    encoding::{Encoding, Waiting},
    host::NodeView,
    merge::PAUSE,
    row::Row,
    rows::{Rows, SLICE_BYTES},
    timer::Timer,
    under_way::Stream,
    zones::Partners,
};
use crate::{
    base::{Instant, printable},
    wire::{Incompatible, NodeState, PushPull, RawAddr, Versions, Vsn},
};

impl Swim {
    /// Syncs with a random node.
    pub(super) fn push_pull_tick(&mut self, now: Instant, host: &mut dyn Host) {
        self.timers.set(now + self.push_pull_period(), Timer::PushPull);
        let row = self.push_pull_partner().and_then(|slot| self.table.get(slot));
        let target = row.and_then(|row| Some((row.record.name.clone(), row.socket_addr()?)));
        if let Some((name, to)) = target {
            self.open_push_pull(now, to, &name, None, false, host);
        }
    }

    /// The node to sync with next.
    pub(super) fn push_pull_partner(&mut self) -> Option<u32> {
        let Self { table, rng, me, .. } = self;
        let wanted = |slot, row: &Row| slot != *me && row.state == NodeStateKind::Alive;
        let home = table.zones().and_then(|zones| zones.home(*me));
        if let Some(Partners::Zone(nodes)) = home.map(|home| home.partners(rng)) {
            let found = draw(nodes.len(), 1, rng, |index| {
                let slot = *nodes.get(index)?;
                table.get(slot).is_some_and(|row| wanted(slot, row)).then_some(slot)
            });
            if !found.is_empty() {
                return found.first().copied();
            }
        }
        table.sample(1, false, rng, wanted).first().copied()
    }

    /// Starts one push/pull with a resolved address; `name` may be empty. The layer above iterates
    /// over the addresses of a join. Go: `pushPullNode`.
    pub fn start_push_pull(
        &mut self,
        now: Instant,
        to: SocketAddr,
        name: &str,
        join: bool,
        host: &mut dyn Host,
    ) -> OpId {
        let op = self.op();
        if self.config.require_node_names && name.is_empty() {
            let text = "memberlist: node names are required by configuration but one was not \
                        provided";
            self.done(op, Err(Error::Peer(text.into())));
            return op;
        }
        self.open_push_pull(now, to, name, Some(op), join, host);
        op
    }

    pub(super) fn open_push_pull(
        &mut self,
        now: Instant,
        to: SocketAddr,
        name: &str,
        op: Option<OpId>,
        join: bool,
        host: &mut dyn Host,
    ) {
        match self.local_state(now, join, host) {
            Ok(Some(answer)) => self.open_with_state(now, to, name, op, answer),
            Ok(None) => {
                let name = name.into();
                self.wait_for_state(now, join, Waiting::Own { to, name, op });
            }
            Err(error) => self.end_push_pull(now, to, op, error),
        }
    }

    pub(super) fn open_with_state(
        &mut self,
        now: Instant,
        to: SocketAddr,
        name: &str,
        op: Option<OpId>,
        answer: Answer,
    ) {
        let id = self.open_stream();
        #[cfg(feature = "sim")]
        self.share(id, &answer);
        let (join, message) = (answer.join, answer.message);
        self.streams.insert(id, Stream::PushPull { op, to, began: now, join });
        self.stats.tcp_connect += 1;
        self.stats.tcp_sent += message.len() as u64;
        debug!(target: "memberlist", "Initiating push/pull sync with: {name} {to}");
        let deadline = now + self.config.tcp_timeout;
        self.outputs.push_back(Output::Open { id, to, message, reply: true, deadline });
    }

    /// A push/pull that we initiated failed.
    pub(super) fn end_push_pull(
        &mut self,
        now: Instant,
        to: SocketAddr,
        op: Option<OpId>,
        error: Error,
    ) {
        if let Some(op) = op {
            self.done(op, Err(error));
        } else if self.logs.push_pulls.admit(now) {
            error!(target: "memberlist", "Push/Pull with {to} failed: {error}");
        }
    }

    /// Our whole state as a push/pull message, encoded again if it has changed; `None` if encoding
    /// takes several turns, see [`Swim::wait_for_state`]. Go: `sendLocalState`.
    pub(super) fn local_state(
        &mut self,
        now: Instant,
        join: bool,
        host: &mut dyn Host,
    ) -> Result<Option<Answer>, Error> {
        #[cfg(feature = "sim")]
        if self.shares_pages() {
            return self.rowless_state(now, join, host).map(Some);
        }
        // A state that is certainly too large is refused without being encoded for each request.
        let least = self.state_bytes_min();
        if let Some(reason) = too_large(least, 0) {
            return Err(Error::Peer(reason));
        }
        if let Some(answer) = self.answers.recent(now, join, self.config.tcp_timeout) {
            return Ok(Some(answer.clone()));
        }
        let generation = self.table.generation();
        let large = self.state_bytes_max() > SLICE_BYTES;
        if large && (self.encodes(join) || !self.answers.has_table(join, generation)) {
            return Ok(None);
        }
        let mut user_state = Vec::new();
        host.local_state(join, &mut user_state);
        let state = State { now, join, generation, user_state: &user_state };
        if let Some(answer) = self.answers.same(&state) {
            return Ok(Some(answer));
        }
        if large {
            return Ok(None);
        }
        if let Some(reason) = too_large(least, user_state.len()) {
            return Err(Error::Peer(reason)); // found without the work of encoding it
        }
        let mut rows = Rows::with_capacity(self.state_bytes_max() + user_state.len());
        while !rows.add_pages(&mut self.table, self.answers.last_rows()) {}
        self.finish_state(&state, rows).map(Some)
    }

    /// Completes an answer from all rows and the user state.
    pub(super) fn finish_state(&mut self, state: &State<'_>, rows: Rows) -> Result<Answer, Error> {
        let answer = self.answers.make(state, rows);
        if let Some(reason) = too_large(answer.message.len(), state.user_state.len()) {
            return Err(Error::Peer(reason));
        }
        self.stats.local_state_bytes = answer.message.len() as u64;
        Ok(answer)
    }

    /// Approximate upper bound of the bytes of our rows.
    pub(super) fn state_bytes_max(&self) -> usize {
        self.table.bytes() + self.table.len() * ROW_BYTES
    }

    /// Whether such a state is being encoded.
    pub(super) fn encodes(&self, join: bool) -> bool {
        self.answers.encodings.iter().any(|encoding| encoding.join == join)
    }

    /// Continues with `waiting` once our state is encoded; starts encoding if necessary.
    pub(super) fn wait_for_state(&mut self, now: Instant, join: bool, waiting: Waiting) {
        let under_way = self.answers.encodings.iter_mut().find(|encoding| encoding.join == join);
        if let Some(encoding) = under_way {
            return encoding.waiting.push(waiting);
        }
        if self.answers.encodings.is_empty() {
            self.timers.set(now, Timer::Encode);
        }
        let (generation, rows) =
            (self.table.generation(), Rows::with_capacity(self.state_bytes_max()));
        let encoding = Encoding { join, generation, rows, waiting: vec![waiting] };
        self.answers.encodings.push_back(encoding);
    }

    /// Encodes the next rows of the oldest state.
    pub(super) fn encode_next(&mut self, now: Instant, host: &mut dyn Host) {
        let Some(mut encoding) = self.answers.encodings.pop_front() else { return };
        let ended = encoding.rows.add_pages(&mut self.table, self.answers.last_rows());
        let refusal = too_large(encoding.rows.bytes(), 0);
        if ended || refusal.is_some() {
            self.end_encoding(now, encoding, refusal, host);
        } else {
            self.answers.encodings.push_back(encoding);
        }
        if !self.answers.encodings.is_empty() {
            self.timers.set(now + PAUSE, Timer::Encode);
        }
    }

    fn end_encoding(
        &mut self,
        now: Instant,
        encoding: Encoding,
        refusal: Option<String>,
        host: &mut dyn Host,
    ) {
        let Encoding { join, generation, rows, waiting, .. } = encoding;
        let answer = match refusal {
            Some(reason) => Err(Error::Peer(reason)),
            None => {
                let mut user_state = Vec::new();
                host.local_state(join, &mut user_state);
                self.finish_state(&State { now, join, generation, user_state: &user_state }, rows)
            }
        };
        for waiting in waiting {
            match waiting {
                Waiting::Peer { asked, state } => {
                    self.answer_state(now, &asked, answer.as_ref());
                    let exchange = Exchange { peer: asked.from, ours: false, join };
                    let merged = self.merge_later(now, state, exchange, host);
                    self.log_refused_merge(now, asked.from, merged);
                }
                Waiting::Own { to, name, op } => match &answer {
                    Ok(answer) => {
                        self.open_with_state(now, to, &name, op, answer.clone());
                    }
                    Err(error) => self.end_push_pull(now, to, op, error.clone()),
                },
            }
        }
    }

    /// Lower bound of the bytes of our state, computed without encoding it.
    pub(super) fn state_bytes_min(&self) -> usize {
        self.table.bytes() + self.table.len() * ROW_BYTES_MIN
    }

    /// Refuses the state of a peer that this node does not understand, or that does not understand
    /// this node. Other incompatible rows are skipped individually. Go: `verifyProtocol`, which
    /// refuses the whole state, so that one incompatible row anywhere blocks all joins.
    pub(super) fn verify_peer(&self, state: &PushPull, exchange: Exchange) -> Result<(), Error> {
        let mut versions = state.versions.clone();
        versions.add(true, self.vsn.as_slice());
        if versions.compatible() {
            return Ok(());
        }
        // Some node is incompatible; find out which.
        let (mut peer, mut first, mut some_fit) = (None, None, false);
        for row in state.rows().flatten().filter(NodeState::is_alive) {
            if row.name == self.config.name.as_bytes() {
                continue;
            }
            let vsn = Vsn::from_wire(row.vsn.as_slice()).unwrap_or_default();
            let fits = self.vsn.fits(vsn);
            let addr = RawAddr::from_wire(row.addr.as_slice()).and_then(|addr| addr.ip());
            let is_peer = addr == Some(exchange.peer.ip().to_canonical())
                && (!exchange.ours || self.fix_port(row.port) == exchange.peer.port());
            if fits && is_peer {
                return Ok(());
            }
            some_fit |= fits;
            if !fits {
                let row = (row.name.to_vec(), vsn);
                first.get_or_insert_with(|| row.clone());
                peer = peer.or(is_peer.then_some(row));
            }
        }
        let Some((name, vsn)) = peer.or(first.filter(|_| !some_fit)) else { return Ok(()) };
        let mut pair = Versions::default();
        pair.add(true, vsn.as_slice());
        pair.add(true, self.vsn.as_slice());
        understood(&pair, &name, vsn)?;
        understood(&pair, self.config.name.as_bytes(), self.vsn)
    }

    pub(super) fn check_merge(&self, state: &PushPull, host: &mut dyn Host) -> Result<(), Error> {
        struct Owned {
            name: Arc<str>,
            addr: RawAddr,
            meta: Arc<[u8]>,
        }
        let rows: Vec<_> = state.rows().flatten().collect();
        let owned: Vec<_> = rows
            .iter()
            .map(|row| Owned {
                name: String::from_utf8_lossy(row.name).into(),
                addr: RawAddr::from_wire(row.addr.as_slice()).unwrap_or_default(),
                meta: row.meta.as_slice().into(),
            })
            .collect();
        let views: Vec<_> = rows
            .iter()
            .zip(&owned)
            .map(|(row, owned)| NodeView {
                name: &owned.name,
                addr: owned.addr.as_slice(),
                port: self.fix_port(row.port),
                meta: &owned.meta,
                vsn: Vsn::from_wire(row.vsn.as_slice()).unwrap_or_default(),
                incarnation: row.incarnation,
                // An unknown state number is shown as dead.
                state: NodeStateKind::from_wire(row.state).unwrap_or(NodeStateKind::Dead),
            })
            .collect();
        host.check_merge(&views).map_err(|reason| {
            info!(target: "memberlist", "merge refused: {}", printable(&reason));
            Error::Peer(reason)
        })
    }
}

fn understood(versions: &Versions, name: &[u8], vsn: Vsn) -> Result<(), Error> {
    versions.check(vsn).map_err(|Incompatible { delegate, spoken, understood }| {
        let (name, (min, max)) = (printable(name), understood.into_inner());
        let delegate = if delegate { "delegate " } else { "" };
        Error::Peer(format!(
            "Node '{name}' {delegate}protocol version ({spoken}) is incompatible: [{min}, {max}]"
        ))
    })
}

/// Least and most bytes of a row in addition to its name and meta.
const ROW_BYTES_MIN: usize = 56;
const ROW_BYTES: usize = 88;
