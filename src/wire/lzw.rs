//! LZW as Go's `compress/lzw` has it: least significant bit first, literals of 8 bits, GIF widths.
//!
//! Own code because the encoder of the `weezl` crate assigns and emits code 4095, which Go's
//! decoder calls invalid, and because tables that are stamped rather than cleared, and a decoder
//! that copies from its own output, need neither set-up nor allocation per packet.

use super::DecodeError;

/// Compresses; holds its match table from call to call.
pub(super) struct Encoder {
    /// Open hash of `stamp:32 | prefix:12 byte:8 | code:12`; entries of other stamps are empty.
    table: Box<[u64; TABLE_LEN]>,
    stamp: u32,
}

/// The state that ends with a clear code.
struct Codes {
    highest: u32,
    overflow: u32,
    width: u32,
}

struct BitWriter<'o> {
    out: &'o mut Vec<u8>,
    bits: u64,
    count: u32,
}

impl Encoder {
    pub(super) fn new() -> Self {
        Self { table: Box::new([0; TABLE_LEN]), stamp: 0 }
    }

    /// Appends `input` compressed; the same bytes as Go. Gives up, leaving `out` as it was, once
    /// it has grown by `budget`; says whether it succeeded.
    pub(super) fn encode(&mut self, input: &[u8], budget: usize, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        self.next_stamp();
        let mut codes = Codes::new();
        let mut writer = BitWriter { out, bits: 0, count: 0 };
        writer.put(CLEAR, codes.width);
        if let Some((&first, rest)) = input.split_first() {
            let mut prefix = u32::from(first);
            for &byte in rest {
                let key = prefix << 8 | u32::from(byte);
                let slot = match self.find(key) {
                    Ok(code) => {
                        prefix = code;
                        continue;
                    }
                    Err(slot) => slot,
                };
                writer.put(prefix, codes.width);
                prefix = u32::from(byte);
                if codes.next() {
                    let entry = u64::from(self.stamp) << 32 | u64::from(key << 12 | codes.highest);
                    if let Some(slot) = self.table.get_mut(slot) {
                        *slot = entry;
                    }
                } else {
                    writer.put(CLEAR, MAX_WIDTH);
                    codes = Codes::new();
                    self.next_stamp();
                    if writer.out.len() - start > budget {
                        writer.out.truncate(start);
                        return false;
                    }
                }
            }
            writer.put(prefix, codes.width);
            let width = codes.width;
            if !codes.next() {
                writer.put(CLEAR, width);
                codes = Codes::new();
            }
        }
        writer.put(END, codes.width);
        writer.finish();
        if out.len() - start > budget {
            out.truncate(start);
            return false;
        }
        true
    }

    /// The code of `key`, or the slot where it belongs. At most 3,838 of the slots are ever in
    /// use, so the walk ends.
    #[inline]
    fn find(&self, key: u32) -> Result<u32, usize> {
        let mut slot = (key.wrapping_mul(0x9e37_79b1) >> (32 - TABLE_BITS)) as usize;
        loop {
            let entry = self.table.get(slot & TABLE_MASK).copied().unwrap_or(0);
            if (entry >> 32) as u32 != self.stamp {
                return Err(slot & TABLE_MASK);
            }
            if (entry as u32) >> 12 == key {
                return Ok(entry as u32 & 0xfff);
            }
            slot += 1;
        }
    }

    fn next_stamp(&mut self) {
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            self.table.fill(0);
            self.stamp = 1;
        }
    }
}

impl Codes {
    fn new() -> Self {
        Self { highest: END, overflow: 1 << 9, width: 9 }
    }

    /// Counts one emitted code; false if the table is full and a clear code is due.
    /// Go: `compress/lzw/writer.go`, `incHi`.
    #[inline]
    fn next(&mut self) -> bool {
        self.highest += 1;
        if self.highest == self.overflow {
            self.width += 1;
            self.overflow <<= 1;
        }
        self.highest != LAST
    }
}

impl BitWriter<'_> {
    #[inline]
    fn put(&mut self, code: u32, width: u32) {
        self.bits |= u64::from(code) << self.count;
        self.count += width;
        if self.count >= 32 {
            self.out.extend_from_slice(&(self.bits as u32).to_le_bytes());
            self.bits >>= 32;
            self.count -= 32;
        }
    }

    fn finish(self) {
        let bytes = self.bits.to_le_bytes();
        let whole = self.count.div_ceil(8) as usize;
        self.out.extend_from_slice(bytes.get(..whole).unwrap_or_default());
    }
}

