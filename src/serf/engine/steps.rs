//! Inside the engine: what the state wants done, timers, and operations of several steps.

use bytes::Bytes;
use tracing::{debug, warn};

use super::*;
use crate::swim::{Done, Fate};

impl Engine {
    pub(super) fn new_op(&mut self) -> OpId {
        self.next_op += 1;
        OpId(self.next_op)
    }

    /// Registers `op` as pending; it fails after `time`.
    pub(super) fn wait(&mut self, op: OpId, step: Step, time: std::time::Duration) {
        let deadline = self.state.now + time;
        self.ops.insert(op, Op { step, deadline });
        self.state.timers.set(deadline, Timer::Op(op));
    }

    /// Performs what the last call left to do with the layer below.
    pub(super) fn settle(&mut self) {
        let now = self.state.now;
        loop {
            if let Some(action) = self.state.actions.pop_front() {
                self.act(now, action);
            } else if let Some((op, fate)) = self.state.finished.pop() {
                self.broadcast_done(op, fate);
            } else if let Some(done) = self.swim.poll_done() {
                self.swim_done(done);
            } else if !self.state.start_key_op(now, self.swim.member_count()) {
                break;
            }
        }
        if let Some(snapshot) = &mut self.state.snapshot {
            self.state.outputs.extend(snapshot.take_ops().map(Output::Snapshot));
        }
    }

    pub(super) fn act(&mut self, now: Instant, action: Action) {
        match action {
            Action::BroadcastJoin => {
                self.state.broadcast_join(now);
            }
            Action::Send { to, message } => self.swim.send_user(to, &message),
            Action::Loopback(message) => self.state.on_own_message(now, &message),
            Action::Internal(request) => {
                let changed = self.state.handle_internal(now, &request, self.swim.keyring());
                if let Some(keyring) = changed {
                    self.swim.set_keyring(keyring);
                    let op = self.new_op();
                    self.state.keyring_changed(now, request.id, op);
                }
            }
            Action::Vote => self.state.start_vote(now, self.swim.member_count()),
            Action::Reconnect { to, node } => {
                let op = self.swim.start_push_pull(now, to, &node, true, &mut self.state);
                self.waiting.insert(op, None);
            }
            Action::RejoinSeeds => self.rejoin_seeds(),
            Action::Sync { to, node } => {
                let op = self.swim.start_push_pull(now, to, &node, false, &mut self.state);
                self.waiting.insert(op, None);
            }
            Action::Recheck(name) => {
                let Some(node) = self.swim.node(&name) else { return };
                let alive = matches!(node.state, NodeStateKind::Alive | NodeStateKind::Suspect);
                if alive && self.state.members.get(&name).is_none() {
                    self.state.handle_node_join(now, &node);
                }
            }
        }
    }

    pub(super) fn fire(&mut self, now: Instant, timer: Timer) {
        let config = &self.state.config;
        match timer {
            Timer::Reap => {
                let interval = config.reap_interval;
                self.state.reap(now);
                self.state.start_timer(interval, Timer::Reap);
            }
            Timer::Reconnect => {
                let interval = config.reconnect_interval;
                self.state.reconnect();
                self.state.start_timer(interval, Timer::Reconnect);
            }
            Timer::QueueCheck => {
                let interval = config.queue_check_interval;
                self.state.check_queues();
                self.state.received.expire(now);
                self.state.start_timer(interval, Timer::QueueCheck);
            }
            Timer::Snapshot => {
                let (clock, incarnation) =
                    (self.state.clock.time(), self.swim.kept_incarnation().0);
                if let Some(snapshot) = &mut self.state.snapshot {
                    snapshot.on_timer(now, clock, incarnation);
                    self.state.timers.set(snapshot.next(), Timer::Snapshot);
                }
            }
            Timer::Query(id) => self.state.query_timeout(now, id),
            Timer::Prune(name) => self.state.finish_prune(now, &name),
            Timer::AskClocks(name) => self.state.ask_clocks(&name),
            Timer::Op(op) => self.op_timeout(now, op),
            Timer::Storing(op) => self.state.storing_timeout(now, op),
            Timer::Rejoin => self.rejoin_next(now),
        }
    }

