//! Appends values in the encoding of Go's codec.

use super::marker;

/// Value of Go's codec option `WriteExt`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// `WriteExt = false`: strings and bytes are old-spec raw; neither str8 nor bin. Gossip,
    /// snapshots, tags.
    #[default]
    Gossip,
    /// `WriteExt = true`: str8 for strings of 32 to 255 bytes and bin for byte strings. The
    /// agent's RPC.
    Rpc,
}

/// Appends MessagePack to a buffer. Cannot fail.
#[derive(Debug)]
pub struct Writer<'b> {
    out: &'b mut Vec<u8>,
    dialect: Dialect,
}

impl<'b> Writer<'b> {
    /// Creates a writer of the gossip dialect that appends to `out`.
    pub fn new(out: &'b mut Vec<u8>) -> Self {
        Self { out, dialect: Dialect::Gossip }
    }

    /// Creates a writer of `dialect` that appends to `out`.
    pub fn with_dialect(out: &'b mut Vec<u8>, dialect: Dialect) -> Self {
        Self { out, dialect }
    }

    /// Writes the header of a map of `len` pairs: the caller then writes the keys and values,
    /// sorted by key.
    pub fn map(&mut self, len: usize) {
        self.container(len, marker::FIXMAP, marker::MAP16, marker::MAP32);
    }

    /// Writes the header of an array of `len` items.
    pub fn array(&mut self, len: usize) {
        self.container(len, marker::FIXARRAY, marker::ARRAY16, marker::ARRAY32);
    }

    /// Writes Go's `string` (any bytes: Go does not check UTF-8).
    #[inline]
    pub fn str(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        match text.len() {
            len @ 0..=31 => self.out.push(marker::FIXSTR | len as u8),
            len @ 32..=255 if self.dialect == Dialect::Rpc => {
                self.out.extend_from_slice(&[marker::STR8, len as u8]);
            }
            len => self.wide(len, marker::STR16, marker::STR32),
        }
        self.out.extend_from_slice(text);
    }

    /// Writes Go's `[]byte`; `None` is its nil.
    #[inline]
    pub fn bytes(&mut self, bytes: Option<&[u8]>) {
        let Some(bytes) = bytes else { return self.nil() };
        match (self.dialect, bytes.len()) {
            (Dialect::Gossip, _) => return self.str(bytes),
            (Dialect::Rpc, len @ 0..=255) => {
                self.out.extend_from_slice(&[marker::BIN8, len as u8]);
            }
            (Dialect::Rpc, len) => self.wide(len, marker::BIN16, marker::BIN32),
        }
        self.out.extend_from_slice(bytes);
    }

    /// Writes an unsigned Go integer in its shortest form.
    #[inline]
    pub fn uint(&mut self, value: u64) {
        match value {
            0..=0x7f => self.out.push(value as u8),
            0x80..=0xff => self.out.extend_from_slice(&[marker::U8, value as u8]),
            0x100..=0xffff => self.marked(marker::U16, (value as u16).to_be_bytes()),
            0x1_0000..=0xffff_ffff => self.marked(marker::U32, (value as u32).to_be_bytes()),
            _ => self.marked(marker::U64, value.to_be_bytes()),
        }
    }

    /// Writes a signed Go integer as current Go does: above 127 as int16, int32 or int64. (Older Go
    /// versions write unsigned forms; all versions read both.)
    #[inline]
    pub fn int(&mut self, value: i64) {
        match value {
            -32..=127 => self.out.push(value as u8),
            -128..=-33 => self.marked(marker::I8, (value as i8).to_be_bytes()),
            -0x8000..=0x7fff => self.marked(marker::I16, (value as i16).to_be_bytes()),
            -0x8000_0000..=0x7fff_ffff => self.marked(marker::I32, (value as i32).to_be_bytes()),
            _ => self.marked(marker::I64, value.to_be_bytes()),
        }
    }

    /// Writes a `float64`: always nine bytes.
    #[inline]
    pub fn f64(&mut self, value: f64) {
        self.marked(marker::F64, value.to_bits().to_be_bytes());
    }

    /// Writes a bool.
    #[inline]
    pub fn bool(&mut self, value: bool) {
        self.out.push(if value { marker::TRUE } else { marker::FALSE });
    }

    /// Writes nil.
    #[inline]
    pub fn nil(&mut self) {
        self.out.push(marker::NIL);
    }

    /// Appends an already encoded value.
    #[inline]
    pub fn encoded(&mut self, value: &[u8]) {
        self.out.extend_from_slice(value);
    }

    #[inline]
    fn container(&mut self, len: usize, fix: u8, marker16: u8, marker32: u8) {
        match len {
            0..=15 => self.out.push(fix | len as u8),
            _ => self.wide(len, marker16, marker32),
        }
    }

    /// Writes a length that does not fit one byte. No caller holds more than `u32::MAX` bytes:
    /// every buffer is bounded by `wire::limits`.
    fn wide(&mut self, len: usize, marker16: u8, marker32: u8) {
        debug_assert!(u32::try_from(len).is_ok(), "length does not fit MessagePack");
        match u16::try_from(len) {
            Ok(len) => self.marked(marker16, len.to_be_bytes()),
            Err(_) => self.marked(marker32, (len as u32).to_be_bytes()),
        }
    }

    #[inline]
    fn marked<const N: usize>(&mut self, marker: u8, bytes: [u8; N]) {
        self.out.push(marker);
        self.out.extend_from_slice(&bytes);
    }
}
