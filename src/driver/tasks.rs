//! The tasks of a node.

use std::{
    future::{Future, pending, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use tokio::sync::{oneshot, watch};

use super::panics::catch_panic;
use crate::runtime::Runtime;

/// Runs tasks that end with the node: when [`Tasks::end`] is called or this is dropped.
pub(super) struct Tasks {
    runtime: Arc<dyn Runtime>,
    /// True ends the tasks. Each task holds a receiver as long as it exists.
    end: watch::Sender<bool>,
}

/// Aborts a single task. Dropping it has no effect.
pub(super) struct Abort(oneshot::Sender<()>);

impl Tasks {
    pub(super) fn new(runtime: Arc<dyn Runtime>) -> Self {
        let (end, _) = watch::channel(false);
        Self { runtime, end }
    }

    pub(super) fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.runtime
    }

    /// Runs a task until it completes or the node ends.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut end = self.end.subscribe();
        self.runtime.spawn(Box::pin(async move {
            // An error means that the node is gone.
            until(task, async { drop(end.wait_for(|end| *end).await) }).await;
            // Dropped last: the task and what it held are gone by then.
            drop(end);
        }));
    }

    /// Runs a task until it completes or is aborted.
    pub(super) fn spawn_abortable(&self, task: impl Future<Output = ()> + Send + 'static) -> Abort {
        let (abort, aborted) = oneshot::channel();
        let aborted = async {
            // An error means that nobody can abort it any more.
            if aborted.await.is_err() {
                pending::<()>().await;
            }
        };
        // Boxed: nested futures would store it several times.
        self.spawn(Box::pin(until(task, aborted)));
        Abort(abort)
    }

    /// Number of running tasks.
    #[cfg(all(test, feature = "tokio", feature = "metrics"))]
    pub(super) fn count(&self) -> usize {
        self.end.receiver_count()
    }

    /// Ends all tasks, and waits until they have ended.
    pub(super) async fn end(&mut self) {
        self.end.send_replace(true);
        self.end.closed().await;
    }
}

impl Abort {
    pub(super) fn abort(self) {
        // An error means that the task has completed.
        let _ = self.0.send(());
    }
}

/// Runs `task` until it or `end` completes.
async fn until(task: impl Future<Output = ()>, end: impl Future<Output = ()>) {
    let mut task = pin!(catch_panic(task));
    let mut end = pin!(end);
    poll_fn(|cx| match task.as_mut().poll(cx) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => end.as_mut().poll(cx),
    })
    .await;
}
