//! The memory for large responses, which all clients share.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Limits the memory of large responses that clients have not read yet. It is reserved before a
/// response is encoded.
pub(super) struct Answers {
    room: Arc<Semaphore>,
    /// Number of waiters for room.
    waiting: watch::Sender<usize>,
}

/// A reservation, released when it is dropped.
pub(in crate::agent) struct Share {
    waiting: watch::Receiver<usize>,
    _room: OwnedSemaphorePermit,
}

impl Answers {
    pub(super) fn new() -> Arc<Self> {
        let room = Arc::new(Semaphore::new(ANSWERS_BYTES_MAX));
        Arc::new(Self { room, waiting: watch::Sender::default() })
    }

    /// Reserves memory for a response, if it is available now.
    pub(super) fn try_share(&self, bytes: usize) -> Option<Share> {
        let room = Arc::clone(&self.room).try_acquire_many_owned(permits(bytes)).ok()?;
        Some(Share { waiting: self.waiting.subscribe(), _room: room })
    }

    /// Room for what is only faster with it, if at least half of the room remains for others.
    pub(super) fn try_spare(&self, bytes: usize) -> Option<Share> {
        let spare = self.room.available_permits().checked_sub(ANSWERS_BYTES_MAX / 2)?;
        if bytes <= spare { self.try_share(bytes) } else { None }
    }

    /// Waits for room: clients that hold some without reading lose it after [`HOLD`].
    pub(super) async fn share(&self, bytes: usize) -> Share {
        // A caller that need not wait is not counted as a waiter.
        if let Some(share) = self.try_share(bytes) {
            return share;
        }
        let _waiting = Waiting::new(&self.waiting);
        let room = Arc::clone(&self.room).acquire_many_owned(permits(bytes)).await;
        let room = room.expect("the semaphore is never closed");
        Share { waiting: self.waiting.subscribe(), _room: room }
    }

    /// Resolves while clients wait for room.
    pub(super) async fn crowded(&self) {
        // Cannot fail: `self` owns the sender.
        let _ = self.waiting.subscribe().wait_for(|waiting| *waiting > 0).await;
    }
}

impl Share {
    /// Resolves once a client has had [`HOLD`] to read and others wait for room.
    pub(in crate::agent) async fn overdue(&self) {
        tokio::time::sleep(HOLD).await;
        // An error means that `Answers` was dropped, so that no client waits.
        if self.waiting.clone().wait_for(|waiting| *waiting > 0).await.is_err() {
            std::future::pending().await
        }
    }
}

/// Counts a waiter.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl<'a> Waiting<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// A response that is larger than the limit reserves all of it.
fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes.min(ANSWERS_BYTES_MAX)).unwrap_or(u32::MAX)
}

/// Most bytes that a client may leave unread; its further requests and records wait.
pub(super) const OWN_BYTES_MAX: usize = 16 << 10;
/// Most bytes of large responses that all clients together may leave unread.
pub(super) const ANSWERS_BYTES_MAX: usize = 32 << 20;
/// Time that a client has to read a large response while others wait for room.
pub(super) const HOLD: Duration = Duration::from_secs(3);
