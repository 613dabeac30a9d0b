//! Bounded queues towards the application: the producer never waits.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// What happens when a subscriber's queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LagPolicy {
    /// Drop the oldest event and tell the count as [`crate::serf::Event::Lagged`] before the next
    /// one.
    #[default]
    DropOldest,
    /// Drop the newest event, and tell likewise once those before it were taken.
    DropNewest,
}

/// A queue of one consumer.
pub(super) struct Queue<T> {
    inner: Mutex<Inner<T>>,
    ready: Notify,
}

struct Inner<T> {
    items: VecDeque<Next<T>>,
    capacity: usize,
    policy: LagPolicy,
    /// Dropped since the last time it was told.
    untold: u64,
    /// Dropped since the start.
    lost: u64,
    /// The producer is gone.
    ended: bool,
    /// The consumer is gone.
    abandoned: bool,
}

/// What the consumer gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<T> {
    Item(T),
    /// This many were dropped here.
    Lost(u64),
}

impl<T> Queue<T> {
    pub(super) fn new(capacity: usize, policy: LagPolicy) -> Self {
        Self {
            inner: Mutex::new(Inner {
                items: VecDeque::new(),
                capacity: capacity.max(1),
                policy,
                untold: 0,
                lost: 0,
                ended: false,
                abandoned: false,
            }),
            ready: Notify::new(),
        }
    }

    /// Adds an item, or drops one by policy. Whether there is still a consumer.
    pub(super) fn push(&self, item: T) -> bool {
        let mut inner = self.lock();
        if inner.abandoned || inner.ended {
            return !inner.abandoned;
        }
        if inner.items.len() >= inner.capacity {
            inner.untold += 1;
            inner.lost += 1;
            match inner.policy {
                LagPolicy::DropOldest => {
                    inner.items.pop_front();
                }
                LagPolicy::DropNewest => return true,
            }
        } else if inner.policy == LagPolicy::DropNewest && inner.untold > 0 {
            // The gap is here, behind what waits.
            let count = std::mem::take(&mut inner.untold);
            inner.items.push_back(Next::Lost(count));
        }
        inner.items.push_back(Next::Item(item));
        drop(inner);
        self.ready.notify_one();
        true
    }

    /// The last item: never dropped.
    pub(super) fn push_last(&self, item: T) {
        let mut inner = self.lock();
        inner.items.push_back(Next::Item(item));
        inner.ended = true;
        drop(inner);
        self.ready.notify_one();
    }

    /// Nothing more comes.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.ready.notify_one();
    }

    /// Nothing more is taken.
    pub(super) fn abandon(&self) {
        let mut inner = self.lock();
        inner.abandoned = true;
        inner.items = VecDeque::new();
    }

    pub(super) fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// The next item in order; `None` at the end. Cancel-safe.
    pub(super) async fn next(&self) -> Option<Next<T>> {
        loop {
            let ready = self.ready.notified();
            {
                let mut inner = self.lock();
                let gap = match inner.policy {
                    LagPolicy::DropOldest => true,
                    LagPolicy::DropNewest => inner.items.is_empty(),
                };
                if gap && inner.untold > 0 {
                    return Some(Next::Lost(std::mem::take(&mut inner.untold)));
                }
                if let Some(item) = inner.items.pop_front() {
                    return Some(item);
                }
                if inner.ended {
                    return None;
                }
            }
            ready.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        // No code of others runs under the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn drain(queue: &Queue<i64>) -> Vec<Next<i64>> {
        queue.end();
        let mut all = Vec::new();
        while let Some(next) = queue.next().await {
            all.push(next);
        }
        all
    }

    fn fill(policy: LagPolicy, count: i64) -> Queue<i64> {
        let queue = Queue::new(3, policy);
        for item in 0..count {
            assert!(queue.push(item));
        }
        queue
    }

    #[tokio::test]
    async fn oldest_is_dropped_and_the_gap_told_first() {
        let queue = fill(LagPolicy::DropOldest, 5);
        assert_eq!(queue.lost(), 2);
        let items = [Next::Lost(2), Next::Item(2), Next::Item(3), Next::Item(4)];
        assert_eq!(drain(&queue).await, items);
    }

    #[tokio::test]
    async fn newest_is_dropped_and_the_gap_told_where_it_is() {
        let queue = fill(LagPolicy::DropNewest, 5);
        assert_eq!(queue.next().await, Some(Next::Item(0)));
        queue.push(9);
        let items = [Next::Item(1), Next::Item(2), Next::Lost(2), Next::Item(9)];
        assert_eq!(drain(&queue).await, items);
    }

    #[tokio::test]
    async fn gap_at_the_end_is_told_when_all_is_taken() {
        let queue = fill(LagPolicy::DropNewest, 4);
        let items = [Next::Item(0), Next::Item(1), Next::Item(2), Next::Lost(1)];
        assert_eq!(drain(&queue).await, items);
    }

    #[tokio::test]
    async fn last_item_is_never_dropped() {
        let queue = fill(LagPolicy::DropNewest, 3);
        queue.push_last(7);
        assert_eq!(drain(&queue).await.last(), Some(&Next::Item(7)));
    }

    #[test]
    fn abandoned_queue_tells_its_producer_and_holds_nothing() {
        let queue = fill(LagPolicy::DropOldest, 3);
        queue.abandon();
        assert!(!queue.push(1));
        assert!(queue.lock().items.is_empty());
    }
}
