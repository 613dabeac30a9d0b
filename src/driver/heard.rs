//! What the agent logs of each event. Its log needs no payloads, and in a flood a lock, a wake-up
//! and a copy for each event would cost as much as the engine's work.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use super::Event;
use crate::serf::{EventName, MemberEventKind};

/// An event without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Member(MemberEventKind),
    User(EventName),
    Query(EventName),
}

/// Names that wait for their reader.
#[derive(Default)]
pub(super) struct Heard {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    names: Vec<Name>,
    /// Whether the node has ended.
    ended: bool,
    /// Whether the reader is gone.
    abandoned: bool,
    reader: Option<Waker>,
}

/// The reader of names; dropping it ends the subscription.
pub(crate) struct HeardStream {
    heard: Arc<Heard>,
}

impl Heard {
    /// Adds the names of events, and drops the oldest if too many wait; returns whether there is
    /// still a reader.
    pub(super) fn push_all(&self, events: &[Event]) -> bool {
        let mut inner = self.lock();
        if inner.abandoned {
            return false;
        }
        inner.names.extend(events.iter().filter_map(name));
        if inner.names.len() > WAITING_MAX {
            let surplus = inner.names.len() - WAITING_MAX / 2;
            inner.names.drain(..surplus);
        }
        wake(inner);
        true
    }

    pub(super) fn end(&self) {
        let mut inner = self.lock();
        inner.ended = true;
        wake(inner);
    }

    /// Swaps all waiting names with `names`, which is cleared; `false` after the end of the node.
    fn poll_all(&self, names: &mut Vec<Name>, cx: &Context<'_>) -> Poll<bool> {
        names.clear();
        let mut inner = self.lock();
        if !inner.names.is_empty() {
            std::mem::swap(&mut inner.names, names);
            return Poll::Ready(true);
        }
        if inner.ended {
            return Poll::Ready(false);
        }
        inner.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No caller's code runs under the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the reader after unlocking.
fn wake(mut inner: MutexGuard<'_, Inner>) {
    let reader = inner.reader.take();
    drop(inner);
    if let Some(reader) = reader {
        reader.wake();
    }
}

fn name(event: &Event) -> Option<Name> {
    Some(match event {
        Event::Member(event) => Name::Member(event.kind),
        Event::User(event) => Name::User(event.name.clone()),
        Event::Query(query) => Name::Query(query.asked.name.clone()),
        Event::Lagged(_) => return None,
    })
}

impl HeardStream {
    pub(super) fn of(heard: Arc<Heard>) -> Self {
        Self { heard }
    }

    /// Waits for names and takes all that wait; `false` after the end of the node. Cancel-safe.
    pub(crate) async fn recv_all(&mut self, names: &mut Vec<Name>) -> bool {
        poll_fn(|cx| self.heard.poll_all(names, cx)).await
    }
}

impl Drop for HeardStream {
    fn drop(&mut self) {
        let mut inner = self.heard.lock();
        inner.abandoned = true;
        inner.names = Vec::new();
    }
}

/// Most names that wait. The rest is not logged.
const WAITING_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serf::{LamportTime, UserEvent};

    fn events(count: u64) -> Vec<Event> {
        let event = |ltime| UserEvent {
            ltime: LamportTime(ltime),
            name: ltime.to_string().as_str().into(),
            payload: bytes::Bytes::new(),
            coalesce: false,
        };
        (0..count).map(|ltime| Event::User(event(ltime))).collect()
    }

    fn texts(names: &[Name]) -> Vec<String> {
        let text = |name: &Name| match name {
            Name::User(name) => name.to_string(),
            other => format!("{other:?}"),
        };
        names.iter().map(text).collect()
    }

    #[tokio::test]
    async fn all_that_wait_are_taken_at_once_and_the_oldest_are_lost() {
        let heard = Arc::<Heard>::default();
        let mut stream = HeardStream::of(Arc::clone(&heard));
        let mut names = vec![Name::Member(MemberEventKind::Join)];
        assert!(heard.push_all(&events(3)));
        assert!(heard.push_all(&events(1)));
        assert!(stream.recv_all(&mut names).await);
        assert_eq!(texts(&names), ["0", "1", "2", "0"]);
        assert!(heard.push_all(&events(WAITING_MAX as u64 + 5)));
        assert!(stream.recv_all(&mut names).await);
        assert_eq!(names.len(), WAITING_MAX / 2);
        assert_eq!(texts(&names).last().unwrap(), &(WAITING_MAX + 4).to_string());
        // A reader that waits is woken by names, and by the end.
        let (taken, pushed) = tokio::join!(stream.recv_all(&mut names), async {
            tokio::task::yield_now().await;
            heard.push_all(&events(2))
        });
        assert!(taken && pushed);
        assert_eq!(texts(&names), ["0", "1"]);
        let (taken, ()) = tokio::join!(stream.recv_all(&mut names), async {
            tokio::task::yield_now().await;
            heard.end();
        });
        assert!(!taken && names.is_empty());
        drop(stream);
        assert!(!heard.push_all(&events(1)));
    }
}
