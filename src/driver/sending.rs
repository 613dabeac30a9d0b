//! User events of callers, which wait while too many are queued for gossip.

use std::{collections::VecDeque, vec};

use tokio::sync::oneshot;

use super::{UserEventSpec, clock};
use crate::serf::{Engine, Error, EventGroup};

/// One result for each event.
type Sent = Vec<Result<(), Error>>;

/// Waiting callers, in the order of arrival.
#[derive(Default)]
pub(super) struct Sending {
    callers: VecDeque<Caller>,
}

struct Caller {
    events: vec::IntoIter<UserEventSpec>,
    group: EventGroup,
    sent: Sent,
    reply: oneshot::Sender<Sent>,
}

impl Sending {
    pub(super) fn add(&mut self, events: Vec<UserEventSpec>, reply: oneshot::Sender<Sent>) {
        let sent = Vec::with_capacity(events.len());
        let (events, group) = (events.into_iter(), EventGroup::default());
        self.callers.push_back(Caller { events, group, sent, reply });
    }

    /// Sends as many events as there is room for, and replies to callers whose events are all sent.
    pub(super) fn run(&mut self, engine: &mut Engine) {
        if self.callers.is_empty() {
            return;
        }
        let now = clock::now();
        while let Some(caller) = self.callers.front_mut() {
            while !caller.events.as_slice().is_empty() {
                if !engine.has_event_room() {
                    return;
                }
                let Some(event) = caller.events.next() else { break };
                caller.sent.push(engine.user_event_of(now, &mut caller.group, &event));
            }
            if let Some(caller) = self.callers.pop_front() {
                // The caller may be gone.
                let _ = caller.reply.send(caller.sent);
            }
        }
    }
}
