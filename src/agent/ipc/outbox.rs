//! What goes out to a client, bounded in bytes.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::{
        OwnedRwLockReadGuard, OwnedRwLockWriteGuard, OwnedSemaphorePermit, RwLock, Semaphore, mpsc,
    },
};

/// Encoded frames on their way to a client's socket. Clones share it.
///
/// Each client may leave [`OWN_BYTES_MAX`] unread. A larger answer takes a share of what all
/// clients have together, and has to be read within a time.
#[derive(Clone)]
pub(super) struct Outbox {
    frames: mpsc::UnboundedSender<Frame>,
    own: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    /// Held by a request until its answer is on its way: records that it causes come later.
    turn: Arc<RwLock<()>>,
}

/// The receiving end.
pub(super) type Frames = mpsc::UnboundedReceiver<Frame>;

/// Bytes to write, and what they take of the bounds until they are written.
pub(super) struct Frame {
    bytes: Vec<u8>,
    own: OwnedSemaphorePermit,
    share: Option<OwnedSemaphorePermit>,
}

#[cfg(test)]
impl Frame {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Room for a large answer.
pub(super) struct Share {
    own: OwnedSemaphorePermit,
    all: OwnedSemaphorePermit,
}

/// Room for a record.
pub(super) struct Place {
    _turn: OwnedRwLockReadGuard<()>,
    own: OwnedSemaphorePermit,
}

/// No record goes out while it is held.
pub(super) type Turn = OwnedRwLockWriteGuard<()>;

impl Outbox {
    /// An outbox, and what a writer takes from it.
    pub(super) fn new(answers: Arc<Semaphore>) -> (Self, Frames) {
        let (frames, written) = mpsc::unbounded_channel();
        let own = Arc::new(Semaphore::new(OWN_BYTES_MAX));
        (Self { frames, own, answers, turn: Arc::default() }, written)
    }

    /// Keeps records back until the turn is dropped.
    pub(super) async fn turn(&self) -> Turn {
        Arc::clone(&self.turn).write_owned().await
    }

    /// Waits until there is room for a record and no request has the turn; what is to be sent is
    /// encoded only then. Cancel-safe.
    pub(super) async fn place(&self, bytes: usize) -> Place {
        // In this order, or the record would keep room from an answer that it waits for.
        let turn = Arc::clone(&self.turn).read_owned().await;
        Place { _turn: turn, own: self.room(bytes).await }
    }

    /// Sends a record. False: the client is gone.
    pub(super) fn record(&self, place: Place, record: Vec<u8>) -> bool {
        self.put(record, place.own, None)
    }

    /// Sends answers; they go before any record that has not been sent.
    pub(super) async fn answer(&self, bytes: Vec<u8>, share: Option<Share>) -> bool {
        let share = match share {
            None if bytes.len() > OWN_BYTES_MAX => Some(self.share(bytes.len()).await),
            share => share,
        };
        match share {
            None => {
                let own = self.room(bytes.len()).await;
                self.put(bytes, own, None)
            }
            Some(Share { own, all }) => self.put(bytes, own, Some(all)),
        }
    }

    /// Room for a large answer, before memory is taken for it: all that was sent to this client
    /// is out, and other clients have left enough.
    pub(super) async fn share(&self, bytes: usize) -> Share {
        let own = self.room(OWN_BYTES_MAX).await;
        let wanted = bytes.min(ANSWERS_BYTES_MAX);
        Share { own, all: acquire(&self.answers, wanted).await }
    }

    async fn room(&self, bytes: usize) -> OwnedSemaphorePermit {
        acquire(&self.own, bytes.saturating_add(FRAME_BYTES).min(OWN_BYTES_MAX)).await
    }

    fn put(
        &self,
        bytes: Vec<u8>,
        own: OwnedSemaphorePermit,
        share: Option<OwnedSemaphorePermit>,
    ) -> bool {
        self.frames.send(Frame { bytes, own, share }).is_ok()
    }
}

async fn acquire(semaphore: &Arc<Semaphore>, bytes: usize) -> OwnedSemaphorePermit {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    let permit = Arc::clone(semaphore).acquire_many_owned(bytes).await;
    permit.expect("these semaphores are never closed")
}

/// Everything that is ready goes out in one write.
pub(super) async fn write(mut output: Box<dyn AsyncWrite + Send + Unpin>, mut frames: Frames) {
    while let Some(first) = frames.recv().await {
        let Frame { mut bytes, own, share } = first;
        let mut held = vec![own];
        // A large answer is alone: nothing else of this client had room.
        while share.is_none()
            && let Ok(more) = frames.try_recv()
        {
            bytes.extend_from_slice(&more.bytes);
            held.push(more.own);
        }
        let written = output.write_all(&bytes);
        let written = match &share {
            None => written.await.is_ok(),
            Some(_) => {
                let limit = ANSWER_WRITE_MIN + Duration::from_secs((bytes.len() >> 20) as u64);
                tokio::time::timeout(limit, written).await.is_ok_and(|written| written.is_ok())
            }
        };
        if !written {
            return;
        }
    }
    // Closing is all that is left to do with it.
    let _ = output.shutdown().await;
}

/// Bytes that a client may leave unread before its requests wait, and its records.
pub(super) const OWN_BYTES_MAX: usize = 16 << 10;
/// Bytes of larger answers that wait for all clients together.
pub(super) const ANSWERS_BYTES_MAX: usize = 32 << 20;
/// What a frame costs beside its bytes.
const FRAME_BYTES: usize = 64;
/// Time that a client has to read a large answer, and a second more for each MiB.
const ANSWER_WRITE_MIN: Duration = Duration::from_secs(10);
