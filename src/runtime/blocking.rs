//! Runs blocking work on a thread of its own: at the start of a node and to resolve names of peers,
//! which is too rare for a thread pool.

use std::{io, thread};

use ::tokio::sync::oneshot;

/// Awaits the result of `work` without blocking the caller's task. The work continues if the future
/// is dropped.
///
/// # Errors
/// The system cannot start a thread, or the work panicked.
pub(crate) async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> io::Result<R> {
    let (done, result) = oneshot::channel();
    thread::Builder::new().name("serf-blocking".to_owned()).spawn(move || {
        // The caller may be gone.
        let _ = done.send(work());
    })?;
    result.await.map_err(|_| io::Error::other("a thread panicked"))
}
