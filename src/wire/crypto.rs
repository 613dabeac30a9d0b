//! AES-GCM as memberlist uses it: `version | nonce | ciphertext | tag`. Go: `security.go`.

use super::{
    CryptoError, Keyring,
    cipher::{Cipher, NONCE_LEN, TAG_LEN},
};

/// Padding of a plaintext before encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SealVersion {
    /// Version 0: PKCS#7 to 16 bytes; what memberlist protocol 1 sends.
    Padded,
    /// Version 1: no padding.
    Plain,
}

impl SealVersion {
    pub(super) fn of_protocol(protocol_version: u8) -> Self {
        if protocol_version == 1 { Self::Padded } else { Self::Plain }
    }

    /// Most bytes that encryption adds; the figure Go uses when it fills a packet.
    pub(super) const fn overhead(self) -> usize {
        match self {
            Self::Padded => VERSION_LEN + NONCE_LEN + BLOCK_LEN + TAG_LEN,
            Self::Plain => VERSION_LEN + NONCE_LEN + TAG_LEN,
        }
    }

    /// Length of the payload for a plaintext of `len` bytes.
    pub(super) const fn sealed_len(self, len: usize) -> usize {
        let padding = match self {
            Self::Padded => BLOCK_LEN - len % BLOCK_LEN,
            Self::Plain => 0,
        };
        VERSION_LEN + NONCE_LEN + len + padding + TAG_LEN
    }
}

/// Encrypts the end of a buffer: starts the payload, lets the caller append the plaintext after it,
/// then pads, encrypts and tags it.
pub(super) struct Sealer<'k> {
    cipher: &'k Cipher,
    version: SealVersion,
    nonce: [u8; NONCE_LEN],
    plaintext_start: usize,
}

impl<'k> Sealer<'k> {
    pub(super) fn begin(
        cipher: &'k Cipher,
        version: SealVersion,
        nonce: [u8; NONCE_LEN],
        out: &mut Vec<u8>,
    ) -> Self {
        out.push(match version {
            SealVersion::Padded => 0,
            SealVersion::Plain => 1,
        });
        out.extend_from_slice(&nonce);
        Self { cipher, version, nonce, plaintext_start: out.len() }
    }

    pub(super) fn finish(self, aad: &[u8], out: &mut Vec<u8>) {
        if self.version == SealVersion::Padded {
            let padding = BLOCK_LEN - (out.len() - self.plaintext_start) % BLOCK_LEN;
            out.resize(out.len() + padding, padding as u8);
        }
        let text = out.get_mut(self.plaintext_start..).unwrap_or_default();
        let tag = self.cipher.seal(&self.nonce, aad, text);
        out.extend_from_slice(&tag);
    }
}

/// Decrypts a payload in place with the first matching key and returns the range of the plaintext.
///
/// With a copy of the payload in `original` the fastest cipher is used, which may overwrite the
/// payload when its key does not match. Without one a failure leaves the payload unchanged, unless
/// a key matches and the padding is invalid.
pub(super) fn open(
    keyring: &Keyring,
    aad: &[u8],
    payload: &mut [u8],
    original: Option<&[u8]>,
) -> Result<std::ops::Range<usize>, CryptoError> {
    open_sealed(keyring, aad, payload, original).map(|(plaintext, _)| plaintext)
}

/// Like [`open`], and returns how the payload was encrypted.
pub(super) fn open_sealed(
    keyring: &Keyring,
    aad: &[u8],
    payload: &mut [u8],
    original: Option<&[u8]>,
) -> Result<(std::ops::Range<usize>, Sealed), CryptoError> {
    let len = payload.len();
    let (&number, _) = payload.split_first().ok_or(CryptoError::Empty)?;
    let version = match number {
        0 => SealVersion::Padded,
        1 => SealVersion::Plain,
        version => return Err(CryptoError::UnsupportedVersion(version)),
    };
    if len < version.overhead() {
        return Err(CryptoError::TooSmall(len));
    }
    let too_small = CryptoError::TooSmall(len);
    let (_, sealed) = payload.split_at_mut_checked(VERSION_LEN).ok_or(too_small)?;
    let (nonce, sealed) = sealed.split_first_chunk_mut::<NONCE_LEN>().ok_or(too_small)?;
    let (text, tag) = sealed.split_last_chunk_mut::<TAG_LEN>().ok_or(too_small)?;
    let original = original.and_then(|original| {
        original.get(VERSION_LEN + NONCE_LEN..)?.split_last_chunk::<TAG_LEN>()
    });
    let key = match original {
        None => keyring.ciphers().position(|cipher| cipher.open(nonce, aad, text, tag)),
        Some((original, _)) => keyring.ciphers().position(|cipher| {
            let fits = cipher.open_or_overwrite(nonce, aad, text, tag);
            if !fits && Cipher::OVERWRITES {
                text.copy_from_slice(original);
            }
            fits
        }),
    };
    let key = key.ok_or(CryptoError::NoKeyFits)?;
    let padding = match (version, text.last()) {
        (SealVersion::Plain, _) => 0,
        (SealVersion::Padded, Some(&padding @ 1..)) => usize::from(padding),
        (SealVersion::Padded, _) => return Err(CryptoError::Padding),
    };
    let plain = text.len().checked_sub(padding).ok_or(CryptoError::Padding)?;
    let start = VERSION_LEN + NONCE_LEN;
    Ok((start..start + plain, Sealed { version: number, key }))
}

/// How a payload was encrypted.
#[cfg_attr(not(feature = "agent"), allow(dead_code))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// Encryption version: 0 is padded, 1 is not.
    pub(crate) version: u8,
    /// Index of the key in the ring.
    pub(crate) key: usize,
}

/// Identifies an encrypted packet: different for any two packets encrypted with a key, equal for a
/// copy of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Seal {
    pub(crate) nonce: [u8; NONCE_LEN],
    pub(crate) tag: [u8; TAG_LEN],
}

/// The seal of a payload, whether or not it can be decrypted.
pub(super) fn seal_of(payload: &[u8]) -> Option<Seal> {
    let (_, sealed) = payload.split_at_checked(VERSION_LEN)?;
    let (nonce, sealed) = sealed.split_first_chunk()?;
    let (_, tag) = sealed.split_last_chunk()?;
    Some(Seal { nonce: *nonce, tag: *tag })
}

const VERSION_LEN: usize = 1;
const BLOCK_LEN: usize = 16;