    /// The message of an operation was sent for the last time, or dropped.
    pub(super) fn broadcast_done(&mut self, op: OpId, fate: Fate) {
        match self.ops.get(&op).map(|op| op.step) {
            Some(Step::LeaveIntent) => {
                self.leave_dropped = fate == Fate::Dropped;
                self.leave_swim(op);
            }
            Some(Step::ForceLeave) => self.finish_op(
                op,
                match fate {
                    Fate::Sent => Ok(Completion::Done),
                    Fate::Dropped => {
                        Err(Error::Timeout("node removal was dropped before it was sent"))
                    }
                },
            ),
            Some(Step::LeaveSwim | Step::LeavePause | Step::SetTags) | None => {}
        }
    }

    pub(super) fn op_timeout(&mut self, now: Instant, op: OpId) {
        // An earlier step's timer finds a later deadline.
        let Some(Op { step, deadline }) = self.ops.get(&op).copied() else { return };
        if deadline > now {
            return;
        }
        match step {
            Step::LeaveIntent => {
                warn!(target: "serf", "timeout while waiting for graceful leave");
                self.leave_swim(op);
            }
            Step::LeaveSwim => {
                warn!(target: "serf", "timeout waiting for leave broadcast");
                self.leave_pause(op);
            }
            Step::LeavePause => {
                if self.state.life != SerfState::Shutdown {
                    self.state.life = SerfState::Left;
                }
                self.finish_op(
                    op,
                    match self.leave_dropped {
                        false => Ok(Completion::Done),
                        true => Err(Error::Timeout("leave intent was dropped before it was sent")),
                    },
                );
            }
            Step::ForceLeave => {
                let error = Error::Timeout("timed out broadcasting node removal");
                self.finish_op(op, Err(error));
            }
            Step::SetTags => {
                let error = swim::Error::BroadcastTimeout("update");
                self.finish_op(op, Err(error.into()));
            }
        }
    }

    pub(super) fn leave_swim(&mut self, op: OpId) {
        let now = self.state.now;
        self.wait(op, Step::LeaveSwim, self.state.config.broadcast_timeout);
        let waits_for = self.swim.start_leave(now, &mut self.state);
        self.waiting.insert(waits_for, Some(op));
    }

    // Peers must find us answering while the last messages travel.
    pub(super) fn leave_pause(&mut self, op: OpId) {
        self.wait(op, Step::LeavePause, self.state.config.leave_propagate_delay);
    }

    pub(super) fn finish_op(&mut self, op: OpId, result: Result<Completion, Error>) {
        self.ops.remove(&op);
        self.state.complete(op, result);
    }

    /// An operation of the layer below ended.
    fn swim_done(&mut self, Done { op: swim_op, result }: Done) {
        if self.rejoin_done(swim_op, result.as_ref().err()) {
            return;
        }
        match self.waiting.remove(&swim_op) {
            None => {}
            Some(None) => {
                if let Err(error) = result {
                    debug!(target: "serf", %error, "exchange of states failed");
                }
            }
            Some(Some(op)) if self.join_exchanged(op, result.as_ref().err()) => {}
            Some(Some(op)) => match self.ops.get(&op).map(|op| op.step) {
                Some(Step::LeaveSwim) => {
                    if let Err(error) = result {
                        warn!(target: "serf", "error leaving cluster: {error}");
                    }
                    self.leave_pause(op);
                }
                Some(Step::SetTags) => {
                    let result = result.map(|()| Completion::Done).map_err(Error::from);
                    self.finish_op(op, result);
                }
                Some(Step::LeaveIntent | Step::LeavePause | Step::ForceLeave) | None => {}
            },
        }
    }
}

impl State {
    /// Announces that we are here; gives the message. Go: `serf/serf.go:broadcastJoin`.
    pub(crate) fn broadcast_join(&mut self, now: Instant) -> Bytes {
        self.refuting = false;
        let ltime = self.clock.time();
        let name = self.name.clone();
        let join = message::Join { ltime, node: name.as_bytes() };
        let mut raw = Vec::new();
        self.config.transform.encode_message(&Message::Join(join), &mut raw);
        self.handle_join_intent(now, ltime, &name);
        let raw = Bytes::from(raw);
        self.broadcast(QueueKind::Intent, raw.clone(), Author::Own(None));
        raw
    }

    /// Makes a leave intent about `name` and processes it; gives the message.
    pub(super) fn leave_intent(&mut self, now: Instant, name: &str, prune: bool) -> Bytes {
        let ltime = self.clock.time();
        self.clock.increment();
        let leave = message::Leave { ltime, node: name.as_bytes(), prune };
        let mut raw = Vec::new();
        self.config.transform.encode_message(&Message::Leave(leave), &mut raw);
        self.handle_leave_intent(now, ltime, name, prune);
        raw.into()
    }
}
