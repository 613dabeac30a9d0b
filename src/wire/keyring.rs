//! The ordered list of gossip keys.

/// Keys of 16, 24 or 32 bytes; the first is the primary. Go: `keyring.go`.
#[derive(Clone, Default)]
pub struct Keyring {
    keys: Vec<Vec<u8>>,
}

/// Why a keyring operation was refused; the texts are Go's (operators see them).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// A key of another length.
    #[error("key size must be 16, 24 or 32 bytes")]
    KeySize,
    /// `use_key` of an unknown key.
    #[error("requested key is not in the keyring")]
    NotInKeyring,
    /// `remove_key` of the primary.
    #[error("removing the primary key is not allowed")]
    RemovingPrimary,
    /// Keys without a primary.
    #[error("empty primary key not allowed")]
    EmptyPrimary,
}

impl Keyring {
    /// A ring of `primary` and then `keys`, without duplicates. Both empty: an empty ring.
    ///
    /// # Errors
    /// A key of a wrong size, or keys without a primary.
    pub fn build(keys: &[Vec<u8>], primary: &[u8]) -> Result<Self, KeyringError> {
        let _ = (keys, primary);
        todo!()
    }
    /// Appends a key; a known one is a no-op, the first becomes primary.
    ///
    /// # Errors
    /// [`KeyringError::KeySize`].
    pub fn add_key(&mut self, key: &[u8]) -> Result<(), KeyringError> {
        let _ = key;
        todo!()
    }
    /// Makes an installed key the primary.
    ///
    /// # Errors
    /// [`KeyringError::NotInKeyring`].
    pub fn use_key(&mut self, key: &[u8]) -> Result<(), KeyringError> {
        let _ = key;
        todo!()
    }
    /// Removes a key; an unknown one is a no-op.
    ///
    /// # Errors
    /// [`KeyringError::RemovingPrimary`].
    pub fn remove_key(&mut self, key: &[u8]) -> Result<(), KeyringError> {
        let _ = key;
        todo!()
    }
    /// All keys, primary first.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(Vec::as_slice)
    }
    /// The key that seals.
    pub fn primary(&self) -> Option<&[u8]> {
        self.keys.first().map(Vec::as_slice)
    }
    /// Whether encryption is off.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}
