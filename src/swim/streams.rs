//! Handles the events of streams. Go: `net.go`, `handleConn`.

use std::net::SocketAddr;

use bytes::Bytes;
use tracing::{debug, error, warn};

use super::{
    Error, Exchange, Host, OpId, Origin, Output, StreamId, StreamInput, Swim,
    answers::{Answer, AnswerId},
    encoding::{Asked, Waiting},
    timer::Timer,
    under_way::Stream,
};
use crate::{
    base::{Instant, PRINTABLE_BYTES_MAX, printable, printable_text},
    wire::{Ack, Bin, DecodeError, ErrorReply, PushPull, StreamError, StreamMessage, StreamPart},
};

impl Swim {
    /// Handles an event of a stream. A stream that we opened ends with any input but `Accepted`; an
    /// accepted one ends with our `Reply` and then `Sent` or `Failed`, or with our `Close`.
    pub fn handle_stream(
        &mut self,
        now: Instant,
        id: StreamId,
        input: StreamInput,
        host: &mut dyn Host,
    ) {
        if let StreamInput::Accepted { from } = input {
            self.stats.tcp_accept += 1;
            debug!(target: "memberlist", "Stream connection from={from}");
            self.streams.insert(id, Stream::Inbound { from, answer: None });
            return;
        }
        match self.streams.remove(&id) {
            Some(Stream::PushPull { op, to, began, join }) => {
                self.stats.push_pull_time.add(now - began);
                let exchange = Exchange { peer: to, ours: true, join };
                if let Err(error) = self.push_pull_result(now, exchange, op, input, host) {
                    self.end_push_pull(now, to, op, error);
                }
            }
            Some(Stream::Ping(ping)) => self.end_stream_ping(now, &ping, input),
            Some(Stream::Inbound { from, answer }) => {
                self.end_answer(answer);
                self.handle_inbound(now, id, from, input, host);
            }
            Some(Stream::Waiting { from }) => {
                self.inbound_push_pulls = self.inbound_push_pulls.saturating_sub(1);
                self.handle_inbound(now, id, from, input, host);
            }
            None => {}
        }
        self.handle_queued_alive(now, host);
    }

    /// The operation that waits for the exchange on a stream, if any.
    pub fn stream_op(&self, id: StreamId) -> Option<OpId> {
        match self.streams.get(&id) {
            Some(Stream::PushPull { op, .. }) => *op,
            Some(Stream::Ping(_) | Stream::Inbound { .. } | Stream::Waiting { .. }) | None => None,
        }
    }

    /// Handles the peer's half of a push/pull that we initiated. `op` completes when it is merged;
    /// if it fails, the caller completes it.
    fn push_pull_result(
        &mut self,
        now: Instant,
        exchange: Exchange,
        op: Option<OpId>,
        input: StreamInput,
        host: &mut dyn Host,
    ) -> Result<(), Error> {
        match input {
            StreamInput::Message(StreamMessage::PushPull(state)) => {
                self.merge(now, state, exchange, op, host)
            }
            StreamInput::Message(StreamMessage::Error(text)) => {
                let text = printable_text(&text, 4 * PRINTABLE_BYTES_MAX);
                Err(Error::Peer(format!("remote error: {text}")))
            }
            StreamInput::Message(other) => Err(unexpected(other.type_byte(), exchange.peer)),
            StreamInput::Broken(error) => Err(match error.invalid_type() {
                Some(kind) => unexpected(kind, exchange.peer),
                None => Error::Peer(error.to_string()),
            }),
            StreamInput::Failed { error, .. } => Err(Error::Peer(error)),
            StreamInput::Sent | StreamInput::Accepted { .. } => {
                Err(Error::Peer("stream ended without an answer".into()))
            }
        }
    }

