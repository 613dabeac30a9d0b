//! Key management for the whole cluster: operations that either succeed on all nodes or fail.

use super::{Error, Serf, command::Command};
use crate::serf::{KeyOp, KeyResponse};

/// Changes the keys of the whole cluster. Created by [`Serf::key_manager`]; cheap to clone.
///
/// An operation asks all nodes and waits until all have answered, or until the default timeout of a
/// query. Operations of one node run one after the other and may be repeated: installing a known
/// key or removing an unknown one succeeds. Keys are base64 of 16, 24 or 32 bytes, as printed by
/// `serf keygen`. Go: `serf/keymanager.go`.
#[derive(Clone, Debug)]
pub struct KeyManager {
    serf: Serf,
    relay_factor: u8,
}

impl Serf {
    /// A manager for key operations; like this handle, it keeps the node running. Go:
    /// `serf/serf.go:KeyManager`.
    #[doc(alias = "KeyManager")]
    pub fn key_manager(&self) -> KeyManager {
        KeyManager { serf: self.clone(), relay_factor: 0 }
    }
}

impl KeyManager {
    /// Sets how many other nodes relay each answer in addition.
    #[doc(alias = "KeyRequestOptions")]
    #[must_use]
    pub fn relay_factor(mut self, relays: u8) -> Self {
        self.relay_factor = relays;
        self
    }

    /// Adds a key to the ring of every node. It can decrypt from then on; the primary key encrypts.
    ///
    /// # Errors
    /// [`Error::Keys`]: some nodes refused or did not answer; [`Error::InvalidKey`];
    /// [`Error::Shutdown`].
    #[doc(alias = "InstallKey")]
    pub async fn install(&self, key: &str) -> Result<KeyResponse, Error> {
        self.run(KeyOp::Install(key.to_owned())).await
    }

    /// Makes a key the primary of every node: it encrypts from then on.
    ///
    /// # Errors
    /// As [`KeyManager::install`]; nodes that lack the key refuse.
    #[doc(alias = "UseKey")]
    pub async fn use_key(&self, key: &str) -> Result<KeyResponse, Error> {
        self.run(KeyOp::Use(key.to_owned())).await
    }

    /// Removes a key from the ring of every node.
    ///
    /// # Errors
    /// As [`KeyManager::install`]; nodes whose primary is this key refuse.
    #[doc(alias = "RemoveKey")]
    pub async fn remove(&self, key: &str) -> Result<KeyResponse, Error> {
        self.run(KeyOp::Remove(key.to_owned())).await
    }

    /// Returns how many nodes have each key, and how many encrypt with it.
    ///
    /// # Errors
    /// As [`KeyManager::install`].
    #[doc(alias = "ListKeys")]
    pub async fn list(&self) -> Result<KeyResponse, Error> {
        self.run(KeyOp::List).await
    }

    /// Replaces all keys of the cluster by `new`: installs it, makes it the primary, and removes
    /// the other keys. Each step starts only after every node has performed the previous one. May
    /// be repeated after a failure; until it succeeds the old keys can still decrypt. Returns the
    /// final keys.
    ///
    /// # Errors
    /// As [`KeyManager::install`], for the first step that failed.
    pub async fn rotate(&self, new: &str) -> Result<KeyResponse, Error> {
        self.install(new).await?;
        self.use_key(new).await?;
        let listed = self.list().await?;
        // Go counts an empty key for nodes that reported none.
        for old in listed.keys.keys().filter(|key| *key != new && !key.is_empty()) {
            self.remove(old).await?;
        }
        self.list().await
    }

    /// Runs one operation on all nodes.
    ///
    /// # Errors
    /// As [`KeyManager::install`].
    pub async fn run(&self, op: KeyOp) -> Result<KeyResponse, Error> {
        let relay_factor = self.relay_factor;
        self.serf.command(|reply| Command::Keys { op, relay_factor, reply }).await?
    }
}
