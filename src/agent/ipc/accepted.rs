//! A client that has connected.

use tokio::io::{AsyncRead, AsyncWrite};
use tracing::info;

use super::admission::Origin;
use crate::{
    agent::tls::{Identity, ServerTls},
    base::printable_text,
};

/// A client that has connected.
pub(in crate::agent) struct Accepted {
    pub(in crate::agent) name: String,
    pub(in crate::agent) origin: Origin,
    /// Of its process, where it came by a Unix socket.
    pub(in crate::agent) uid: Option<u32>,
    /// Who it is by its certificate, under TLS.
    pub(in crate::agent) certificate: Option<Identity>,
    pub(in crate::agent) input: Box<dyn AsyncRead + Send + Unpin>,
    pub(in crate::agent) output: Box<dyn AsyncWrite + Send + Unpin>,
}

impl Accepted {
    /// Shakes hands by TLS, if there is any; `None`: the client did not, which is logged. Unix
    /// sockets are in clear.
    pub(in crate::agent) async fn secured(self, tls: Option<&ServerTls>) -> Option<Self> {
        let Some(tls) = tls.filter(|_| self.uid.is_none()) else { return Some(self) };
        match tls.secure(self.input, self.output).await {
            Ok((input, output, certificate)) => Some(Self { input, output, certificate, ..self }),
            Err(error) => {
                metrics::counter!("agent.tls.failed").increment(1);
                let (name, error) = (self.name, printable_text(&error, ERROR_BYTES_MAX));
                info!(target: "agent.ipc", "TLS handshake of client {name} failed: {error}");
                None
            }
        }
    }
}

/// Of an error of TLS that is logged.
const ERROR_BYTES_MAX: usize = 256;