    fn handle_inbound(
        &mut self,
        now: Instant,
        id: StreamId,
        from: SocketAddr,
        input: StreamInput,
        host: &mut dyn Host,
    ) {
        match input {
            StreamInput::Message(StreamMessage::Ping { seq_no, node }) => {
                if !node.is_empty() && node != self.config.name.as_bytes() {
                    if self.logs.streams.admit(now) {
                        warn!(
                            target: "memberlist",
                            "Got ping for unexpected node {} from={from}", printable(&node)
                        );
                    }
                    return self.close(id);
                }
                let mut message = Vec::new();
                Ack { seq_no, payload: Bin::NIL }.encode(&mut message);
                self.reply(now, id, from, message.into(), None);
            }
            StreamInput::Message(StreamMessage::PushPull(state)) => {
                self.answer_push_pull(now, id, from, state, host);
            }
            StreamInput::Message(StreamMessage::User(message)) => {
                self.close(id);
                if !message.is_empty() {
                    // If plaintext is accepted, it is not known how this message was protected.
                    let verified = self.codec.config().verify_incoming;
                    let by_key = verified && !self.keyring().is_empty();
                    let origin = Origin { from, seal: self.seal_of(by_key) };
                    host.on_user_message(&message, origin);
                }
            }
            StreamInput::Message(
                message @ (StreamMessage::Ack { .. } | StreamMessage::Error(_)),
            ) => {
                let kind = DecodeError::UnsupportedType(message.type_byte());
                self.log_broken(now, from, &StreamError::Close(kind));
                self.close(id);
            }
            StreamInput::Broken(error) => {
                self.log_broken(now, from, &error);
                match error {
                    StreamError::Refuse(reason) => {
                        self.stats.dropped_malformed += 1;
                        self.refuse(now, id, from, &reason.to_string());
                    }
                    StreamError::Close(_) | StreamError::Body(..) => {
                        self.stats.dropped_malformed += 1;
                        self.close(id);
                    }
                    StreamError::Lost(..) => self.close(id),
                }
            }
            StreamInput::Failed { error, .. } => {
                if self.logs.details.admit(now) {
                    let error = printable(&error);
                    debug!(target: "memberlist", "stream ended: {error} from={from}");
                }
            }
            StreamInput::Sent | StreamInput::Accepted { .. } => {}
        }
    }

    /// Logs why the request on an accepted stream could not be read.
    fn log_broken(&mut self, now: Instant, from: SocketAddr, error: &StreamError) {
        // Go does not report a message that ends before its own type, or in its compressed form.
        if matches!(error, StreamError::Close(reason) if reason.is_end())
            || !self.logs.streams.admit(now)
        {
            return;
        }
        let reason = printable_text(error, 2 * PRINTABLE_BYTES_MAX);
        match error {
            StreamError::Close(DecodeError::ForeignLabel { got }) => error!(
                target: "memberlist",
                "discarding stream with unacceptable label \"{}\": from={from}", printable(got)
            ),
            StreamError::Close(DecodeError::UnsupportedType(kind)) => {
                error!(target: "memberlist", "Received invalid msgType ({kind}) from={from}");
            }
            StreamError::Close(DecodeError::ForeignProtocol(protocol)) => error!(
                target: "memberlist",
                "Received invalid msgType ({}) from={from}: {reason}", protocol.first_byte()
            ),
            StreamError::Close(DecodeError::EmptyLabel) => {
                error!(target: "memberlist", "{}: {reason} from={from}", StreamPart::Label);
            }
            StreamError::Close(_) | StreamError::Refuse(_) => {
                error!(target: "memberlist", "{}: {reason} from={from}", StreamPart::Layers);
            }
            StreamError::Body(part, _) | StreamError::Lost(part, _) => {
                error!(target: "memberlist", "{part}: {reason} from={from}");
            }
        }
    }

