//! Waits with the timers of any runtime.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};

use super::Runtime;

/// The current time. A tokio test that pauses its clock pauses this one, too.
pub(crate) fn now() -> Instant {
    #[cfg(feature = "tokio")]
    return tokio::time::Instant::now().into_std();
    #[cfg(not(feature = "tokio"))]
    Instant::now()
}

/// Awaits `future`; returns `None` if `at` comes first. A future that is ready needs no timer.
pub(crate) async fn timeout_at<F: Future>(
    runtime: &dyn Runtime,
    at: Instant,
    future: F,
) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut timer = None;
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        let timer = timer.get_or_insert_with(|| runtime.timer(at));
        timer.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// Waits for a duration.
pub(crate) async fn sleep(runtime: &dyn Runtime, time: Duration) {
    runtime.timer(now() + time).await;
}

/// Yields to other tasks once.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
