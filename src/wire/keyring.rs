//! The ordered list of gossip keys.

use std::{fmt, sync::Arc};

use zeroize::Zeroizing;

use super::{cipher::Cipher, limits::KEYRING_KEYS_MAX};
use crate::base::error_texts;

/// Keys of 16, 24 or 32 bytes; the first is the primary. Go: `keyring.go`.
///
/// Shares the key schedules, so that a clone costs a few reference counts.
#[derive(Clone, Default)]
pub struct Keyring {
    keys: Vec<Arc<Key>>,
}

struct Key {
    bytes: Zeroizing<Vec<u8>>,
    cipher: Cipher,
}

/// Why a keyring operation was refused; the texts are Go's (operators see them).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyringError {
    /// The key has an invalid length.
    KeySize,
    /// `use_key` of a key that is not in the ring.
    NotInKeyring,
    /// `remove_key` of the primary key.
    RemovingPrimary,
    /// Keys without a primary key.
    EmptyPrimary,
    /// The ring already holds the maximum number of keys.
    Full,
}

error_texts! {
    KeyringError {
        Self::KeySize => "key size must be 16, 24 or 32 bytes";
        Self::NotInKeyring => "requested key is not in the keyring";
        Self::RemovingPrimary => "removing the primary key is not allowed";
        Self::EmptyPrimary => "empty primary key not allowed";
        Self::Full => "keyring is full: it holds at most {KEYRING_KEYS_MAX} keys";
    }
}

impl std::error::Error for KeyringError {}

impl Keyring {
    /// Creates a ring of `primary`, then `keys`, without duplicates. If both are empty, the ring is
    /// empty.
    ///
    /// # Errors
    /// A key of a wrong size, too many keys, or keys without a primary.
    pub fn build(keys: &[Vec<u8>], primary: &[u8]) -> Result<Self, KeyringError> {
        let mut ring = Self::default();
        if keys.is_empty() && primary.is_empty() {
            return Ok(ring);
        }
        if primary.is_empty() {
            return Err(KeyringError::EmptyPrimary);
        }
        ring.add_key(primary)?;
        for key in keys {
            ring.add_key(key)?;
        }
        Ok(ring)
    }

    /// Appends a key; a known key is a no-op, the first key becomes the primary.
    ///
    /// # Errors
    /// [`KeyringError::KeySize`], [`KeyringError::Full`].
    pub fn add_key(&mut self, key: &[u8]) -> Result<(), KeyringError> {
        let cipher = Cipher::build(key).ok_or(KeyringError::KeySize)?;
        if self.find(key).is_none() {
            if self.keys.len() >= KEYRING_KEYS_MAX {
                return Err(KeyringError::Full);
            }
            self.keys.push(Arc::new(Key { bytes: key.to_vec().into(), cipher }));
        }
        Ok(())
    }

    /// Makes an installed key the primary; the order of the other keys is preserved.
    ///
    /// # Errors
    /// [`KeyringError::NotInKeyring`].
    pub fn use_key(&mut self, key: &[u8]) -> Result<(), KeyringError> {
        let at = self.find(key).ok_or(KeyringError::NotInKeyring)?;
        let key = self.keys.remove(at);
        self.keys.insert(0, key);
        Ok(())
    }

    /// Removes a key; an unknown one is a no-op.
    ///
    /// # Errors
    /// [`KeyringError::RemovingPrimary`].
    pub fn remove_key(&mut self, key: &[u8]) -> Result<(), KeyringError> {
        match self.find(key) {
            Some(0) => Err(KeyringError::RemovingPrimary),
            Some(at) => {
                self.keys.remove(at);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// All keys, primary first.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(|key| key.bytes.as_slice())
    }

    /// The key that encrypts.
    #[cfg(test)]
    pub(crate) fn primary(&self) -> Option<&[u8]> {
        self.keys().next()
    }

    /// Packets and streams that the primary key has encrypted in this process.
    pub(crate) fn messages(&self) -> u64 {
        self.ciphers().next().map_or(0, Cipher::sealed)
    }

    /// Whether encryption is off.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The ciphers of all keys, primary first.
    pub(super) fn ciphers(&self) -> impl Iterator<Item = &Cipher> {
        self.keys.iter().map(|key| &key.cipher)
    }

    /// Sets the number of messages encrypted by the primary key; for tests.
    #[cfg(test)]
    pub(crate) fn set_messages(&self, count: u64) {
        self.ciphers().next().unwrap().set_sealed(count);
    }

    fn find(&self, key: &[u8]) -> Option<usize> {
        self.keys().position(|known| known == key)
    }
}

/// Shows the number of keys and never a key.
impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("len", &self.keys.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_ring_takes_no_further_key() {
        let keys: Vec<_> = (0..KEYRING_KEYS_MAX as u8).map(|n| vec![n; 16]).collect();
        let mut ring = Keyring::build(&keys, &keys[0]).unwrap();
        let error = ring.add_key(&[200; 16]).unwrap_err();
        assert_eq!(error.to_string(), "keyring is full: it holds at most 64 keys");
        assert_eq!(ring.add_key(&keys[3]), Ok(()), "a known key is none more");
        ring.remove_key(&keys[1]).unwrap();
        assert_eq!(ring.add_key(&[200; 16]), Ok(()));
        let many: Vec<_> = (0..=KEYRING_KEYS_MAX as u8).map(|n| vec![n; 32]).collect();
        assert_eq!(Keyring::build(&many, &many[0]).unwrap_err(), KeyringError::Full);
    }
}
