//! Authentication of clients by tokens and certificates, against a file that may change.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use ctutils::CtEq as _;
use tokio::sync::watch;
use tracing::{error, info};

use super::{
    Capability,
    tokens::{Entry, Tokens},
};
use crate::{
    agent::{
        AgentError, Settings,
        mark::Mark,
        tls::{Identity, ServerTls},
    },
    base::Secret,
    rpc::protocol::Command,
};

/// Authenticates RPC and HTTP clients. Holds the tokens, and the certificates of both listeners.
pub(in crate::agent) struct Authenticator {
    /// `None`: the listener does not use TLS.
    pub(in crate::agent) rpc_tls: Option<ServerTls>,
    pub(in crate::agent) http_tls: Option<ServerTls>,
    /// The token `rpc_auth`, which allows everything; empty if it is not set.
    full: Secret,
    file: Option<TokensFile>,
    /// Whether any listener verifies certificates of clients.
    certificates: bool,
    /// Incremented each time the tokens file is reloaded.
    changes: watch::Sender<u64>,
}

struct TokensFile {
    path: PathBuf,
    tokens: RwLock<Arc<Tokens>>,
    /// State of the file when it was last read, whether it was valid or not.
    mark: Mutex<Mark>,
}

/// What an authenticated client has proved, from which its rights follow.
#[derive(Clone, Debug)]
pub(in crate::agent) enum Holder {
    /// The token `rpc_auth`, or an empty one if the agent requires none.
    Full,
    /// A token of the file.
    Named(Arc<Entry>),
    /// A certificate with at least one name in the tokens file.
    Certified(Arc<Certified>),
}

/// The entries of a certificate; it has the capabilities of all of them.
#[derive(Debug)]
pub(in crate::agent) struct Certified {
    entries: Vec<Arc<Entry>>,
    /// Names of the entries, for the log.
    name: String,
    /// The names of the certificate that have these entries, for the log.
    certificate: String,
}

impl Holder {
    /// The name to log.
    pub(in crate::agent) fn name(&self) -> &str {
        match self {
            Self::Full => "rpc_auth",
            Self::Named(entry) => &entry.name,
            Self::Certified(certified) => &certified.name,
        }
    }

    /// The names of the certificate, if the client is authenticated by it.
    pub(in crate::agent) fn certificate(&self) -> Option<&str> {
        match self {
            Self::Full | Self::Named(_) => None,
            Self::Certified(certified) => Some(&certified.certificate),
        }
    }

    /// The name for messages, with its kind.
    pub(in crate::agent) fn title(&self) -> String {
        let kind = if self.certificate().is_some() { "certificate" } else { "token" };
        format!("{kind} '{}'", self.name())
    }

    /// Whether the client has a capability.
    pub(in crate::agent) fn allows(&self, capability: Capability) -> bool {
        match self {
            Self::Full => true,
            Self::Named(entry) => entry.allows.allow(capability),
            Self::Certified(certified) => {
                certified.entries.iter().any(|entry| entry.allows.allow(capability))
            }
        }
    }

    /// The entries of the tokens file that the rights depend on.
    fn entries(&self) -> &[Arc<Entry>] {
        match self {
            Self::Full => &[],
            Self::Named(entry) => std::slice::from_ref(entry),
            Self::Certified(certified) => &certified.entries,
        }
    }

    /// The capability that a command needs and the client does not have.
    pub(in crate::agent) fn lacks(&self, command: Command) -> Option<Capability> {
        Capability::of(command).filter(|needed| !self.allows(*needed))
    }
}

impl Authenticator {
    /// Reads the tokens file and the certificates, if there are any.
    ///
    /// # Errors
    /// See [`Tokens::read`] and [`ServerTls::open`].
    pub(in crate::agent) fn open(settings: &Settings) -> Result<Self, AgentError> {
        let full = settings.rpc_auth.clone();
        let listeners = [&settings.rpc_tls, &settings.http_tls];
        let certificates = listeners.iter().any(|files| files.client_ca.is_some());
        let file = match settings.rpc_tokens_file.clone() {
            None => None,
            Some(path) => {
                let mark = Mutex::new(Mark::of(std::slice::from_ref(&path)));
                let tokens = RwLock::new(Arc::new(Tokens::read(&path, &full, certificates)?));
                Some(TokensFile { path, tokens, mark })
            }
        };
        let rpc_tls = ServerTls::open(&settings.rpc_tls)?;
        let http_tls = ServerTls::open(&settings.http_tls)?;
        let changes = watch::Sender::default();
        Ok(Self { rpc_tls, http_tls, full, file, certificates, changes })
    }

