//! The server's side of TLS, whose files may change while it runs.

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

/// The certificate of a listener, and those of its clients.
pub(in crate::agent) struct ServerTls {
    /// What its keys in the configuration begin with.
    what: &'static str,
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    config: RwLock<Arc<ServerConfig>>,
    /// The files as they were read, or found broken.
    mark: Mutex<Mark>,
    handshakes: Semaphore,
}

type Input = Box<dyn AsyncRead + Send + Unpin>;
type Output = Box<dyn AsyncWrite + Send + Unpin>;

impl ServerTls {
    /// Reads the files; `None`: no TLS is wanted. Blocks.
    ///
    /// # Errors
    /// One is missing, cannot be read, or cannot be used.
    pub(in crate::agent) fn open(files: &TlsFiles) -> Result<Option<Self>, AgentError> {
        let what = files.what;
        let (cert, key) = match (&files.cert, &files.key) {
            (Some(cert), Some(key)) => (cert.clone(), key.clone()),
            _ if files.is_empty() => return Ok(None),
            _ => {
                let text = format!("Invalid {what}_cert: it goes with {what}_key");
                return Err(AgentError::Invalid(text));
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

    /// Shakes hands with a client; gives its streams, and who it is by its certificate.
    ///
    /// # Errors
    /// It does not, or not in time.
    pub(in crate::agent) async fn secure(
        &self,
        input: Input,
        output: Output,
    ) -> Result<(Input, Output, Option<Identity>), String> {
        // Its own time begins with its turn: those before it may all use up theirs.
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

    /// Reads the files if they have changed since they were read. Broken ones change nothing, and
    /// are reported once. Blocks.
    pub(in crate::agent) fn reread_if_changed(&self) {
        if *self.mark() == self.mark_now() {
            return;
        }
        let path = self.cert.display();
        match self.reread() {
            Ok(()) => info!(target: "agent", "The certificate was read again from {path}"),
            Err(error) => {
                error!(target: "agent", "The certificate stays as it was: {error}");
            }
        }
    }

    /// Reads the files. Blocks.
    ///
    /// # Errors
    /// They are broken, and change nothing.
    pub(in crate::agent) fn reread(&self) -> Result<(), AgentError> {
        // Before they are read: what changes meanwhile is read again.
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

/// Time for a handshake, and for the wait for its turn. The session's own time begins after it.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// Handshakes of all clients of a listener at a time: each holds up to 64 KiB.
const HANDSHAKES_MAX: usize = 512;
