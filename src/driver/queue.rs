//! Bounded queues to the application: the producer never waits.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::serf::EventName;

/// Policy for a subscriber's full queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LagPolicy {
    /// Drop the oldest event and report the count as [`super::Event::Lagged`] before the next
    /// one.
    #[default]
    DropOldest,
    /// Drop the newest event, and report the count once the earlier events were read.
    DropNewest,
    /// Drop the queued event that the new one supersedes: for an event of a single member the last
    /// one of that member, for a coalescable user event the last one of that name. If there is
    /// none, as [`LagPolicy::DropOldest`]; the count is reported likewise.
    Coalesce,
}

/// Subject of an item: a later item with the same subject supersedes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Member(Arc<str>),
    User(EventName),
}

/// A queue with one consumer.
pub(super) struct Queue<T> {
    inner: Mutex<Inner<T>>,
}

struct Inner<T> {
    waiting: Waiting<T>,
    capacity: usize,
    policy: LagPolicy,
    /// Number of items dropped since the count was last reported.
    unreported: u64,
    /// Number of items dropped since the start.
    lost: u64,
    /// Whether the producer is gone.
    ended: bool,
    /// Whether the consumer is gone.
    abandoned: bool,
    /// The consumer, if it is waiting.
    consumer: Option<Waker>,
}

/// An element returned to the consumer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<T> {
    Item(T),
    /// Number of items dropped at this place.
    Lost(u64),
}

impl<T> Queue<T> {
    /// `subject` is called only with the coalescing policy.
    pub(super) fn new(
        capacity: usize,
        policy: LagPolicy,
        subject: fn(&T) -> Option<Subject>,
    ) -> Self {
        let subject = (policy == LagPolicy::Coalesce).then_some(subject);
        Self {
            inner: Mutex::new(Inner {
                waiting: Waiting::new(subject),
                capacity: capacity.max(1),
                policy,
                unreported: 0,
                lost: 0,
                ended: false,
                abandoned: false,
                consumer: None,
            }),
        }
    }

    /// Adds an item, or drops one according to the policy. Returns whether there is still a
    /// consumer.
    pub(super) fn push(&self, item: T) -> bool {
        let mut inner = self.lock();
        inner.add(item);
        let taken = !inner.abandoned;
        wake(inner);
        taken
    }

    /// The same for copies of many items, under one lock and with one wake-up.
    pub(super) fn push_all(&self, items: &[T]) -> bool
    where
        T: Clone,
    {
        let mut inner = self.lock();
        for item in items {
            inner.add(item.clone());
        }
        let taken = !inner.abandoned;
        wake(inner);
        taken
    }

    /// Adds the last item, which is never dropped.
    pub(super) fn push_last(&self, item: T) {
        let mut inner = self.lock();
        inner.waiting.push(Next::Item(item));
        inner.ended = true;
        wake(inner);
    }

    /// Closes the queue on the producer's side.
    pub(super) fn end(&self) {
        let mut inner = self.lock();
        inner.ended = true;
        wake(inner);
    }

    /// Closes the queue on the consumer's side.
    pub(super) fn abandon(&self) {
        let mut inner = self.lock();
        inner.abandoned = true;
        inner.waiting = Waiting::new(None);
        inner.consumer = None;
    }

    pub(super) fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// The next item in order; `None` once the queue is closed and empty.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Next<T>>> {
        let mut inner = self.lock();
        let gap = match inner.policy {
            LagPolicy::DropOldest | LagPolicy::Coalesce => true,
            LagPolicy::DropNewest => inner.waiting.len() == 0,
        };
        if gap && inner.unreported > 0 {
            return Poll::Ready(Some(Next::Lost(std::mem::take(&mut inner.unreported))));
        }
        let next = inner.waiting.pop();
        if next.is_some() || inner.ended {
            return Poll::Ready(next);
        }
        inner.consumer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        // No caller's code runs under the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Inner<T> {
    /// Adds an item, or drops one according to the policy.
    fn add(&mut self, item: T) {
        if self.abandoned || self.ended {
            return;
        }
        if self.waiting.len() >= self.capacity {
            self.unreported += 1;
            self.lost += 1;
            match self.policy {
                LagPolicy::DropOldest => drop(self.waiting.pop()),
                LagPolicy::DropNewest => return,
                LagPolicy::Coalesce => {
                    if !self.waiting.remove_obsolete(&item) {
                        self.waiting.pop();
                    }
                }
            }
        } else if self.policy == LagPolicy::DropNewest && self.unreported > 0 {
            // The gap is here, after the queued items.
            let count = std::mem::take(&mut self.unreported);
            self.waiting.push(Next::Lost(count));
        }
        self.waiting.push(Next::Item(item));
    }
}

/// Wakes the consumer after unlocking: its executor's code must not run under the lock.
fn wake<T>(mut inner: MutexGuard<'_, Inner<T>>) {
    let consumer = inner.consumer.take();
    drop(inner);
    if let Some(consumer) = consumer {
        consumer.wake();
    }
}

/// Queued items; a superseded item leaves a hole, so that no other item moves.
struct Waiting<T> {
    items: VecDeque<Option<Next<T>>>,
    /// Sequence number of the first of `items`.
    first: u64,
    holes: usize,
    subject: Option<fn(&T) -> Option<Subject>>,
    /// Sequence number of the last queued item for each subject.
    latest: BTreeMap<Subject, u64>,
}

impl<T> Waiting<T> {
    fn new(subject: Option<fn(&T) -> Option<Subject>>) -> Self {
        let (items, latest) = (VecDeque::new(), BTreeMap::new());
        Self { items, first: 0, holes: 0, subject, latest }
    }

    fn len(&self) -> usize {
        self.items.len() - self.holes
    }

