//! Watches the members and reports them after changes.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use tokio::sync::{mpsc, mpsc::error::TrySendError, oneshot, watch};

use super::command::{Command, Read};
use crate::{runtime::yield_now, serf::Member};

/// Reports changes of the members, also as a [`Stream`]. Does not keep the node running.
#[must_use = "a watch reports changes only when it is polled"]
pub struct MemberWatch {
    commands: mpsc::WeakSender<Command>,
    /// Changes up to this receiver's version were reported.
    changes: watch::Receiver<u64>,
    /// A report in progress. The lock is never contended: it only makes the watch `Sync`.
    report: Mutex<Option<Report>>,
}

/// The members after a change, and the receiver with the version seen by then.
type Report = Pin<Box<dyn Future<Output = Option<(Members, watch::Receiver<u64>)>> + Send>>;

/// All members, sorted by name.
type Members = Vec<Arc<Member>>;

impl MemberWatch {
    pub(super) fn new(
        commands: mpsc::WeakSender<Command>,
        mut changes: watch::Receiver<u64>,
    ) -> Self {
        changes.mark_unchanged();
        Self { commands, changes, report: Mutex::default() }
    }

    /// Waits for a change and returns all members, including failed and left ones, sorted by name.
    /// Several changes since the last call are reported as one. `None` after the shutdown.
    /// Cancel-safe.
    pub async fn changed(&mut self) -> Option<Members> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for MemberWatch {
    type Item = Members;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Members>> {
        let Self { commands, changes, report } = &mut *self;
        let slot = report.get_mut().unwrap_or_else(PoisonError::into_inner);
        let under_way =
            slot.get_or_insert_with(|| Box::pin(next_report(commands.clone(), changes.clone())));
        let done = ready!(under_way.as_mut().poll(cx));
        *slot = None;
        Poll::Ready(done.map(|(members, seen)| {
            *changes = seen;
            members
        }))
    }
}

async fn next_report(
    commands: mpsc::WeakSender<Command>,
    mut changes: watch::Receiver<u64>,
) -> Option<(Members, watch::Receiver<u64>)> {
    changes.changed().await.ok()?;
    let (reply, answer) = oneshot::channel();
    let mut command = Command::Read(Read::Members(reply));
    // Holds no sender while it waits: if it were never polled again, the node would not stop.
    while let Err(refused) = commands.upgrade()?.try_send(command) {
        command = match refused {
            TrySendError::Full(command) => command,
            TrySendError::Closed(_) => return None,
        };
        yield_now().await;
    }
    Some((answer.await.ok()?.to_vec(), changes))
}

/// A clone reports what the original has not reported yet.
impl Clone for MemberWatch {
    fn clone(&self) -> Self {
        let (commands, changes) = (self.commands.clone(), self.changes.clone());
        Self { commands, changes, report: Mutex::default() }
    }
}

impl fmt::Debug for MemberWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemberWatch").finish_non_exhaustive()
    }
}
