//! The output queue of a client, bounded in bytes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::{
        OwnedRwLockReadGuard, OwnedRwLockWriteGuard, OwnedSemaphorePermit, RwLock, Semaphore, mpsc,
    },
    time::timeout,
};

pub(super) use super::answers::OWN_BYTES_MAX;
use super::{
    answers::{Answers, Share},
    member_list::{Listing, TURN},
};

/// Queues encoded frames for a client's socket. Clones share the queue.
///
/// A client may leave [`OWN_BYTES_MAX`] unread. A larger response also reserves memory of the limit
/// that all clients share, and must be read in time.
#[derive(Clone)]
pub(super) struct Outbox {
    frames: mpsc::UnboundedSender<Frame>,
    own: Arc<Semaphore>,
    answers: Arc<Answers>,
    /// Locked by a request until its response is queued, so that records that it causes are sent
    /// after it.
    turn: Arc<RwLock<()>>,
}

/// The receiving end of the queue.
pub(super) type Frames = mpsc::UnboundedReceiver<Frame>;

/// Bytes to write. They count towards the limits until the frame is dropped.
pub(super) struct Frame {
    bytes: Vec<u8>,
    /// Members to encode after the bytes.
    listing: Option<Listing>,
    own: OwnedSemaphorePermit,
    share: Option<Arc<Share>>,
}

#[cfg(test)]
impl Frame {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Permits for all bytes that a client may leave unread.
pub(super) struct WholeRoom(OwnedSemaphorePermit);

/// Permit to queue a record.
pub(super) struct Place {
    _turn: OwnedRwLockReadGuard<()>,
    own: OwnedSemaphorePermit,
}

/// While it is held, no record is queued.
pub(super) type Turn = OwnedRwLockWriteGuard<()>;

impl Outbox {
    /// Creates an outbox, and the receiving end for [`write`].
    pub(super) fn new(answers: Arc<Answers>) -> (Self, Frames) {
        let (frames, written) = mpsc::unbounded_channel();
        let own = Arc::new(Semaphore::new(OWN_BYTES_MAX));
        (Self { frames, own, answers, turn: Arc::default() }, written)
    }

    /// Delays records until the turn is dropped.
    pub(super) async fn turn(&self) -> Turn {
        Arc::clone(&self.turn).write_owned().await
    }

    /// Waits until there is room for a record and no request has the turn. Callers encode the
    /// record afterwards, so that waiting records take no memory. Cancel-safe.
    pub(super) async fn place(&self, bytes: usize) -> Place {
        // The lock comes first: otherwise the record could hold room that the response needs for
        // which it waits.
        let turn = Arc::clone(&self.turn).read_owned().await;
        Place { _turn: turn, own: self.room(bytes).await }
    }

    /// Queues a record; returns false if the client has disconnected.
    pub(super) fn record(&self, place: Place, record: Vec<u8>) -> bool {
        self.put(Frame { bytes: record, listing: None, own: place.own, share: None })
    }

    /// Queues responses; returns false if the client has disconnected.
    pub(super) async fn answer(&self, bytes: Vec<u8>) -> bool {
        let own = self.room(bytes.len()).await;
        let mut share = None;
        if bytes.len() > OWN_BYTES_MAX {
            share = Some(Arc::new(self.answers.share(bytes.len()).await));
        }
        self.put(Frame { bytes, listing: None, own, share })
    }

    /// The same as [`Outbox::whole_room`] if nothing of this client is queued.
    pub(super) fn try_whole_room(&self) -> Option<WholeRoom> {
        let bytes = u32::try_from(OWN_BYTES_MAX).unwrap_or(u32::MAX);
        Arc::clone(&self.own).try_acquire_many_owned(bytes).ok().map(WholeRoom)
    }

    /// Waits until all queued data of this client is written.
    pub(super) async fn whole_room(&self) -> WholeRoom {
        WholeRoom(self.room(OWN_BYTES_MAX).await)
    }

    /// Queues a response with members; returns false if the client has disconnected.
    pub(super) fn listing(&self, room: WholeRoom, head: Vec<u8>, listing: Listing) -> bool {
        let share = listing.share();
        self.put(Frame { bytes: head, listing: Some(listing), own: room.0, share })
    }

    async fn room(&self, bytes: usize) -> OwnedSemaphorePermit {
        acquire(&self.own, bytes.saturating_add(FRAME_BYTES).min(OWN_BYTES_MAX)).await
    }

    fn put(&self, frame: Frame) -> bool {
        self.frames.send(frame).is_ok()
    }
}

async fn acquire(semaphore: &Arc<Semaphore>, bytes: usize) -> OwnedSemaphorePermit {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    let permit = Arc::clone(semaphore).acquire_many_owned(bytes).await;
    permit.expect("these semaphores are never closed")
}

/// Writes frames until the session ends, the socket fails, or a large response is not read in time.
/// Joins all queued frames into one write.
pub(super) async fn write(mut output: Box<dyn AsyncWrite + Send + Unpin>, mut frames: Frames) {
    while let Some(first) = frames.recv().await {
        let Frame { mut bytes, listing, own, share } = first;
        let written = if listing.is_some() || share.is_some() {
            // It occupies all room of this client, so no other frame is queued.
            write_large(&mut output, bytes, listing, share).await
        } else {
            let mut held = vec![own];
            while let Ok(more) = frames.try_recv() {
                bytes.extend_from_slice(&more.bytes);
                held.push(more.own);
            }
            output.write_all(&bytes).await.is_ok()
        };
        if !written {
            return;
        }
    }
    // An error has no consequence: the socket is closed anyway.
    let _ = output.shutdown().await;
}

/// Writes a large response; returns false if the client did not read it in time.
async fn write_large(
    output: &mut (dyn AsyncWrite + Send + Unpin),
    mut bytes: Vec<u8>,
    mut listing: Option<Listing>,
    share: Option<Arc<Share>>,
) -> bool {
    let size = bytes.len() + listing.as_ref().map_or(0, Listing::bytes);
    let limit = ANSWER_WRITE_MIN + Duration::from_secs((size >> 20) as u64);
    let writing = async {
        let (mut more, mut begun) = (true, Instant::now());
        while more {
            more = listing.as_mut().is_some_and(|listing| listing.encode_next(&mut bytes));
            if output.write_all(&bytes).await.is_err() {
                return false;
            }
            bytes.clear();
            if begun.elapsed() >= TURN {
                tokio::task::yield_now().await;
                begun = Instant::now();
            }
        }
        true
    };
    let overdue = async {
        match &share {
            Some(share) => share.overdue().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        written = timeout(limit, writing) => written.unwrap_or(false),
        () = overdue => false,
    }
}

/// Memory that a frame is charged with in addition to its bytes.
const FRAME_BYTES: usize = 64;
/// Time limit for reading a large response; each MiB adds a second.
const ANSWER_WRITE_MIN: Duration = Duration::from_secs(10);
