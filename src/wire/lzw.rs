//! LZW as Go's `compress/lzw` has it: least significant bit first, literals of 8 bits, GIF widths.
//!
//! Own code for speed: neither set-up nor allocation per packet, an output limit that is checked
//! before the output grows, and the very bytes that Go would send, which tests can compare.

use super::DecodeError;

/// Compresses; holds its match table from call to call.
pub(super) struct Encoder {
    /// Open hash of `prefix:12 byte:8 | code:12`; zero is empty. Small enough for a CPU's first
    /// cache, as each byte of input waits for one look.
    table: Box<[u32; TABLE_LEN]>,
    /// Slots in use are `1 << bits`: a short input needs few, and they must be cleared.
    bits: u32,
    /// Of long inputs the first string that goes on from each code, `1:1 byte:8 | code:12`; zero
    /// is none. Most strings go on in one way or end: neither needs the hash.
    firsts: Box<[u32; 4096]>,
}

/// The state that ends with a clear code.
struct Codes {
    highest: u32,
    overflow: u32,
    width: u32,
}

/// Collects codes. `LONG` writes ahead of what is whole, which costs room but no branch.
struct BitWriter<'o, const LONG: bool> {
    out: &'o mut Vec<u8>,
    len: usize,
    bits: u64,
    count: u32,
}

impl Encoder {
    pub(super) fn new() -> Self {
        let (table, firsts) = (Box::new([0; TABLE_LEN]), Box::new([0; 4096]));
        Self { table, bits: TABLE_BITS, firsts }
    }

    /// Appends `input` compressed; the same bytes as Go. Gives up, leaving `out` as it was, once
    /// it has grown by `budget`; says whether it succeeded.
    pub(super) fn encode(&mut self, input: &[u8], budget: usize, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let fits = match input.len() < LONG_BYTES_MIN {
            true => self.encode_as::<false>(input, budget, out),
            false => self.encode_as::<true>(input, budget, out),
        };
        if !fits {
            out.truncate(start);
        }
        fits
    }

