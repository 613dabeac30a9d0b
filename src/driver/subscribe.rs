//! Bounded queues between the engine and whoever listens.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

use crate::serf::Event;

/// What happens when a subscriber's queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LagPolicy {
    /// Drop the oldest event and tell the count as [`Event::Lagged`] before the next one.
    #[default]
    DropOldest,
    /// Drop the newest event, and tell likewise.
    DropNewest,
}

/// How to subscribe.
#[derive(Clone, Copy, Debug)]
pub struct Subscribe {
    /// Events held for a slow subscriber; 4096, at least 1.
    pub capacity: usize,
    /// What happens beyond that.
    pub policy: LagPolicy,
}

impl Default for Subscribe {
    fn default() -> Self {
        Self { capacity: 4096, policy: LagPolicy::DropOldest }
    }
}

/// A subscriber's events.
pub struct EventStream {
    queue: Arc<Queue>,
}

impl EventStream {
    /// The next event; `None` after the shutdown. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Event> {
        loop {
            let more = self.queue.wake.notified();
            {
                let mut inner = self.queue.lock();
                if inner.untold > 0 {
                    return Some(Event::Lagged(std::mem::take(&mut inner.untold)));
                }
                if let Some(event) = inner.events.pop_front() {
                    return Some(event);
                }
                if inner.ended {
                    return None;
                }
            }
            more.await;
        }
    }

    /// Events this subscriber lost so far.
    pub fn lost(&self) -> u64 {
        self.queue.lost.load(Ordering::Relaxed)
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        let mut inner = self.queue.lock();
        inner.dropped = true;
        inner.events.clear();
    }
}

/// Everybody who listens.
#[derive(Default)]
pub(super) struct Subscribers {
    queues: Mutex<Vec<Arc<Queue>>>,
}

impl Subscribers {
    /// A new subscriber; after the end its stream ends at once.
    pub(super) fn add(&self, options: Subscribe, ended: bool) -> EventStream {
        let queue = Arc::new(Queue {
            options,
            inner: Mutex::new(Inner { ended, ..Inner::default() }),
            wake: Notify::new(),
            lost: AtomicU64::new(0),
        });
        if !ended {
            self.lock().push(Arc::clone(&queue));
        }
        EventStream { queue }
    }

    /// Hands an event to every queue. Never waits for a subscriber: the locks are held for a push
    /// or a pop only.
    pub(super) fn publish(&self, event: &Event) {
        self.lock().retain(|queue| queue.push(event));
    }

    /// No more events will come.
    pub(super) fn end(&self) {
        for queue in self.lock().drain(..) {
            queue.lock().ended = true;
            queue.wake.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Queue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Queue {
    options: Subscribe,
    inner: Mutex<Inner>,
    wake: Notify,
    lost: AtomicU64,
}

#[derive(Default)]
struct Inner {
    events: VecDeque<Event>,
    untold: u64,
    ended: bool,
    dropped: bool,
}

impl Queue {
    /// Whether the subscriber is still there.
    fn push(&self, event: &Event) -> bool {
        let mut inner = self.lock();
        if inner.dropped {
            return false;
        }
        if inner.events.len() >= self.options.capacity.max(1) {
            inner.untold += 1;
            self.lost.fetch_add(1, Ordering::Relaxed);
            match self.options.policy {
                LagPolicy::DropNewest => return true,
                LagPolicy::DropOldest => drop(inner.events.pop_front()),
            }
        }
        inner.events.push_back(event.clone());
        drop(inner);
        self.wake.notify_one();
        true
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serf::{LamportTime, UserEvent};

    fn event(n: u64) -> Event {
        let payload = bytes::Bytes::new();
        Event::User(UserEvent { ltime: LamportTime(n), name: "e".into(), payload, coalesce: false })
    }

    #[tokio::test]
    async fn a_slow_subscriber_loses_the_oldest_and_is_told_how_many() {
        let all = Subscribers::default();
        let mut slow = all.add(Subscribe { capacity: 2, policy: LagPolicy::DropOldest }, false);
        let mut fast = all.add(Subscribe::default(), false);
        (1..=5).for_each(|n| all.publish(&event(n)));
        assert_eq!(slow.recv().await, Some(Event::Lagged(3)));
        assert_eq!(slow.recv().await, Some(event(4)));
        assert_eq!(slow.recv().await, Some(event(5)));
        assert_eq!(slow.lost(), 3);
        assert_eq!(fast.recv().await, Some(event(1)));
        all.end();
        assert_eq!(slow.recv().await, None);
    }

    #[tokio::test]
    async fn dropping_the_newest_keeps_the_oldest() {
        let all = Subscribers::default();
        let mut stream = all.add(Subscribe { capacity: 1, policy: LagPolicy::DropNewest }, false);
        (1..=3).for_each(|n| all.publish(&event(n)));
        assert_eq!(stream.recv().await, Some(Event::Lagged(2)));
        assert_eq!(stream.recv().await, Some(event(1)));
    }
}
