//! The scripts of event handlers, and the subscription to events for them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::EventScript;
use crate::driver::{EventStream, LagPolicy, Serf, Subscribe};

/// Event handlers. Without scripts there is no subscription, so events cost nothing.
#[derive(Default)]
pub(super) struct Handlers {
    state: Mutex<State>,
    /// Notified when there are events to take.
    began: Notify,
}

#[derive(Default)]
struct State {
    scripts: Arc<[EventScript]>,
    /// The events, until the runner takes them.
    events: Option<EventStream>,
    /// Whether there is a subscription, here or at the runner.
    subscribed: bool,
}

impl Handlers {
    pub(super) fn new(scripts: Vec<EventScript>) -> Self {
        let state = Mutex::new(State { scripts: scripts.into(), ..State::default() });
        Self { state, began: Notify::new() }
    }

    pub(super) fn scripts(&self) -> Arc<[EventScript]> {
        Arc::clone(&self.lock().scripts)
    }

    /// Gives the first scripts a subscription that began before the node did.
    pub(super) fn begin(&self, events: EventStream) {
        self.lock().begin(events);
        self.began.notify_one();
    }

    /// Replaces the scripts, from the next event on.
    pub(super) fn set(&self, scripts: Vec<EventScript>, serf: &Serf) {
        let mut state = self.lock();
        state.scripts = scripts.into();
        if !state.scripts.is_empty() && !state.subscribed {
            state.begin(serf.subscribe(QUEUE));
            self.began.notify_one();
        }
    }

    /// Waits for a subscription, and takes it.
    pub(super) async fn events(&self) -> EventStream {
        loop {
            let events = self.lock().events.take();
            match events {
                Some(events) => return events,
                None => self.began.notified().await,
            }
        }
    }

    /// Whether there are no scripts left: then the runner is to drop the events.
    pub(super) fn end_if_none(&self) -> bool {
        let mut state = self.lock();
        let none = state.scripts.is_empty();
        if none {
            state.subscribed = false;
        }
        none
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn begin(&mut self, events: EventStream) {
        (self.events, self.subscribed) = (Some(events), true);
    }
}

/// The queue of events for handlers.
pub(super) const QUEUE: Subscribe =
    Subscribe { capacity: QUEUE_EVENTS, policy: LagPolicy::DropNewest };
/// Most events queued for slow handlers.
const QUEUE_EVENTS: usize = 4_096;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::{agent::testing::agent, driver::Event};

    #[tokio::test]
    async fn there_is_a_subscription_while_there_are_scripts() {
        let agent = agent("{}").await;
        let handlers = Handlers::new(Vec::new());
        let send = |name: &'static str| agent.serf.user_event(name, "");
        send("before").await.unwrap();
        let none = timeout(Duration::from_millis(50), handlers.events()).await;
        assert!(none.is_err() && handlers.end_if_none());
        // Events count from the moment the scripts are set, whenever the runner comes.
        handlers.set(EventScript::parse("user=cat"), &agent.serf);
        send("one").await.unwrap();
        let mut events = handlers.events().await;
        assert!(!handlers.end_if_none());
        let mut next = async || loop {
            let event = timeout(Duration::from_secs(10), events.recv()).await.unwrap();
            if let Some(Event::User(event)) = event {
                return event.name.to_string();
            }
        };
        assert_eq!(next().await, "one");
        // Other scripts have the same subscription, even if there were none for a moment.
        handlers.set(Vec::new(), &agent.serf);
        handlers.set(EventScript::parse("user=true"), &agent.serf);
        send("two").await.unwrap();
        assert_eq!(next().await, "two");
        handlers.set(Vec::new(), &agent.serf);
        assert!(handlers.end_if_none());
        handlers.set(EventScript::parse("user=true"), &agent.serf);
        send("three").await.unwrap();
        let mut events = handlers.events().await;
        let event = timeout(Duration::from_secs(10), events.recv()).await.unwrap();
        assert!(matches!(event, Some(Event::User(event)) if event.name == "three"));
    }
}
