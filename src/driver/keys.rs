//! Keys of the whole cluster, as operations that succeed or fail.

use super::{Error, KeyFailure, Serf, command::Operation};
use crate::serf::{Completion, KeyOp, KeyResponse};

/// Changes the keys of the whole cluster. Made by [`Serf::key_manager`]; cheap to clone.
///
/// An operation asks all nodes and waits until all have answered, or for the default time of a
/// query. Operations of one node run one after the other and may be repeated: a known key is
/// installed, an unknown one removed without complaint. Keys are base64 of 16, 24 or 32 bytes, as
/// `serf keygen` makes them. Go: `serf/keymanager.go`.
#[derive(Clone, Debug)]
pub struct KeyManager {
    serf: Serf,
    relay_factor: u8,
}

impl Serf {
    /// For key operations; a handle like this one, which keeps the node running.
    /// Go: `serf/serf.go:KeyManager`.
    #[doc(alias = "KeyManager")]
    pub fn key_manager(&self) -> KeyManager {
        KeyManager { serf: self.clone(), relay_factor: 0 }
    }
}

impl KeyManager {
    /// Sends each answer a second time, through this many other nodes.
    #[must_use]
    pub fn relay_factor(mut self, relays: u8) -> Self {
        self.relay_factor = relays;
        self
    }

    /// Adds a key to the ring of every node. It opens from then on; the primary key seals.
    ///
    /// # Errors
    /// [`Error::Keys`]: some nodes refused or did not answer; [`Error::InvalidKey`];
    /// [`Error::Shutdown`].
    #[doc(alias = "InstallKey")]
    pub async fn install(&self, key: &str) -> Result<KeyResponse, Error> {
        self.run(KeyOp::Install(key.to_owned())).await
    }

    /// Makes a key the primary of every node: it seals from then on.
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
    /// As [`KeyManager::install`]; nodes that seal with it refuse.
    #[doc(alias = "RemoveKey")]
    pub async fn remove(&self, key: &str) -> Result<KeyResponse, Error> {
        self.run(KeyOp::Remove(key.to_owned())).await
    }

    /// How many nodes have which keys, and seal with which.
    ///
    /// # Errors
    /// As [`KeyManager::install`].
    #[doc(alias = "ListKeys")]
    pub async fn list(&self) -> Result<KeyResponse, Error> {
        self.run(KeyOp::List).await
    }

    /// Replaces all keys of the cluster by `new`: installs it, makes it the primary, and removes
    /// the others, each only after every node has done the step before. May be repeated after a
    /// failure; until it succeeds the old keys still open. Gives the keys as they are then.
    ///
    /// # Errors
    /// As [`KeyManager::install`], of the first step that failed.
    pub async fn rotate(&self, new: &str) -> Result<KeyResponse, Error> {
        self.install(new).await?;
        self.use_key(new).await?;
        let listed = self.list().await?;
        // Go counts the empty key of nodes that said none.
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
        match self.serf.operation(Operation::Keys { op, relay_factor }).await? {
            Completion::Keys { response, error: None } => Ok(response),
            Completion::Keys { response, error: Some(summary) } => {
                Err(Error::Keys(Box::new(KeyFailure { response, summary })))
            }
            Completion::Done | Completion::Joined { .. } => Ok(KeyResponse::default()),
        }
    }
}
