//! Multi-step operations, timers, and the actions that need the layer below.

use std::time::Duration;

use tracing::{debug, warn};

use super::{
    Engine,
    operation::{Op, Step},
};
use crate::{
    base::Instant,
    serf::{
        Completion, Error, Output, SerfState,
        effects::{Action, Timer},
        error::Broadcast,
        state::{OwnTimer, State},
    },
    swim::{Done, Fate, OpId},
};

impl Engine {
    /// Starts a call: sets the time for the state.
    pub(super) fn begin(&mut self, now: Instant) {
        self.state.cx.now = now;
    }

    pub(super) fn new_op(&mut self) -> OpId {
        self.next_op += 1;
        OpId(self.next_op)
    }

    /// Registers `op` as pending; it fails after `time`.
    pub(super) fn wait(&mut self, op: OpId, step: Step, time: Duration) {
        let deadline = self.state.cx.now + time;
        self.ops.insert(op, Op { step, deadline });
        self.state.cx.start_timer(time, Timer::Op(op));
    }

    /// Performs the actions that the last call requested of the layer below.
    pub(super) fn settle(&mut self) {
        loop {
            if let Some(action) = self.state.cx.effects.actions.pop_front() {
                self.act(action);
            } else if let Some((op, fate)) = self.state.broadcasts.pop_finished() {
                self.broadcast_done(op, fate);
            } else if let Some(done) = self.swim.poll_done() {
                self.swim_done(done);
            } else if !self.state.start_key_op(self.swim.member_count()) {
                break;
            }
        }
        let cx = &mut self.state.cx;
        if let Some(snapshot) = &mut cx.delivery.snapshot {
            cx.effects.outputs.extend(snapshot.take_ops().map(Output::Snapshot));
        }
    }

    fn act(&mut self, action: Action) {
        let now = self.state.cx.now;
        match action {
            Action::BroadcastJoin => {
                self.state.broadcast_join();
            }
            Action::Send { to, message } => {
                if self.state.members.local().addr() == Some(to) {
                    self.state.on_own_message(&message);
                } else {
                    self.swim.send_user(to, &message);
                }
            }
            Action::Internal(request) => {
                let changed = self.state.handle_internal(&request, self.swim.keyring());
                if let Some(keyring) = changed {
                    self.key_use.changed(now, self.swim.keyring(), &keyring);
                    self.swim.set_keyring(keyring);
                    let op = self.new_op();
                    self.state.keyring_changed(request.id, op);
                }
            }
            Action::Vote => self.state.start_vote(self.swim.member_count()),
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
                let alive = node.state.is_live();
                let State { cx, members, .. } = &mut self.state;
                if alive && members.table.get(&name).is_none() {
                    members.handle_node_join(cx, &node);
                }
            }
        }
    }

    pub(super) fn fire(&mut self, timer: Timer) {
        if matches!(timer, Timer::QueueCheck) {
            self.key_use.check(self.swim.keyring(), self.swim.member_count());
        }
        match self.state.fire(timer) {
            None => {}
            Some(OwnTimer::Op(op)) => self.op_timeout(op),
            Some(OwnTimer::Rejoin) => self.rejoin_next(),
            Some(OwnTimer::Snapshot) => {
                let incarnation = self.swim.kept_incarnation().0;
                self.state.cx.write_snapshot(incarnation);
            }
        }
    }

    /// The broadcast of an operation was sent for the last time or dropped.
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
                    Fate::Dropped => Err(Error::Dropped(Broadcast::ForceLeave)),
                },
            ),
            Some(Step::LeaveSwim | Step::LeavePause | Step::SetTags) | None => {}
        }
    }

    fn op_timeout(&mut self, op: OpId) {
        // The timer of an earlier step: the deadline has since been moved.
        let Some(Op { step, deadline }) = self.ops.get(&op).copied() else { return };
        if deadline > self.state.cx.now {
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
                if self.state.cx.life != SerfState::Shutdown {
                    self.state.cx.life = SerfState::Left;
                }
                self.finish_op(
                    op,
                    match self.leave_dropped {
                        false => Ok(Completion::Done),
                        true => Err(Error::Dropped(Broadcast::Leave)),
                    },
                );
            }
            Step::ForceLeave => {
                self.finish_op(op, Err(Error::NotSent(Broadcast::ForceLeave)));
            }
            Step::SetTags => {
                self.finish_op(op, Err(Error::NotSent(Broadcast::Tags)));
            }
        }
    }

    pub(super) fn leave_swim(&mut self, op: OpId) {
        let now = self.state.cx.now;
        self.wait(op, Step::LeaveSwim, self.state.cx.config.broadcast_timeout);
        let waits_for = self.swim.start_leave(now, &mut self.state);
        self.waiting.insert(waits_for, Some(op));
    }

    // Peers must be able to reach this node while the last messages spread.
    pub(super) fn leave_pause(&mut self, op: OpId) {
        self.wait(op, Step::LeavePause, self.state.cx.config.leave_propagate_delay);
    }

    pub(super) fn finish_op(&mut self, op: OpId, result: Result<Completion, Error>) {
        self.ops.remove(&op);
        self.state.cx.effects.complete(op, result);
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
