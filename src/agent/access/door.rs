//! Which tokens are admitted, while their file changes.

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

/// The tokens of RPC and HTTP clients, and the certificates of both listeners.
pub(in crate::agent) struct Door {
    /// `None`: in clear.
    pub(in crate::agent) rpc_tls: Option<ServerTls>,
    pub(in crate::agent) http_tls: Option<ServerTls>,
    /// Allows everything; empty: there is none.
    full: Secret,
    file: Option<TokensFile>,
    /// Whether any listener verifies certificates of clients.
    certificates: bool,
    /// Counts what was read of the file.
    changes: watch::Sender<u64>,
}

struct TokensFile {
    path: PathBuf,
    tokens: RwLock<Arc<Tokens>>,
    /// The file as it was read, or found broken.
    mark: Mutex<Mark>,
}

/// On what the rights of a client rest.
#[derive(Clone, Debug)]
pub(in crate::agent) enum Holder {
    /// The token of the configuration.
    Full,
    /// A token of the file.
    Named(Arc<Entry>),
    /// The names in its certificate that have entries in the file.
    Certified(Arc<Certified>),
}

/// What the names of a certificate allow together.
#[derive(Debug)]
pub(in crate::agent) struct Certified {
    entries: Vec<Arc<Entry>>,
    /// Names of the entries.
    name: String,
    /// Those names of the certificate.
    certificate: String,
}

impl Holder {
    /// Its name in the log.
    pub(in crate::agent) fn name(&self) -> &str {
        match self {
            Self::Full => "rpc_auth",
            Self::Named(entry) => &entry.name,
            Self::Certified(certified) => &certified.name,
        }
    }

    /// The names of a certificate, if its rights rest on them.
    pub(in crate::agent) fn certificate(&self) -> Option<&str> {
        match self {
            Self::Full | Self::Named(_) => None,
            Self::Certified(certified) => Some(&certified.certificate),
        }
    }

    /// The name in words.
    pub(in crate::agent) fn title(&self) -> String {
        let kind = if self.certificate().is_some() { "certificate" } else { "token" };
        format!("{kind} '{}'", self.name())
    }

    /// Whether it allows something.
    pub(in crate::agent) fn allows(&self, capability: Capability) -> bool {
        match self {
            Self::Full => true,
            Self::Named(entry) => entry.allows.allow(capability),
            Self::Certified(certified) => {
                certified.entries.iter().any(|entry| entry.allows.allow(capability))
            }
        }
    }

    /// The entries of the file on which it rests.
    fn entries(&self) -> &[Arc<Entry>] {
        match self {
            Self::Full => &[],
            Self::Named(entry) => std::slice::from_ref(entry),
            Self::Certified(certified) => &certified.entries,
        }
    }

    /// What it lacks for a command.
    pub(in crate::agent) fn lacks(&self, command: Command) -> Option<Capability> {
        Capability::of(command).filter(|needed| !self.allows(*needed))
    }
}

impl Door {
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

    /// Whether clients have to show a token, or a certificate of the file.
    pub(in crate::agent) fn is_guarded(&self) -> bool {
        !self.full.is_empty() || self.file.is_some()
    }

    /// Whether there are files that may change.
    pub(in crate::agent) fn has_files(&self) -> bool {
        self.file.is_some() || self.rpc_tls.is_some() || self.http_tls.is_some()
    }

    /// Whether tokens can be taken back.
    pub(in crate::agent) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Whose token this is. Without any token, an empty one is that of the configuration, as in Go.
    pub(in crate::agent) fn admit(&self, shown: &[u8]) -> Option<Holder> {
        // Compared in constant time: the time does not reveal where the two differ.
        let is_full = shown.ct_eq(self.full.expose().as_bytes()).to_bool();
        if is_full && (!self.full.is_empty() || self.file.is_none()) {
            return Some(Holder::Full);
        }
        self.tokens()?.find(shown).map(Holder::Named)
    }

    /// What a certificate allows; `None`: none of its names is in the file.
    pub(in crate::agent) fn admit_certificate(&self, identity: &Identity) -> Option<Holder> {
        let entries = self.tokens()?.of_certificate(&identity.names);
        let joined = |text: fn(&Entry) -> &str, separator| {
            entries.iter().map(|entry| text(entry)).collect::<Vec<_>>().join(separator)
        };
        let name = joined(|entry| &entry.name, ",");
        let certificate = joined(Entry::certificate, " ");
        let certified = Certified { name, certificate, entries };
        (!certified.entries.is_empty()).then(|| Holder::Certified(Arc::new(certified)))
    }

    /// Resolves when an entry on which a client rests is taken back or allows something else.
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

    /// Reads files that have changed since they were read. A broken one changes nothing, and is
    /// reported once. Blocks.
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
            Ok(()) => info!(target: "agent", "Tokens were read again from {path}"),
            Err(error) => {
                error!(target: "agent", "The tokens stay as they were: {error}");
            }
        }
    }

    /// Reads all files; what is broken changes nothing, and is returned. Blocks.
    pub(in crate::agent) fn reread(&self) -> Vec<AgentError> {
        let tls = [&self.rpc_tls, &self.http_tls].into_iter().flatten().map(ServerTls::reread);
        std::iter::once(self.reread_tokens()).chain(tls).filter_map(Result::err).collect()
    }

    fn reread_tokens(&self) -> Result<(), AgentError> {
        let Some(file) = &self.file else { return Ok(()) };
        // Before it is read: what changes meanwhile is read again.
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
