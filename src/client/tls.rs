//! TLS connections to an agent.

use std::{fmt, sync::Arc};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::Error;
use crate::transport::rustls::{ClientConfig, pki_types::ServerName};

/// Settings for connecting to an agent whose RPC uses TLS (`rpc_tls_cert` in ruserf's agent).
///
/// ```no_run
/// # use std::sync::Arc;
/// use ruserf::{client::{Client, Config, Tls}, transport::rustls};
///
/// # async fn connect(
/// #     config: Arc<rustls::ClientConfig>,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// let mut agent = Config::new("10.0.0.1:7373");
/// agent.tls = Some(Tls::new(config, "web-1.example".try_into()?));
/// let client = Client::connect(agent).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

type Input = Box<dyn AsyncRead + Send + Unpin>;
type Output = Box<dyn AsyncWrite + Send + Unpin>;

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Tls {
    /// `config` contains the authorities to trust and this client's certificate, if it has one; the
    /// agent's certificate must be valid for `name`.
    pub fn new(config: Arc<ClientConfig>, name: ServerName<'static>) -> Self {
        Self { connector: config.into(), name }
    }

    pub(super) async fn secure(
        &self,
        input: Input,
        output: Output,
    ) -> Result<(Input, Output), Error> {
        let stream = tokio::io::join(input, output);
        let stream = self.connector.connect(self.name.clone(), stream).await;
        let stream = stream.map_err(|error| Error::Dial(format!("TLS handshake: {error}")))?;
        let (input, output) = tokio::io::split(stream);
        Ok((Box::new(input), Box::new(output)))
    }
}
