//! Encodes our own state for push/pulls some rows at a time, so that a large one does not hold up
//! other work. Go: `net.go`, `sendLocalState`, which encodes all of it in a goroutine of its own.

use std::net::SocketAddr;

use super::{
    Error, Exchange, Host, OpId, Swim,
    answers::{State, too_large},
    merge::PAUSE,
    timer::Timer,
    under_way::Asked,
};
use crate::{
    base::Instant,
    wire::{PushPull, PushPullBuilder},
};

/// Our state, and how far it is encoded. Each row is as it was in its turn.
#[derive(Debug)]
pub(super) struct Encoding {
    join: bool,
    /// Of the table, at the beginning.
    generation: u64,
    rows: PushPullBuilder,
    /// The slot of the next row. Rows that come into earlier slots are left to the next state.
    slot: u32,
    waiting: Vec<Waiting>,
}

/// Who waits for our state.
#[derive(Debug)]
pub(super) enum Waiting {
    /// A peer, whose own state is merged once it is answered.
    Peer { asked: Asked, state: PushPull },
    /// A push/pull of ours.
    Own { to: SocketAddr, name: Box<str>, op: Option<OpId> },
}

impl Swim {
    /// Whether such a state is being encoded.
    pub(super) fn encodes(&self, join: bool) -> bool {
        self.encodings.iter().any(|encoding| encoding.join == join)
    }

    /// Continues with whoever waits once our state is encoded, which begins if it has not.
    pub(super) fn wait_for_state(&mut self, now: Instant, join: bool, waiting: Waiting) {
        let under_way = self.encodings.iter_mut().find(|encoding| encoding.join == join);
        if let Some(encoding) = under_way {
            return encoding.waiting.push(waiting);
        }
        if self.encodings.is_empty() {
            self.timers.set(now, Timer::Encode);
        }
        self.encodings.push_back(Encoding {
            join,
            generation: self.table.generation(),
            rows: PushPullBuilder::with_capacity(self.state_bytes_max()),
            slot: 0,
            waiting: vec![waiting],
        });
    }

    /// Encodes the next rows of the state that has waited longest.
    pub(super) fn encode_next(&mut self, now: Instant, host: &mut dyn Host) {
        let Some(mut encoding) = self.encodings.pop_front() else { return };
        let ended = encoding.add_rows(self);
        let refusal = too_large(encoding.rows.rows_bytes(), 0);
        if ended || refusal.is_some() {
            self.end_encoding(now, encoding, refusal, host);
        } else {
            self.encodings.push_back(encoding);
        }
        if !self.encodings.is_empty() {
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
                        let message = answer.message.clone();
                        self.open_with_state(now, to, &name, op, join, message);
                    }
                    Err(error) => self.end_push_pull(now, to, op, error.clone()),
                },
            }
        }
    }
}

impl Encoding {
    /// Encodes some rows; whether they were the last.
    fn add_rows(&mut self, swim: &Swim) -> bool {
        let end = self.rows.rows_bytes() + SLICE_BYTES;
        for (count, (slot, row)) in swim.table.rows_from(self.slot).enumerate() {
            if count == ROWS_AT_ONCE || self.rows.rows_bytes() >= end {
                self.slot = slot;
                return false;
            }
            self.rows.push(&row.to_wire());
        }
        true
    }
}

/// What is encoded in one turn: below a millisecond. A state of no more than these bytes is
/// encoded at once.
pub(super) const SLICE_BYTES: usize = 512 * 1024;
const ROWS_AT_ONCE: usize = 4_096;