    /// The same, for a long input or a short one; what has failed stays in `out`.
    pub(super) fn encode_as<const LONG: bool>(
        &mut self,
        input: &[u8],
        budget: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        let start = out.len();
        // Half of the slots stay empty at least.
        self.bits = (2 * input.len()).checked_ilog2().map_or(0, |log| log + 1).clamp(8, TABLE_BITS);
        self.clear::<LONG>();
        let mut codes = Codes::new();
        let mut writer = BitWriter::<LONG> { len: start, out, bits: 0, count: 0 };
        writer.put(CLEAR, codes.width);
        if let Some((&first, rest)) = input.split_first() {
            let mut prefix = u32::from(first);
            for &byte in rest {
                let place = match self.find::<LONG>(prefix, byte) {
                    Ok(code) => {
                        prefix = code;
                        continue;
                    }
                    Err(place) => place,
                };
                writer.put(prefix, codes.width);
                if codes.next() {
                    self.add(place, prefix, byte, codes.highest);
                } else {
                    writer.put(CLEAR, MAX_WIDTH);
                    codes = Codes::new();
                    self.clear::<LONG>();
                    if writer.len() - start > budget {
                        return false;
                    }
                }
                prefix = u32::from(byte);
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
        out.len() - start <= budget
    }

    /// The code of the string that goes on from `prefix` with `byte`, or the place where it
    /// belongs.
    #[inline]
    fn find<const LONG: bool>(&self, prefix: u32, byte: u8) -> Result<u32, usize> {
        if LONG {
            let first = self.firsts.get(prefix as usize & 0xfff).copied().unwrap_or(0);
            if first >> 12 == FIRST | u32::from(byte) {
                return Ok(first & 0xfff);
            }
            if first == 0 {
                return Err(FIRST_PLACE);
            }
        }
        self.find_in_table(prefix << 8 | u32::from(byte))
    }

    /// At most 3,838 slots are ever filled, so the walk ends.
    #[inline]
    fn find_in_table(&self, key: u32) -> Result<u32, usize> {
        // The prefix was only just read from the table, and everything waits for it: so the byte,
        // known in advance, is the one to be multiplied.
        let mask = (1 << self.bits) - 1;
        let mut slot = ((key >> 8) ^ (key & 0xff).wrapping_mul(0x9e5)) as usize & mask;
        loop {
            // The mask keeps it in the table: that is plain to the compiler for the outer one.
            let entry = self.table.get(slot & TABLE_MASK).copied().unwrap_or(0);
            if entry >> 12 == key && entry != 0 {
                return Ok(entry & 0xfff);
            }
            if entry == 0 {
                return Err(slot);
            }
            slot = (slot + 1) & mask;
        }
    }

    #[inline]
    fn add(&mut self, place: usize, prefix: u32, byte: u8, code: u32) {
        let byte = u32::from(byte);
        let (entry, value) = if place == FIRST_PLACE {
            (self.firsts.get_mut(prefix as usize & 0xfff), (FIRST | byte) << 12 | code)
        } else {
            (self.table.get_mut(place), (prefix << 8 | byte) << 12 | code)
        };
        if let Some(entry) = entry {
            *entry = value;
        }
    }

    fn clear<const LONG: bool>(&mut self) {
        self.table.get_mut(..1 << self.bits).unwrap_or_default().fill(0);
        if LONG {
            self.firsts.fill(0);
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

impl<const LONG: bool> BitWriter<'_, LONG> {
    #[inline]
    fn put(&mut self, code: u32, width: u32) {
        self.bits |= u64::from(code) << self.count;
        self.count += width;
        if LONG {
            self.write_ahead();
        } else if self.count >= 32 {
            self.out.extend_from_slice(&(self.bits as u32).to_le_bytes());
            self.bits >>= 32;
            self.count -= 32;
        }
    }

    #[inline]
    fn write_ahead(&mut self) {
        if self.out.len() < self.len + 8 {
            self.grow();
        }
        if let Some(to) = self.out.get_mut(self.len..)
            && let Some(to) = to.first_chunk_mut::<8>()
        {
            *to = self.bits.to_le_bytes();
        }
        let whole = self.count / 8;
        self.len += whole as usize;
        self.bits >>= 8 * whole;
        self.count %= 8;
    }

    #[cold]
    fn grow(&mut self) {
        self.out.resize(self.len + (self.len / 2).max(GROWTH_MIN), 0);
    }

    /// Bytes of the output, about.
    fn len(&self) -> usize {
        if LONG { self.len } else { self.out.len() }
    }

    fn finish(self) {
        if LONG {
            self.out.truncate(self.len);
        }
        let bytes = self.bits.to_le_bytes();
        let whole = self.count.div_ceil(8) as usize;
        self.out.extend_from_slice(bytes.get(..whole).unwrap_or_default());
    }
}

/// Decompresses; holds its string table from call to call.
pub(super) struct Decoder {
    /// Where in the output the string of each code starts. Only codes from 258 up to the highest
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
        let mut output = Output { out, len: 0, limit: limit.min(u32::MAX as usize - SLACK) };
        let result = self.decode_into(input, &mut output);
        let len = output.len;
        out.truncate(len);
        result
    }

    fn decode_into(&mut self, input: &[u8], output: &mut Output<'_>) -> Result<(), DecodeError> {
        let mut codes = BitReader { bytes: input, bits: 0, count: 0 };
        let (mut highest, mut overflow, mut width) = (END, 1u32 << 9, 9u32);
        // The string that the last code stood for; it ends where the output ends.
        let mut last: Option<Span> = None;
        loop {
            let code = codes.take(width)?;
            let start = output.len as u32;
            match code {
                0..CLEAR => output.push(code as u8)?,
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
                    output.repeat(span)?;
                }
            }
            if let Some(last) = last {
                // The last string is followed by the first byte of this one in the output.
                if let Some(string) = self.strings.get_mut(highest as usize & 0xfff) {
                    *string = Span { len: last.len + 1, ..last };
                }
            }
            last = Some(Span { start, len: output.len as u32 - start });
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

struct BitReader<'i> {
    bytes: &'i [u8],
    bits: u64,
    count: u32,
}

impl BitReader<'_> {
    #[inline]
    fn take(&mut self, width: u32) -> Result<u32, DecodeError> {
        if self.count < width {
            if let Some((chunk, rest)) = self.bytes.split_first_chunk::<4>() {
                self.bits |= u64::from(u32::from_le_bytes(*chunk)) << self.count;
                self.count += 32;
                self.bytes = rest;
            } else {
                self.refill(width)?;
            }
        }
        let code = self.bits as u32 & ((1 << width) - 1);
        self.bits >>= width;
        self.count -= width;
        Ok(code)
    }

    #[cold]
    fn refill(&mut self, width: u32) -> Result<(), DecodeError> {
        while self.count < width {
            let (&byte, rest) = self.bytes.split_first().ok_or(DecodeError::LzwTruncated)?;
            self.bits |= u64::from(byte) << self.count;
            self.count += 8;
            self.bytes = rest;
        }
        Ok(())
    }
}

/// The output with room behind it, so that short strings are copied in blocks of fixed size.
struct Output<'o> {
    /// At least `len` and mostly [`SLACK`] bytes more.
    out: &'o mut Vec<u8>,
    len: usize,
    limit: usize,
}

impl Output<'_> {
    #[inline]
    fn push(&mut self, byte: u8) -> Result<(), DecodeError> {
        self.reserve(1)?;
        if let Some(slot) = self.out.get_mut(self.len) {
            *slot = byte;
        }
        self.len += 1;
        Ok(())
    }

    /// Appends a string that begins in the output and may reach one byte beyond its end (that
    /// byte being the string's own first).
    #[inline]
    fn repeat(&mut self, span: Span) -> Result<(), DecodeError> {
        let (start, len) = (span.start as usize, span.len as usize);
        self.reserve(len)?;
        // `reserve` made room for a block from `self.len` on, and `start` lies before that.
        if len <= SLACK {
            if let Some(block) = self.out.get(start..).and_then(|rest| rest.first_chunk::<SLACK>())
            {
                let mut block = *block;
                if start + len > self.len {
                    let first = block[0];
                    if let Some(beyond) = block.get_mut(len - 1) {
                        *beyond = first;
                    }
                }
                if let Some(to) = self.out.get_mut(self.len..)
                    && let Some(to) = to.first_chunk_mut::<SLACK>()
                {
                    *to = block;
                }
            }
        } else {
            let end = (start + len).min(self.len);
            let first = self.out.get(start).copied().unwrap_or_default();
            self.out.copy_within(start..end, self.len);
            if let Some(beyond) = self.out.get_mut(self.len + len - 1)
                && start + len > self.len
            {
                *beyond = first;
            }
        }
        self.len += len;
        Ok(())
    }

    /// Makes room for `more` bytes, all within the limit, and a block behind them.
    #[inline]
    fn reserve(&mut self, more: usize) -> Result<(), DecodeError> {
        if self.out.len() - self.len < more + SLACK { self.grow(more) } else { self.within(more) }
    }

    #[inline]
    fn within(&self, more: usize) -> Result<(), DecodeError> {
        if more > self.limit - self.len {
            return Err(DecodeError::DecompressedTooLarge { limit: self.limit });
        }
        Ok(())
    }

    #[cold]
    fn grow(&mut self, more: usize) -> Result<(), DecodeError> {
        self.within(more)?;
        let doubled = (2 * self.len).max(GROWTH_MIN).min(self.limit);
        let room = doubled.max(self.len + more) + SLACK;
        // Exactly: what doubles is `doubled`, and that stops at the limit.
        self.out.reserve_exact(room - self.out.len());
        self.out.resize(room, 0);
        Ok(())
    }
}

/// Block of output that is copied at once.
const SLACK: usize = 16;
/// First growth of the output; a packet's messages mostly fit.
const GROWTH_MIN: usize = 2048;
const CLEAR: u32 = 256;
const END: u32 = 257;
const MAX_WIDTH: u32 = 12;
/// Never assigned: Go's encoder clears its table instead.
const LAST: u32 = 4095;
/// The place of a string that is the first to go on from its prefix; others have a slot.
const FIRST_PLACE: usize = usize::MAX;
/// Marks an entry of `firsts` that is there.
const FIRST: u32 = 1 << 8;
/// From here on the strings of an input are long enough to pay for `firsts`.
const LONG_BYTES_MIN: usize = 4 * 1024;
const TABLE_BITS: u32 = 13;
const TABLE_LEN: usize = 1 << TABLE_BITS;
const TABLE_MASK: usize = TABLE_LEN - 1;