/// Decompresses; holds its string table from call to call.
pub(super) struct Decoder {
    /// Where in the output the string of each code stands. Only codes from 258 up to the highest
    /// assigned since the last clear code are meaningful.
    strings: Box<[Span; 4096]>,
}

#[derive(Clone, Copy, Default)]
struct Span {
    start: u32,
    len: u32,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self { strings: Box::new([Span::default(); 4096]) }
    }

    /// Replaces `out` by `input` decompressed; what follows the end code is ignored.
    ///
    /// # Errors
    /// An invalid code, no end code, or more than `limit` bytes (found before they are written).
    pub(super) fn decode(
        &mut self,
        input: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        out.clear();
        let too_large = DecodeError::DecompressedTooLarge { limit };
        let limit = limit.min(u32::MAX as usize);
        let mut bytes = input;
        let (mut bits, mut count) = (0u64, 0u32);
        let (mut highest, mut overflow, mut width) = (END, 1u32 << 9, 9u32);
        // The string that the last code stood for; it ends where `out` ends.
        let mut last: Option<Span> = None;
        loop {
            if count < width {
                if let Some((chunk, rest)) = bytes.split_first_chunk::<4>() {
                    bits |= u64::from(u32::from_le_bytes(*chunk)) << count;
                    count += 32;
                    bytes = rest;
                } else {
                    while count < width {
                        let (&byte, rest) = bytes.split_first().ok_or(DecodeError::LzwTruncated)?;
                        bits |= u64::from(byte) << count;
                        count += 8;
                        bytes = rest;
                    }
                }
            }
            let code = bits as u32 & ((1 << width) - 1);
            bits >>= width;
            count -= width;

            let start = out.len();
            match code {
                0..CLEAR => {
                    if start >= limit {
                        return Err(too_large);
                    }
                    out.push(code as u8);
                }
                CLEAR => {
                    (highest, overflow, width) = (END, 1 << 9, 9);
                    last = None;
                    continue;
                }
                END => return Ok(()),
                _ => {
                    // A code just about to be assigned: the last string and its first byte, which
                    // is the byte after it.
                    let span = match last {
                        Some(last) if code == highest => Span { len: last.len + 1, ..last },
                        _ if code < highest => self.span(code),
                        _ => return Err(DecodeError::LzwCode),
                    };
                    if span.len as usize > limit - start {
                        return Err(too_large);
                    }
                    append_span(out, span)?;
                }
            }
            let span = Span { start: start as u32, len: (out.len() - start) as u32 };
            if let Some(last) = last {
                // The last string is followed by the first byte of this one in `out`.
                if let Some(string) = self.strings.get_mut(highest as usize & 0xfff) {
                    *string = Span { len: last.len + 1, ..last };
                }
            }
            last = Some(span);
            highest += 1;
            if highest >= overflow {
                if width == MAX_WIDTH {
                    last = None;
                    highest -= 1;
                } else {
                    width += 1;
                    overflow = 1 << width;
                }
            }
        }
    }

    #[inline]
    fn span(&self, code: u32) -> Span {
        self.strings.get(code as usize & 0xfff).copied().unwrap_or_default()
    }
}

/// Appends a string that begins in `out` and may reach one byte beyond its end (that byte being
/// the string's own first).
#[inline]
fn append_span(out: &mut Vec<u8>, span: Span) -> Result<(), DecodeError> {
    let (start, len) = (span.start as usize, span.len as usize);
    let end = start + len;
    if end <= out.len() {
        out.extend_from_within(start..end);
        return Ok(());
    }
    let first = *out.get(start).ok_or(DecodeError::LzwCode)?;
    out.extend_from_within(start..);
    out.push(first);
    Ok(())
}

const CLEAR: u32 = 256;
const END: u32 = 257;
const MAX_WIDTH: u32 = 12;
/// Never assigned: Go's encoder clears its table instead.
const LAST: u32 = 4095;
const TABLE_BITS: u32 = 13;
const TABLE_LEN: usize = 1 << TABLE_BITS;
const TABLE_MASK: usize = TABLE_LEN - 1;
