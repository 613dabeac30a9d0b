//! Limits the memory of inbound streams: all of them together hold no more than a peer's largest
//! state needs.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::metrics;
use crate::{
    runtime::{self, Runtime, timeout_at},
    swim::StreamInput,
};

/// Memory shared by all streams, which is acquired before it is used. The size that a stream needs
/// decides:
///
/// - Up to [`FREE_BYTES`] needs no permit, so that pings and user messages pass while syncs wait.
/// - Up to [`SMALL_BYTES_MAX`] is taken from a pool that such streams share.
/// - One stream at a time may hold more than that, up to what the protocol allows.
///
/// A stream may wait for the larger class while holding a share of the smaller one, but not the
/// reverse, so that the classes cannot deadlock. A stream that has held a share for [`HOLD`] while
/// others wait for one is refused.
#[derive(Clone)]
pub(super) struct Budget {
    small: Arc<Pool>,
    large: Arc<Pool>,
    runtime: Arc<dyn Runtime>,
}

struct Pool {
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Budget {
    pub(super) fn new(runtime: Arc<dyn Runtime>) -> Self {
        Self::of_kib(SMALL_KIB, runtime)
    }

    pub(super) fn of_kib(small: usize, runtime: Arc<dyn Runtime>) -> Self {
        Self { small: Pool::new(small), large: Pool::new(1), runtime }
    }

    pub(super) fn share(&self) -> Share {
        Share { budget: self.clone(), held: None, look_at: None }
    }
}

impl Pool {
    fn new(permits: usize) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(permits));
        Arc::new(Self { permits, waiting: AtomicUsize::new(0) })
    }

    async fn acquire(self: Arc<Self>, permits: u32) -> Option<OwnedSemaphorePermit> {
        let _waiting = Waiting::new(&self.waiting);
        // The semaphore is never closed.
        Arc::clone(&self.permits).acquire_many_owned(permits).await.ok()
    }
}

/// Counts the streams waiting for a pool.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The bytes of a message together with the share that covers them.
struct Shared {
    bytes: Bytes,
    _share: Arc<Share>,
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// One stream's share of the [`Budget`]; released when dropped.
pub(super) struct Share {
    budget: Budget,
    held: Option<Held>,
    /// When to check whether others wait for the pool of this share.
    look_at: Option<Instant>,
}

struct Held {
    pool: Arc<Pool>,
    permit: OwnedSemaphorePermit,
}

impl Share {
    /// Waits until the stream may hold `bytes`; returns false if that was refused or the deadline
    /// passed.
    pub(super) async fn grow_to(&mut self, bytes: usize, deadline: Instant) -> bool {
        if bytes <= self.bytes_max() {
            return true;
        }
        let small = bytes <= SMALL_BYTES_MAX;
        let (pool, wanted) = match small {
            true => (&self.budget.small, bytes.div_ceil(KIB)),
            false => (&self.budget.large, 1),
        };
        let held = self.held.as_ref().filter(|held| Arc::ptr_eq(&held.pool, pool));
        let missing = wanted - held.map_or(0, |held| held.permit.num_permits()).min(wanted);
        let Ok(missing) = u32::try_from(missing) else { return false };
        let pool = Arc::clone(pool);
        let acquire = Arc::clone(&pool).acquire(missing);
        // A stream that waits for more of the small pool counts as waiting, too, but is not another
        // one.
        let Some(Some(permit)) = self.unless_wanted(deadline, usize::from(small), acquire).await
        else {
            metrics::counter("memberlist.tcp.refused", 1);
            return false;
        };
        match &mut self.held {
            Some(held) if small => held.permit.merge(permit),
            held => *held = Some(Held { pool, permit }),
        }
        self.look_at = Some(runtime::now() + HOLD);
        true
    }

    /// Releases what is not needed for `bytes`.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        let Some(held) = &mut self.held else { return };
        let wanted = if bytes <= FREE_BYTES { 0 } else { bytes.div_ceil(KIB) };
        if Arc::ptr_eq(&held.pool, &self.budget.small) {
            let rest = held.permit.num_permits().saturating_sub(wanted);
            drop(held.permit.split(rest));
        } else if bytes <= SMALL_BYTES_MAX
            && let Ok(wanted) = u32::try_from(wanted)
            && let pool = Arc::clone(&self.budget.small)
            && let Ok(permit) = Arc::clone(&pool.permits).try_acquire_many_owned(wanted)
        {
            *held = Held { pool, permit };
        }
    }

    /// Ties the share to the message: it is released when the engine drops the last part of the
    /// message.
    pub(super) fn follow(self, input: StreamInput) -> StreamInput {
        let StreamInput::Message(message) = input else { return input };
        let share = Arc::new(self);
        StreamInput::Message(message.map_buffers(|bytes| match bytes.is_empty() {
            true => bytes,
            false => Bytes::from_owner(Shared { bytes, _share: Arc::clone(&share) }),
        }))
    }

    /// Bytes that the stream may hold.
    pub(super) fn bytes_max(&self) -> usize {
        match &self.held {
            None => FREE_BYTES,
            Some(held) if Arc::ptr_eq(&held.pool, &self.budget.small) => {
                FREE_BYTES.max(held.permit.num_permits() * KIB)
            }
            Some(_) => usize::MAX,
        }
    }

    /// Awaits `future`; returns `None` if the deadline passes, or if others have waited too long
    /// for this share's pool.
    pub(super) async fn within<F: Future>(
        &mut self,
        deadline: Instant,
        future: F,
    ) -> Option<F::Output> {
        self.unless_wanted(deadline, 0, future).await
    }

    /// The same; `own` is how many of the waiting streams are this one.
    async fn unless_wanted<F: Future>(
        &mut self,
        deadline: Instant,
        own: usize,
        future: F,
    ) -> Option<F::Output> {
        let mut future = pin!(future);
        loop {
            let until = self.look_at.map_or(deadline, |at| at.min(deadline));
            match timeout_at(&*self.budget.runtime, until, future.as_mut()).await {
                Some(output) => return Some(output),
                None if until < deadline && self.waiting() <= own => {
                    self.look_at = Some(runtime::now() + HOLD);
                }
                None => return None,
            }
        }
    }

    /// Number of streams waiting for this share's pool.
    fn waiting(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.pool.waiting.load(Ordering::Relaxed))
    }
}

/// Memory of one stream that needs no permit.
pub(super) const FREE_BYTES: usize = KIB;
/// Most memory of a stream other than the single large one.
pub(super) const SMALL_BYTES_MAX: usize = 1024 * KIB;
/// Pool of all small streams, 2 MiB: the states of about 10 clusters of 1,000 nodes.
pub(super) const SMALL_KIB: usize = 2 * 1024;
/// How long a stream may hold a share that others wait for.
const HOLD: Duration = Duration::from_secs(3);
const KIB: usize = 1024;
