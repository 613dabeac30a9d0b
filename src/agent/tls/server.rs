//! TLS of a listener. Its files are reloaded when they change.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tracing::{error, info};

use super::{Identity, certificate, pem};
use crate::{
    agent::{AgentError, mark::Mark, settings::TlsFiles},
    transport::rustls::ServerConfig,
};

/// TLS of a listener: its certificate, and the authorities for certificates of clients.
pub(in crate::agent) struct ServerTls {
    /// Prefix of its configuration keys: `rpc_tls` or `http_tls`.
    what: &'static str,
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    config: RwLock<Arc<ServerConfig>>,
    /// State of the files when they were last read, whether they were valid or not.
    mark: Mutex<Mark>,
    handshakes: Semaphore,
}

type Input = Box<dyn AsyncRead + Send + Unpin>;
type Output = Box<dyn AsyncWrite + Send + Unpin>;

impl ServerTls {
    /// Reads the files; `None` if TLS is not configured. Blocks.
    ///
    /// # Errors
    /// A setting is missing, or a file cannot be read or is invalid.
    pub(in crate::agent) fn open(files: &TlsFiles) -> Result<Option<Self>, AgentError> {
        let what = files.what;
        let (cert, key) = match (&files.cert, &files.key) {
            (Some(cert), Some(key)) => (cert.clone(), key.clone()),
            _ if files.is_empty() => return Ok(None),
            _ => {
                let reason = format!("{what}_cert and {what}_key must be set together");
                return Err(invalid(what, &reason));
            }
        };
        let client_ca = files.client_ca.clone();
        let mark = Mark::of(&paths(&cert, &key, client_ca.as_ref()));
        let config = pem::server_config(&cert, &key, client_ca.as_deref());
        let config = config.map_err(|reason| invalid(what, &reason))?;
        Ok(Some(Self {
            what,
            cert,
            key,
            client_ca,
            config: RwLock::new(Arc::new(config)),
            mark: Mutex::new(mark),
            handshakes: Semaphore::new(HANDSHAKES_MAX),
        }))
    }

    /// Performs the handshake with a client. Returns the encrypted streams, and the identity in the
    /// client's certificate.
    ///
    /// # Errors
    /// The handshake failed or was not finished in time.
    pub(in crate::agent) async fn secure(
        &self,
        input: Input,
        output: Output,
    ) -> Result<(Input, Output, Option<Identity>), String> {
        // Two time limits: slow clients that wait before this one must not use up its own time.
        let turn = timeout(HANDSHAKE_TIME, self.handshakes.acquire()).await;
        let _one = turn.map_err(|_| "too many handshakes".to_owned())?;
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner).clone();
        let shaken = TlsAcceptor::from(config).accept(tokio::io::join(input, output));
        let stream = match timeout(HANDSHAKE_TIME, shaken).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err("i/o timeout".to_owned()),
        };
        let shown = stream.get_ref().1.peer_certificates();
        let identity = shown.and_then(|chain| chain.first()).map(certificate::identity);
        let (input, output) = tokio::io::split(stream);
        Ok((Box::new(input), Box::new(output), identity))
    }

    /// Whether only clients with a certificate are accepted.
    pub(in crate::agent) fn wants_certificates(&self) -> bool {
        self.client_ca.is_some()
    }

    /// Reloads the files if they have changed. Invalid files are logged once and the previous ones
    /// remain in use. Blocks.
    pub(in crate::agent) fn reread_if_changed(&self) {
        if *self.mark() == self.mark_now() {
            return;
        }
        let path = self.cert.display();
        match self.reread() {
            Ok(()) => info!(target: "agent", "Reloaded the certificate from {path}"),
            Err(error) => {
                error!(target: "agent", "Failed to reload the certificate: {error}");
            }
        }
    }

    /// Reloads the files. Blocks.
    ///
    /// # Errors
    /// A file is invalid; the previous ones remain in use.
    pub(in crate::agent) fn reread(&self) -> Result<(), AgentError> {
        // Taken before reading, so that a change during the read causes another reload.
        *self.mark() = self.mark_now();
        let config = pem::server_config(&self.cert, &self.key, self.client_ca.as_deref());
        let config = config.map_err(|reason| invalid(self.what, &reason))?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        Ok(())
    }

    fn mark(&self) -> std::sync::MutexGuard<'_, Mark> {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mark_now(&self) -> Mark {
        Mark::of(&paths(&self.cert, &self.key, self.client_ca.as_ref()))
    }
}

fn paths(cert: &PathBuf, key: &PathBuf, client_ca: Option<&PathBuf>) -> Vec<PathBuf> {
    [Some(cert), Some(key), client_ca].into_iter().flatten().cloned().collect()
}

fn invalid(what: &str, reason: &str) -> AgentError {
    AgentError::Invalid(format!("Invalid {what}_cert: {reason}"))
}

/// Time limit for a handshake, and for the wait before it. The time limits of a session start
/// afterwards.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// Most concurrent handshakes of a listener: each may buffer up to 64 KiB.
const HANDSHAKES_MAX: usize = 512;
