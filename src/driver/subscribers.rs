//! All subscribers to the events of a node.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use futures_core::Stream;

#[cfg(feature = "agent")]
use super::heard::{Heard, HeardStream};
use super::{
    Event,
    queue::{LagPolicy, Next, Queue, Subject},
};

/// Options of a subscription.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
#[must_use]
pub struct Subscribe {
    /// Number of events queued for a slow subscriber; 4096, at least 1.
    pub capacity: usize,
    /// Policy when the queue is full.
    pub policy: LagPolicy,
}

impl Default for Subscribe {
    fn default() -> Self {
        Self { capacity: 4096, policy: LagPolicy::DropOldest }
    }
}

impl Subscribe {
    /// Sets how many events are queued for a slow subscriber.
    pub fn capacity(mut self, events: usize) -> Self {
        self.capacity = events;
        self
    }

    /// Sets the policy when the queue is full.
    pub fn policy(mut self, policy: LagPolicy) -> Self {
        self.policy = policy;
        self
    }
}

/// A subscriber's events, also as a [`Stream`]. Dropping it ends the subscription. Does not keep
/// the node running.
#[must_use = "a subscription ends when it is dropped"]
pub struct EventStream {
    queue: Arc<Queue<Event>>,
}

impl EventStream {
    /// The next event, or [`Event::Lagged`] in place of lost events; `None` after the shutdown.
    /// Cancel-safe.
    pub async fn recv(&mut self) -> Option<Event> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Number of events lost by this subscriber so far.
    pub fn lost(&self) -> u64 {
        self.queue.lost()
    }
}

impl Stream for EventStream {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        Poll::Ready(match ready!(self.queue.poll_next(cx)) {
            Some(Next::Item(event)) => Some(event),
            Some(Next::Lost(count)) => Some(Event::Lagged(count)),
            None => None,
        })
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").field("lost", &self.lost()).finish_non_exhaustive()
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.queue.abandon();
    }
}

/// All subscribers.
#[derive(Default)]
pub(super) struct Hub {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    queues: Vec<Arc<Queue<Event>>>,
    #[cfg(feature = "agent")]
    heard: Vec<Arc<Heard>>,
    ended: bool,
}

impl Hub {
    pub(super) fn subscribe(&self, options: Subscribe) -> EventStream {
        let queue = Arc::new(Queue::new(options.capacity, options.policy, subject));
        let mut inner = self.lock();
        if inner.ended {
            queue.end();
        } else {
            inner.queues.push(Arc::clone(&queue));
        }
        EventStream { queue }
    }

    /// Subscribes to the names of events alone.
    #[cfg(feature = "agent")]
    pub(super) fn hear(&self) -> HeardStream {
        let heard = Arc::<Heard>::default();
        let mut inner = self.lock();
        if inner.ended {
            heard.end();
        } else {
            inner.heard.push(Arc::clone(&heard));
        }
        HeardStream::of(heard)
    }

    /// Queues events for everybody, and wakes those who wait: one lock and one wake-up cost more
    /// than an event.
    pub(super) fn publish(&self, events: &mut Vec<Event>) {
        if !events.is_empty() {
            let mut inner = self.lock();
            inner.queues.retain(|queue| queue.push_all(events));
            #[cfg(feature = "agent")]
            inner.heard.retain(|heard| heard.push_all(events));
            drop(inner);
            events.clear();
        }
    }

    pub(super) fn end(&self) {
        let mut inner = self.lock();
        inner.ended = true;
        for queue in inner.queues.drain(..) {
            queue.end();
        }
        #[cfg(feature = "agent")]
        for heard in inner.heard.drain(..) {
            heard.end();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No caller's code runs under the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Subject of an event: a later event with the same subject supersedes it.
fn subject(event: &Event) -> Option<Subject> {
    match event {
        Event::Member(change) => match change.members.as_slice() {
            [member] => Some(Subject::Member(Arc::clone(&member.name))),
            _ => None,
        },
        Event::User(event) if event.coalesce => Some(Subject::User(event.name.clone())),
        Event::User(_) | Event::Query(_) | Event::Lagged(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serf::{LamportTime, UserEvent};

    fn user(name: &str, ltime: u64, coalesce: bool) -> Event {
        let payload = bytes::Bytes::new();
        Event::User(UserEvent { ltime: LamportTime(ltime), name: name.into(), payload, coalesce })
    }

    #[tokio::test]
    async fn a_slow_subscriber_that_coalesces_gets_the_last_event_of_each_name() {
        let hub = Hub::default();
        let mut events = hub.subscribe(Subscribe { capacity: 2, policy: LagPolicy::Coalesce });
        let mut published = vec![user("keep", 1, false)];
        published.extend((2..10).map(|ltime| user("load", ltime, true)));
        hub.publish(&mut published);
        assert!(published.is_empty());
        assert_eq!(events.recv().await, Some(Event::Lagged(7)));
        assert_eq!(events.recv().await, Some(user("keep", 1, false)));
        assert_eq!(events.recv().await, Some(user("load", 9, true)));
        assert_eq!(events.lost(), 7);
    }
}