    /// Answers with our state first and merges afterwards, as Go does: the peer does not learn of a
    /// refused merge.
    fn answer_push_pull(
        &mut self,
        now: Instant,
        id: StreamId,
        from: SocketAddr,
        state: PushPull,
        host: &mut dyn Host,
    ) {
        if self.inbound_push_pulls >= INBOUND_PUSH_PULLS_MAX {
            if self.logs.push_pulls.admit(now) {
                error!(target: "memberlist", "Too many pending push/pull requests");
            }
            return self.close(id);
        }
        let host_hash = self.table.hash_of(&from.ip().to_canonical());
        // Checked before the state is encoded.
        let table_bytes = self.state_bytes_min();
        if !self.answers.allow(now, host_hash, table_bytes) {
            if self.logs.push_pulls.admit(now) {
                error!(target: "memberlist", "Too many push/pull requests from={from}");
            }
            return self.close(id);
        }
        self.inbound_push_pulls += 1;
        self.streams.insert(id, Stream::Waiting { from });
        let asked = Asked { id, from, host_hash, table_bytes };
        match self.local_state(now, state.join, host).transpose() {
            None => {
                let join = state.join;
                self.wait_for_state(now, join, Waiting::Peer { asked, state });
            }
            Some(answer) => {
                self.answer_state(now, &asked, answer.as_ref());
                let exchange = Exchange { peer: from, ours: false, join: state.join };
                let merged = self.merge(now, state, exchange, None, host);
                self.log_refused_merge(now, from, merged);
            }
        }
    }

    /// Sends our encoded state to a peer that waits for it, unless its stream has ended.
    pub(super) fn answer_state(
        &mut self,
        now: Instant,
        asked: &Asked,
        answer: Result<&Answer, &Error>,
    ) {
        let Asked { id, from, host_hash, table_bytes } = *asked;
        if !matches!(self.streams.get(&id), Some(Stream::Waiting { .. })) {
            return;
        }
        match answer {
            Ok(answer) => {
                self.answers.charge(now, host_hash, table_bytes, answer);
                self.answers.begin(now, answer);
                #[cfg(feature = "sim")]
                self.share(id, answer);
                self.reply(now, id, from, answer.message.clone(), Some(answer.id));
            }
            Err(error) => {
                if self.logs.push_pulls.admit(now) {
                    error!(target: "memberlist", "Failed to push local state: {error} from={from}");
                }
                self.inbound_push_pulls = self.inbound_push_pulls.saturating_sub(1);
                self.refuse(now, id, from, &error.to_string());
            }
        }
    }

    pub(super) fn log_refused_merge(
        &mut self,
        now: Instant,
        from: SocketAddr,
        merged: Result<(), Error>,
    ) {
        if let Err(error) = merged
            && self.logs.push_pulls.admit(now)
        {
            let error = printable_text(&error, 4 * PRINTABLE_BYTES_MAX);
            error!(target: "memberlist", "Failed push/pull merge: {error} from={from}");
        }
    }

    /// Replies with the reason for which a request was refused.
    fn refuse(&mut self, now: Instant, id: StreamId, from: SocketAddr, reason: &str) {
        let mut message = Vec::new();
        ErrorReply { error: reason.as_bytes() }.encode(&mut message);
        self.reply(now, id, from, message.into(), None);
    }

    fn reply(
        &mut self,
        now: Instant,
        id: StreamId,
        from: SocketAddr,
        message: Bytes,
        answer: Option<AnswerId>,
    ) {
        self.stats.tcp_sent += message.len() as u64;
        self.streams.insert(id, Stream::Inbound { from, answer });
        let deadline = now + self.config.tcp_timeout;
        self.timers.set(deadline, Timer::Reply(id));
        self.outputs.push_back(Output::Reply { id, message, deadline });
    }

    /// The deadline of a reply has passed: drops the stream, and answers that are kept for nobody.
    pub(super) fn forget_inbound(&mut self, now: Instant, id: StreamId) {
        if let Some(Stream::Inbound { answer, .. }) = self.streams.remove(&id) {
            self.end_answer(answer);
        }
        self.answers.forget(now, self.config.tcp_timeout);
    }

    fn end_answer(&mut self, answer: Option<AnswerId>) {
        if let Some(answer) = answer {
            self.inbound_push_pulls = self.inbound_push_pulls.saturating_sub(1);
            self.answers.end(answer);
        }
    }

    fn close(&mut self, id: StreamId) {
        self.outputs.push_back(Output::Close { id });
    }
}

fn unexpected(kind: u8, peer: SocketAddr) -> Error {
    Error::Peer(format!("received invalid msgType ({kind}), expected pushPullMsg (6) from={peer}"))
}

/// Most inbound push/pulls in progress; further ones are closed. Go: `maxPushPullRequests`.
const INBOUND_PUSH_PULLS_MAX: usize = 127;