    fn push(&mut self, next: Next<T>) {
        // With as many holes as items, compaction costs no more than the pushes did.
        if self.holes > self.len() + 16 {
            self.close_holes();
        }
        if let Some(subject) = self.subject_of(&next) {
            self.latest.insert(subject, self.first + self.items.len() as u64);
        }
        self.items.push_back(Some(next));
    }

    fn pop(&mut self) -> Option<Next<T>> {
        while let Some(item) = self.items.pop_front() {
            let number = self.first;
            self.first += 1;
            let Some(next) = item else {
                self.holes -= 1;
                continue;
            };
            if let Some(subject) = self.subject_of(&next)
                && self.latest.get(&subject) == Some(&number)
            {
                self.latest.remove(&subject);
            }
            return Some(next);
        }
        None
    }

    /// Replaces the last item with the same subject as `item` by a hole. Returns whether there was
    /// one.
    fn remove_obsolete(&mut self, item: &T) -> bool {
        let Some(subject) = self.subject.and_then(|subject| subject(item)) else { return false };
        let Some(number) = self.latest.remove(&subject) else { return false };
        self.items[(number - self.first) as usize] = None;
        self.holes += 1;
        true
    }

    fn close_holes(&mut self) {
        self.items.retain(Option::is_some);
        self.holes = 0;
        self.latest.clear();
        for (at, next) in self.items.iter().enumerate() {
            if let Some(subject) = next.as_ref().and_then(|next| self.subject_of(next)) {
                self.latest.insert(subject, self.first + at as u64);
            }
        }
    }

    fn subject_of(&self, next: &Next<T>) -> Option<Subject> {
        match next {
            Next::Item(item) => self.subject.and_then(|subject| subject(item)),
            Next::Lost(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn drain(queue: &Queue<i64>) -> Vec<Next<i64>> {
        queue.end();
        let mut all = Vec::new();
        while let Some(next) = poll_fn(|cx| queue.poll_next(cx)).await {
            all.push(next);
        }
        all
    }

    /// The subject is the number without its last digit; negative numbers have none.
    fn subject(item: &i64) -> Option<Subject> {
        (*item >= 0).then(|| Subject::User((item / 10).to_string().as_str().into()))
    }

    fn fill(policy: LagPolicy, count: i64) -> Queue<i64> {
        let queue = Queue::new(3, policy, subject);
        for item in 0..count {
            assert!(queue.push(item));
        }
        queue
    }

    #[tokio::test]
    async fn oldest_is_dropped_and_the_gap_reported_first() {
        let queue = fill(LagPolicy::DropOldest, 5);
        assert_eq!(queue.lost(), 2);
        let items = [Next::Lost(2), Next::Item(2), Next::Item(3), Next::Item(4)];
        assert_eq!(drain(&queue).await, items);
    }

    #[tokio::test]
    async fn newest_is_dropped_and_the_gap_reported_where_it_is() {
        let queue = fill(LagPolicy::DropNewest, 5);
        let first = poll_fn(|cx| queue.poll_next(cx)).await;
        assert_eq!(first, Some(Next::Item(0)));
        queue.push(9);
        let items = [Next::Item(1), Next::Item(2), Next::Lost(2), Next::Item(9)];
        assert_eq!(drain(&queue).await, items);
    }

    #[tokio::test]
    async fn gap_at_the_end_is_reported_when_all_is_taken() {
        let queue = fill(LagPolicy::DropNewest, 4);
        let items = [Next::Item(0), Next::Item(1), Next::Item(2), Next::Lost(1)];
        assert_eq!(drain(&queue).await, items);
    }

    #[tokio::test]
    async fn coalescing_drops_what_is_obsolete_and_else_the_oldest() {
        let queue = Queue::new(3, LagPolicy::Coalesce, subject);
        for item in [-1, 10, 20, 21, 11, 30] {
            queue.push(item);
        }
        // 21 replaces 20, 11 replaces 10, and the oldest is dropped for 30.
        let items = [Next::Lost(3), Next::Item(21), Next::Item(11), Next::Item(30)];
        assert_eq!(drain(&queue).await, items);
    }

    #[tokio::test]
    async fn coalescing_keeps_everything_while_there_is_room() {
        let queue = fill(LagPolicy::Coalesce, 3);
        assert_eq!(drain(&queue).await, [Next::Item(0), Next::Item(1), Next::Item(2)]);
    }

    #[tokio::test]
    async fn coalescing_holds_as_many_places_as_events_however_many_come() {
        let queue = Queue::new(100, LagPolicy::Coalesce, subject);
        for item in 0..100 {
            queue.push(10 * item);
        }
        for item in 0..100_000 {
            queue.push(10 * (item % 7));
            let inner = queue.lock();
            assert_eq!(inner.waiting.len(), 100);
            assert!(inner.waiting.items.len() <= 220 && inner.waiting.latest.len() <= 100);
        }
        assert_eq!(queue.lost(), 100_000);
        let all = drain(&queue).await;
        assert_eq!(all.len(), 101);
        assert_eq!(all[1], Next::Item(70));
        // 99,999 % 7 = 4
        assert_eq!(all.last(), Some(&Next::Item(40)));
    }

    #[tokio::test]
    async fn last_item_is_never_dropped() {
        let queue = fill(LagPolicy::DropNewest, 3);
        queue.push_last(7);
        assert_eq!(drain(&queue).await.last(), Some(&Next::Item(7)));
    }

    #[test]
    fn abandoned_queue_informs_its_producer_and_holds_nothing() {
        let queue = fill(LagPolicy::DropOldest, 3);
        queue.abandon();
        assert!(!queue.push(1));
        assert_eq!(queue.lock().waiting.len(), 0);
    }
}
