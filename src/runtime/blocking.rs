//! Work that waits for the system, on a thread of its own: the start of a node and names of peers,
//! which are too few for a pool.

use std::{io, thread};

use ::tokio::sync::oneshot;

/// What `work` gives, without holding up the caller's task. Goes on if the future is dropped.
///
/// # Errors
/// The system gives no thread, or the work panicked.
pub(crate) async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> io::Result<R> {
    let (done, result) = oneshot::channel();
    thread::Builder::new().name("serf-blocking".to_owned()).spawn(move || {
        // A caller that went away needs no result.
        let _ = done.send(work());
    })?;
    result.await.map_err(|_| io::Error::other("a thread panicked"))
}
