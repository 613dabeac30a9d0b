//! The compress message: `{Algo, Buf}` around a whole message. Go: `util.go`, `compressPayload`.

use super::{Compress, DecodeError, lzw, message::kind};
use crate::msgpack::{Reader, Value, Writer};

/// Makes compress messages; reused from packet to packet.
pub(super) struct Compressor {
    lzw: lzw::Encoder,
    packed: Vec<u8>,
}

impl Compressor {
    pub(super) fn new() -> Self {
        Self { lzw: lzw::Encoder::new(), packed: Vec::new() }
    }

    /// Appends the compress message for `message` if it is strictly shorter; says whether it was.
    pub(super) fn shorten(&mut self, message: &[u8], out: &mut Vec<u8>) -> bool {
        // A frame of at least 12 bytes goes around the packed ones.
        let Some(budget) = message.len().checked_sub(FRAME_LEN_MIN + 1) else { return false };
        self.packed.clear();
        if !self.lzw.encode(message, budget, &mut self.packed) {
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

    /// Appends the compress message for `message`, even if it is longer.
    pub(super) fn compress(&mut self, message: &[u8], out: &mut Vec<u8>) {
        self.packed.clear();
        self.lzw.encode(message, usize::MAX, &mut self.packed);
        self.frame(out);
    }

    fn frame(&self, out: &mut Vec<u8>) {
        out.push(kind::COMPRESS);
        let body = Compress { algo: ALGO_LZW, buf: self.packed.as_slice().into() };
        body.encode(&mut Writer::new(out));
    }
}

/// Opens compress messages; reused from packet to packet.
pub(super) struct Decompressor {
    lzw: lzw::Decoder,
}

impl Decompressor {
    pub(super) fn new() -> Self {
        Self { lzw: lzw::Decoder::new() }
    }

    /// Replaces `out` by what the compress message with this body (after the type byte) holds;
    /// `limit` is the most it may hold, given the size of the packed data.
    pub(super) fn decompress(
        &mut self,
        body: &[u8],
        limit: impl FnOnce(usize) -> usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let compress = Compress::decode(&mut Reader::new(body))?;
        if compress.algo != ALGO_LZW {
            return Err(DecodeError::UnknownAlgorithm(compress.algo));
        }
        let packed = compress.buf.as_slice();
        self.lzw.decode(packed, limit(packed.len()), out)
    }
}

const ALGO_LZW: u8 = 0;
/// Type byte, map header, both keys, algorithm and the shortest raw header.
const FRAME_LEN_MIN: usize = 13;
