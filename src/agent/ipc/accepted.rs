//! A connection that a listener has accepted.

use tokio::io::{AsyncRead, AsyncWrite};
use tracing::info;

use super::admission::Origin;
use crate::{
    agent::tls::{Identity, ServerTls},
    base::printable_text,
};

/// A client's connection.
pub(in crate::agent) struct Accepted {
    pub(in crate::agent) name: String,
    pub(in crate::agent) origin: Origin,
    /// User id of the client's process, for connections over a Unix socket.
    pub(in crate::agent) uid: Option<u32>,
    /// The client's verified TLS certificate.
    pub(in crate::agent) certificate: Option<Identity>,
    pub(in crate::agent) input: Box<dyn AsyncRead + Send + Unpin>,
    pub(in crate::agent) output: Box<dyn AsyncWrite + Send + Unpin>,
}

impl Accepted {
    /// Performs the TLS handshake, if the listener uses TLS; `None` if it failed, which is logged.
    /// Connections over a Unix socket do not use TLS.
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

/// Most bytes of a TLS error in the log.
const ERROR_BYTES_MAX: usize = 256;
