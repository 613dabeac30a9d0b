//! The compress message: `{Algo, Buf}` around a whole message. Go: `util.go`, `compressPayload`.

use super::{Compress, DecodeError, lzw, message::kind};
use crate::msgpack::{Reader, Value, Writer};

/// Compression of outgoing messages. Every known algorithm is accepted on input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// No compression.
    #[default]
    None,
    /// LZW, which Go nodes use and understand.
    Lzw,
    /// LZ4: only for clusters whose nodes all have the feature; other nodes drop the messages.
    #[cfg(feature = "lz4")]
    Lz4,
}

/// `true` is LZW, `false` is none.
impl From<bool> for Compression {
    fn from(wanted: bool) -> Self {
        if wanted { Self::Lzw } else { Self::None }
    }
}

/// Encodes compress messages; reused for all packets.
pub(super) struct Compressor {
    with: Compression,
    /// Its tables of 48 KiB, once a message is compressed.
    lzw: Option<lzw::Encoder>,
    #[cfg(feature = "lz4")]
    lz4: Option<lz4_flex::block::CompressTable>,
    packed: Vec<u8>,
}

impl Compressor {
    pub(super) fn new(with: Compression) -> Self {
        Self {
            with,
            lzw: None,
            #[cfg(feature = "lz4")]
            lz4: None,
            packed: Vec::new(),
        }
    }

    /// Appends the compress message for `message` if it is strictly shorter; returns whether it
    /// did.
    pub(super) fn shorten(&mut self, message: &[u8], out: &mut Vec<u8>) -> bool {
        // The compressed data is framed by at least 12 bytes.
        let Some(budget) = message.len().checked_sub(FRAME_LEN_MIN + 1) else { return false };
        if !may_shrink(message) || !self.pack(message, budget) {
            return false;
        }
        let start = out.len();
        self.frame(out);
        if out.len() - start < message.len() {
            return true;
        }
        out.truncate(start);
        false
    }

    /// Appends the compress message for `message`, even if it is longer, unless compression is off;
    /// returns whether it did.
    pub(super) fn compress(&mut self, message: &[u8], out: &mut Vec<u8>) -> bool {
        let packed = self.pack(message, usize::MAX);
        if packed {
            self.frame(out);
        }
        packed
    }

    /// Compresses `message` into the internal buffer; returns whether it took at most `budget`
    /// bytes.
    fn pack(&mut self, message: &[u8], budget: usize) -> bool {
        self.packed.clear();
        match self.with {
            Compression::None => false,
            Compression::Lzw => {
                let lzw = self.lzw.get_or_insert_with(lzw::Encoder::new);
                lzw.encode(message, budget, &mut self.packed)
            }
            #[cfg(feature = "lz4")]
            Compression::Lz4 => self.pack_lz4(message) && self.packed.len() <= budget,
        }
    }

    #[cfg(feature = "lz4")]
    fn pack_lz4(&mut self, message: &[u8]) -> bool {
        use lz4_flex::block::{compress_into_with_table, get_maximum_output_size};
        let Ok(size) = u32::try_from(message.len()) else { return false };
        self.packed.extend_from_slice(&size.to_le_bytes());
        self.packed.resize(SIZE_LEN + get_maximum_output_size(message.len()), 0);
        let block = self.packed.get_mut(SIZE_LEN..).unwrap_or_default();
        let packed = compress_into_with_table(message, block, self.lz4.get_or_insert_default());
        self.packed.truncate(SIZE_LEN + packed.as_ref().map_or(0, |len| *len));
        packed.is_ok()
    }

    fn frame(&self, out: &mut Vec<u8>) {
        out.push(kind::COMPRESS);
        let algo = match self.with {
            Compression::None | Compression::Lzw => ALGO_LZW,
            #[cfg(feature = "lz4")]
            Compression::Lz4 => ALGO_LZ4,
        };
        Compress { algo, buf: self.packed.as_slice().into() }.encode(&mut Writer::new(out));
    }
}

/// Whether it is worth trying: bytes that are spread as evenly as chance has it, such as those of
/// a payload that is compressed or encrypted already, only grow.
pub(super) fn may_shrink(message: &[u8]) -> bool {
    let step = message.len() / PROBED;
    if step == 0 {
        return true;
    }
    let mut counts = [0_u8; 256];
    let mut pairs = 0;
    for byte in message.iter().step_by(step).take(PROBED) {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            pairs += u32::from(*count);
            *count += 1;
        }
    }
    pairs > PAIRS_BY_CHANCE
}

/// Decodes compress messages; reused for all packets.
pub(super) struct Decompressor {
    /// Its table of 32 KiB, once a message is decompressed.
    lzw: Option<lzw::Decoder>,
}

impl Decompressor {
    pub(super) fn new() -> Self {
        Self { lzw: None }
    }

    /// Replaces `out` by the content of the compress message with this body (after the type byte);
    /// `limit` maps the size of the compressed data to the largest size allowed for `out`.
    pub(super) fn decompress(
        &mut self,
        body: &[u8],
        limit: impl FnOnce(usize) -> usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let compress = Compress::decode(&mut Reader::new(body))?;
        let packed = compress.buf.as_slice();
        match compress.algo {
            ALGO_LZW => {
                let lzw = self.lzw.get_or_insert_with(lzw::Decoder::new);
                lzw.decode(packed, limit(packed.len()), out)
            }
            #[cfg(feature = "lz4")]
            ALGO_LZ4 => unpack_lz4(packed, limit(packed.len()), out),
            algo => Err(DecodeError::UnknownAlgorithm(algo)),
        }
    }
}

/// Decodes four bytes of size, little-endian, followed by an LZ4 block.
#[cfg(feature = "lz4")]
fn unpack_lz4(packed: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    out.clear();
    let broken = |_| DecodeError::Lz4Block;
    let (size, block) = lz4_flex::block::uncompressed_size(packed).map_err(broken)?;
    if size > limit {
        return Err(DecodeError::DecompressedTooLarge { limit });
    }
    // A byte of a block expands to at most 255 bytes: a larger claim is false and would cost
    // memory.
    if size > block.len().saturating_mul(LZ4_RATIO_MAX) {
        return Err(DecodeError::Lz4Block);
    }
    out.resize(size, 0);
    match lz4_flex::block::decompress_into(block, out) {
        Ok(len) if len == size => Ok(()),
        _ => {
            out.clear();
            Err(DecodeError::Lz4Block)
        }
    }
}

/// Length of the size that precedes an LZ4 block.
#[cfg(feature = "lz4")]
const SIZE_LEN: usize = 4;
#[cfg(feature = "lz4")]
const LZ4_RATIO_MAX: usize = 255;
/// Bytes that are looked at before a message is compressed; a shorter one is not probed.
const PROBED: usize = 128;
/// Pairs of equal bytes among these. Of random bytes there are 32 in the mean, and more than this
/// in one message of a million; of text there are 500.
const PAIRS_BY_CHANCE: u32 = 64;
const ALGO_LZW: u8 = 0;
/// Not a Go algorithm: far from the numbers that Go may assign in future.
#[cfg(feature = "lz4")]
const ALGO_LZ4: u8 = b'4';
/// Type byte, map header, both keys, algorithm and the shortest raw header.
const FRAME_LEN_MIN: usize = 13;
