//! AES-GCM with one key: with the crate aes-gcm and, with the feature `ring`, ring.
//!
//! ring has its own assembly, does not support 192-bit keys, does not wipe its key schedule, and
//! overwrites a text whose tag is wrong.

use std::sync::atomic::{AtomicU64, Ordering};

use aes_gcm::{
    Aes128Gcm, Aes256Gcm, AesGcm, KeyInit,
    aead::{AeadInOut, inout::InOutBuf},
    aes::{Aes192, cipher::consts::U12},
};

/// One key and its expanded schedules.
pub(super) struct Cipher {
    portable: Portable,
    #[cfg(feature = "ring")]
    ring: Option<ring::aead::LessSafeKey>,
    /// Number of texts encrypted, by all tasks that share the key.
    sealed: AtomicU64,
}

impl Cipher {
    /// Whether [`Cipher::open_or_overwrite`] may overwrite a text that its key does not decrypt.
    pub(super) const OVERWRITES: bool = cfg!(feature = "ring");

    /// Creates the cipher for a key of 16, 24 or 32 bytes; `None` for other lengths.
    pub(super) fn build(key: &[u8]) -> Option<Self> {
        Some(Self {
            portable: Portable::build(key)?,
            #[cfg(feature = "ring")]
            ring: by_ring::build(key),
            sealed: AtomicU64::new(0),
        })
    }

    /// Encrypts in place and returns the tag.
    pub(super) fn seal(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
    ) -> [u8; TAG_LEN] {
        self.sealed.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "ring")]
        if let Some(key) = &self.ring {
            return by_ring::seal(key, nonce, aad, text);
        }
        self.portable.seal(nonce, aad, text)
    }

    /// Number of texts encrypted.
    pub(super) fn sealed(&self) -> u64 {
        self.sealed.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(super) fn set_sealed(&self, count: u64) {
        self.sealed.store(count, Ordering::Relaxed);
    }

    /// Decrypts in place; on failure `text` is unchanged.
    pub(super) fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> bool {
        self.portable.open(nonce, aad, text, tag)
    }

    /// Decrypts in place with the fastest backend; on failure the content of `text` is unspecified.
    pub(super) fn open_or_overwrite(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> bool {
        #[cfg(feature = "ring")]
        if let Some(key) = &self.ring {
            return by_ring::open(key, nonce, aad, text, tag);
        }
        self.portable.open(nonce, aad, text, tag)
    }
}

enum Portable {
    Aes128(Aes128Gcm),
    Aes192(AesGcm<Aes192, U12>),
    Aes256(Aes256Gcm),
}

/// Sealing and opening are functions of their own, whatever calls them: were they inlined, the size
/// of the caller would decide whether the compiler also inlines the rounds of AES and GHASH.
impl Portable {
    fn build(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Aes128Gcm::new_from_slice(key).ok().map(Self::Aes128),
            24 => AesGcm::new_from_slice(key).ok().map(Self::Aes192),
            32 => Aes256Gcm::new_from_slice(key).ok().map(Self::Aes256),
            _ => None,
        }
    }

    #[inline(never)]
    fn seal(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
        let (nonce, text) = (nonce.into(), InOutBuf::from(text));
        let tag = match self {
            Self::Aes128(cipher) => cipher.encrypt_inout_detached(nonce, aad, text),
            Self::Aes192(cipher) => cipher.encrypt_inout_detached(nonce, aad, text),
            Self::Aes256(cipher) => cipher.encrypt_inout_detached(nonce, aad, text),
        };
        // Encryption fails only above 64 GiB of plaintext, which no buffer here can hold.
        debug_assert!(tag.is_ok(), "plaintext is within AES-GCM's limit");
        tag.map(Into::into).unwrap_or_default()
    }

    #[inline(never)]
    fn open(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> bool {
        let (nonce, text, tag) = (nonce.into(), InOutBuf::from(text), tag.into());
        match self {
            Self::Aes128(cipher) => cipher.decrypt_inout_detached(nonce, aad, text, tag),
            Self::Aes192(cipher) => cipher.decrypt_inout_detached(nonce, aad, text, tag),
            Self::Aes256(cipher) => cipher.decrypt_inout_detached(nonce, aad, text, tag),
        }
        .is_ok()
    }
}

#[cfg(feature = "ring")]
mod by_ring {
    use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

    use super::{NONCE_LEN, TAG_LEN};

    pub(super) fn build(key: &[u8]) -> Option<LessSafeKey> {
        let algorithm = match key.len() {
            16 => &AES_128_GCM,
            32 => &AES_256_GCM,
            _ => return None,
        };
        UnboundKey::new(algorithm, key).ok().map(LessSafeKey::new)
    }

    pub(super) fn seal(
        key: &LessSafeKey,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
    ) -> [u8; TAG_LEN] {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), text);
        // Encryption fails only above 64 GiB of plaintext, which no buffer here can hold.
        debug_assert!(tag.is_ok(), "plaintext is within AES-GCM's limit");
        tag.ok().and_then(|tag| tag.as_ref().try_into().ok()).unwrap_or_default()
    }

    pub(super) fn open(
        key: &LessSafeKey,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> bool {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        key.open_in_place_separate_tag(nonce, Aad::from(aad), (*tag).into(), text, 0..).is_ok()
    }
}

pub(super) const NONCE_LEN: usize = 12;
pub(super) const TAG_LEN: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// With the feature `ring` this compares ring with aes-gcm; without it, both roles are
        /// aes-gcm.
        #[test]
        fn both_backends_seal_and_open_the_same(
            key in prop::sample::select(vec![16usize, 24, 32])
                .prop_flat_map(|len| prop::collection::vec(any::<u8>(), len)),
            nonce in any::<[u8; NONCE_LEN]>(),
            aad in prop::collection::vec(any::<u8>(), 0..64),
            text in prop::collection::vec(any::<u8>(), 0..2_000),
            flipped in any::<prop::sample::Index>(),
        ) {
            let cipher = Cipher::build(&key).unwrap();
            let (mut fast, mut portable) = (text.clone(), text.clone());
            let tag = cipher.seal(&nonce, &aad, &mut fast);
            prop_assert_eq!(tag, cipher.portable.seal(&nonce, &aad, &mut portable));
            prop_assert_eq!(&fast, &portable);
            prop_assert!(cipher.open_or_overwrite(&nonce, &aad, &mut fast, &tag));
            prop_assert_eq!(&fast, &text);
            let mut bad = tag;
            bad[flipped.index(TAG_LEN)] ^= 1;
            prop_assert!(!cipher.open_or_overwrite(&nonce, &aad, &mut portable.clone(), &bad));
            let sealed = portable.clone();
            prop_assert!(!cipher.open(&nonce, &aad, &mut portable, &bad));
            prop_assert_eq!(&portable, &sealed, "a failure leaves the text as it was");
            prop_assert!(cipher.open(&nonce, &aad, &mut portable, &tag));
            prop_assert_eq!(portable, text);
        }
    }
}
