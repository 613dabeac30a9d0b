//! What goes out to a client.

use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};

/// Encoded frames on their way to a client's socket.
pub(super) type Outbox = mpsc::Sender<Vec<u8>>;

/// Everything that is ready goes out in one write.
pub(super) async fn write(
    mut output: Box<dyn AsyncWrite + Send + Unpin>,
    mut frames: mpsc::Receiver<Vec<u8>>,
) {
    while let Some(mut batch) = frames.recv().await {
        while batch.len() < 256 << 10 {
            let Ok(more) = frames.try_recv() else { break };
            batch.extend_from_slice(&more);
        }
        if output.write_all(&batch).await.is_err() {
            return;
        }
    }
    // Closing is all that is left to do with it.
    let _ = output.shutdown().await;
}