    /// Whether clients must authenticate, by a token or a certificate with an entry.
    pub(in crate::agent) fn is_required(&self) -> bool {
        !self.full.is_empty() || self.file.is_some()
    }

    /// Whether there are files to check for changes.
    pub(in crate::agent) fn has_files(&self) -> bool {
        self.file.is_some() || self.rpc_tls.is_some() || self.http_tls.is_some()
    }

    /// Whether there is a tokens file, so that rights can be revoked.
    pub(in crate::agent) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Finds a token. If no token is configured, an empty one is accepted as `rpc_auth`, as in Go.
    pub(in crate::agent) fn authenticate(&self, shown: &[u8]) -> Option<Holder> {
        // In constant time, so that the duration does not reveal the length of a matching prefix.
        let is_full = shown.ct_eq(self.full.expose().as_bytes()).to_bool();
        if is_full && (!self.full.is_empty() || self.file.is_none()) {
            return Some(Holder::Full);
        }
        self.tokens()?.find(shown).map(Holder::Named)
    }

    /// Finds the entries of a certificate; `None` if none of its names is in the file.
    pub(in crate::agent) fn authenticate_certificate(&self, identity: &Identity) -> Option<Holder> {
        let entries = self.tokens()?.of_certificate(&identity.names);
        let joined = |text: fn(&Entry) -> &str, separator| {
            entries.iter().map(|entry| text(entry)).collect::<Vec<_>>().join(separator)
        };
        let name = joined(|entry| &entry.name, ",");
        let certificate = joined(Entry::certificate, " ");
        let certified = Certified { name, certificate, entries };
        (!certified.entries.is_empty()).then(|| Holder::Certified(Arc::new(certified)))
    }

    /// Resolves when an entry that the client's rights depend on was removed or changed.
    pub(in crate::agent) async fn revoked(&self, holder: watch::Receiver<Option<Holder>>) {
        let mut changes = self.changes.subscribe();
        loop {
            let is_kept = |entry: &Arc<Entry>| self.tokens().is_some_and(|all| all.has(entry));
            let is_revoked = match &*holder.borrow() {
                Some(holder) => !holder.entries().iter().all(is_kept),
                None => false,
            };
            if is_revoked {
                return;
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Reloads the files that have changed. An invalid file is logged once and its previous content
    /// remains in use. Blocks.
    pub(in crate::agent) fn reread_if_changed(&self) {
        for tls in [&self.rpc_tls, &self.http_tls].into_iter().flatten() {
            tls.reread_if_changed();
        }
        let Some(file) = &self.file else { return };
        if *file.mark() == Mark::of(std::slice::from_ref(&file.path)) {
            return;
        }
        let path = file.path.display();
        match self.reread_tokens() {
            Ok(()) => info!(target: "agent", "Reloaded the tokens from {path}"),
            Err(error) => {
                error!(target: "agent", "Failed to reload the tokens file: {error}");
            }
        }
    }

    /// Reloads all files. Returns the errors of invalid ones, whose previous content remains in
    /// use. Blocks.
    pub(in crate::agent) fn reread(&self) -> Vec<AgentError> {
        let tls = [&self.rpc_tls, &self.http_tls].into_iter().flatten().map(ServerTls::reread);
        std::iter::once(self.reread_tokens()).chain(tls).filter_map(Result::err).collect()
    }

    fn reread_tokens(&self) -> Result<(), AgentError> {
        let Some(file) = &self.file else { return Ok(()) };
        // Taken before reading, so that a change during the read causes another reload.
        *file.mark() = Mark::of(std::slice::from_ref(&file.path));
        let tokens = Arc::new(Tokens::read(&file.path, &self.full, self.certificates)?);
        *file.tokens.write().unwrap_or_else(PoisonError::into_inner) = tokens;
        self.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    fn tokens(&self) -> Option<Arc<Tokens>> {
        let file = self.file.as_ref()?;
        Some(Arc::clone(&file.tokens.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl TokensFile {
    fn mark(&self) -> std::sync::MutexGuard<'_, Mark> {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
