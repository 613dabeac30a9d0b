//! A cursor over encoded values, as tolerant as Go's decoder.

use std::borrow::Cow;

use super::{Bin, marker};
use crate::base::error_texts;

/// Why a value was refused. All of these are caused by the peer's bytes; the reader must not be
/// used after an error. `at` is the number of bytes read until then; the texts are Go's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The input ends inside a value. More input might complete it.
    Truncated,
    /// The value has another type.
    Type {
        /// Type of the field.
        expected: Expected,
        /// First byte of the value found.
        found: u8,
        /// See above.
        at: u32,
    },
    /// A negative integer for an unsigned field.
    Negative {
        /// The integer.
        value: i64,
        /// See above.
        at: u32,
    },
    /// An integer that does not fit its field.
    Overflow {
        /// The integer.
        value: u64,
        /// See above.
        at: u32,
    },
    /// More items than the receiver accepts. Go has no such limit.
    TooMany,
    /// Nesting deeper than [`DEPTH_MAX`].
    Depth,
    /// A serde type refused the value.
    Mismatch,
}

/// What a field can be decoded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A map or an array.
    Struct,
    /// A map.
    Map,
    /// An array.
    Array,
    /// A byte string, a text or an array of integers.
    Bytes,
    /// A text or a byte string.
    Text,
    /// A truth value.
    Bool,
    /// An integer.
    Signed,
    /// An integer that is not negative.
    Unsigned,
    /// Any value that the format defines.
    Value,
}

error_texts! {
    Error {
        Self::Truncated => "EOF";
        Self::Type { expected, found, at } => "{}{}", At(*at), expected.refusal(*found);
        Self::Negative { value, at } =>
            "{}assigning negative signed value: {value}, to unsigned type", At(*at);
        Self::Overflow { value, at } => "{}uint64 overflow: {value}", At(*at);
        Self::TooMany => "too many items";
        Self::Depth => "nested too deeply";
        Self::Mismatch => "value does not fit the type";
    }
}

impl std::error::Error for Error {}

impl Error {
    /// The same error in a longer input, which has `before` more bytes in front.
    pub fn after(mut self, before: usize) -> Self {
        match &mut self {
            Self::Type { at, .. } | Self::Negative { at, .. } | Self::Overflow { at, .. } => {
                *at = at.saturating_add(u32::try_from(before).unwrap_or(u32::MAX));
            }
            Self::Truncated | Self::TooMany | Self::Depth | Self::Mismatch => {}
        }
        self
    }
}

impl Expected {
    /// Why a value that begins with `found` is none of this type, as Go words it.
    fn refusal(self, found: u8) -> String {
        let cannot = |what| {
            format!(
                "cannot {what}: unrecognized descriptor byte: {found:x}/{}",
                marker::name(found)
            )
        };
        match self {
            Self::Struct => "only encoded map or array can be decoded into a struct".to_owned(),
            Self::Map | Self::Array => format!(
                "cannot read container length: unrecognized descriptor byte: hex: {found:x}, \
                 decimal: {found}"
            ),
            Self::Bytes => "only encoded map or array can be decoded into a slice (0)".to_owned(),
            Self::Text => {
                format!("invalid byte descriptor for decoding bytes, got: {found:#x}")
            }
            Self::Bool => cannot("decode bool"),
            Self::Signed => cannot("decode signed integer"),
            Self::Unsigned => cannot("decode unsigned integer"),
            Self::Value => format!(
                "cannot infer value: unrecognized descriptor byte: Ox{found:x}/{found}/{}",
                marker::name(found)
            ),
        }
    }
}

/// How Go begins the text of an error of its decoder, after so many bytes.
#[derive(Clone, Copy, Debug)]
pub struct At(pub u32);

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "msgpack decode error [pos {}]: ", self.0)
    }
}

/// Reads values one by one. Strings are borrowed; a length is never used to allocate more than the
/// input holds.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    input: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Creates a reader at the start of `input`.
    pub fn new(input: &'a [u8]) -> Self {
        Self { input, rest: input }
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.input.len() - self.rest.len()
    }

    /// The unread input; for raw data that follows a value.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Reads the header of a map and returns its number of pairs; returns `None` and reads nothing
    /// if the next value is not a map.
    ///
    /// # Errors
    /// The header is truncated.
    #[inline]
    pub fn take_map_len(&mut self) -> Result<Option<u32>, Error> {
        let before = self.rest;
        let marker = self.byte()?;
        let len = self.map_len(marker)?;
        if len.is_none() {
            self.rest = before;
        }
        Ok(len)
    }

    /// Reads `key` if it is next, shorter than 32 bytes and in the family that Go writes; returns
    /// whether it was.
    #[inline]
    pub fn take_key(&mut self, key: &'static str) -> bool {
        let Some((&marker, rest)) = self.rest.split_first() else { return false };
        if usize::from(marker ^ 0xa0) != key.len() {
            return false;
        }
        let Some(rest) = rest.strip_prefix(key.as_bytes()) else { return false };
        self.rest = rest;
        true
    }

    /// Reads a struct encoded as an array whose items are in `declared` order: `field` is called
    /// with each key and must read or [`skip`](Self::skip) its value. Surplus items are skipped;
    /// nil has no items.
    ///
    /// # Errors
    /// A value of another type, or an error of `field`.
    pub fn declared_fields(
        &mut self,
        declared: &[&'static str],
        mut field: impl FnMut(&mut Self, &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let marker = self.byte()?;
        let mut names = declared.iter();
        self.items(marker, Expected::Struct, |reader| match names.next() {
            Some(name) => field(reader, name.as_bytes()),
            None => reader.skip(),
        })
    }

    /// Reads a map with string keys; `pair` must read or skip each value. Nil has no pairs.
    ///
    /// # Errors
    /// A value of another type, or an error of `pair`.
    pub fn map(
        &mut self,
        mut pair: impl FnMut(&mut Self, &'a [u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for _ in 0..self.pairs_len()? {
            let key = self.str()?;
            pair(self, key)?;
        }
        Ok(())
    }

    /// Reads an array; `item` must read or skip each item. Nil has no items.
    ///
    /// # Errors
    /// A value of another type, or an error of `item`.
    pub fn array(&mut self, item: impl FnMut(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        let marker = self.byte()?;
        self.items(marker, Expected::Array, item)
    }

    /// Reads nil if it is next; returns whether it was.
    pub fn take_nil(&mut self) -> bool {
        match self.rest.split_first() {
            Some((&marker::NIL, rest)) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// The first byte of the next value, without reading it.
    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Reads a string of any family (raw, str8, bin); nil is empty. Not checked for UTF-8.
    ///
    /// # Errors
    /// A value of another type.
    #[inline]
    pub fn str(&mut self) -> Result<&'a [u8], Error> {
        let marker = self.byte()?;
        if marker & 0xe0 == 0xa0 {
            return self.take(usize::from(marker & 0x1f));
        }
        if marker == marker::NIL {
            return Ok(&[]);
        }
        match self.raw_len(marker)? {
            Some(len) => self.take(len),
            None => Err(self.mismatch(Expected::Text, marker)),
        }
    }

    /// Reads a byte string: any string family, nil, or an array of integers.
    ///
    /// # Errors
    /// A value of another type, or array items that are not bytes.
    #[inline]
    pub fn bytes(&mut self) -> Result<Bin<'a>, Error> {
        let marker = self.byte()?;
        if marker & 0xe0 == 0xa0 {
            return Ok(self.take(usize::from(marker & 0x1f))?.into());
        }
        if marker == marker::NIL {
            return Ok(Bin::NIL);
        }
        if let Some(len) = self.raw_len(marker)? {
            return Ok(self.take(len)?.into());
        }
        // Each item takes at least a byte of input, so the vector cannot outgrow it.
        let mut bytes = Vec::new();
        self.items(marker, Expected::Bytes, |reader| {
            bytes.push(reader.u8()?);
            Ok(())
        })?;
        Ok(Bin(Some(Cow::Owned(bytes))))
    }

    /// Reads a bool: true, false, nil, or the small integers 0 and 1.
    ///
    /// # Errors
    /// Any other value.
    #[inline]
    pub fn bool(&mut self) -> Result<bool, Error> {
        match self.byte()? {
            marker::FALSE | marker::NIL | 0 => Ok(false),
            marker::TRUE | 1 => Ok(true),
            marker => Err(self.mismatch(Expected::Bool, marker)),
        }
    }

    /// Reads an unsigned integer of any width and sign that is not negative; nil is zero.
    ///
    /// # Errors
    /// A value of another type, or a negative number.
    #[inline]
    pub fn u64(&mut self) -> Result<u64, Error> {
        let marker = self.byte()?;
        if marker < 0x80 {
            return Ok(u64::from(marker));
        }
        self.wide_u64(marker)
    }

    /// Like [`u64`](Self::u64) for a narrower field.
    ///
    /// # Errors
    /// As [`u64`](Self::u64), and a number that does not fit.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, Error> {
        let value = self.u64()?;
        u32::try_from(value).map_err(|_| Error::Overflow { value, at: self.at() })
    }

    /// Like [`u64`](Self::u64) for a narrower field.
    ///
    /// # Errors
    /// As [`u64`](Self::u64), and a number that does not fit.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, Error> {
        let value = self.u64()?;
        u16::try_from(value).map_err(|_| Error::Overflow { value, at: self.at() })
    }

    /// Like [`u64`](Self::u64) for a narrower field.
    ///
    /// # Errors
    /// As [`u64`](Self::u64), and a number that does not fit.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, Error> {
        let value = self.u64()?;
        u8::try_from(value).map_err(|_| Error::Overflow { value, at: self.at() })
    }

    /// Reads a Go `int` or `int64` of any width and sign; nil is zero. An unsigned number above
    /// `i64::MAX` wraps, as in Go.
    ///
    /// # Errors
    /// A value of another type.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, Error> {
        let marker = self.byte()?;
        Ok(match marker {
            ..=marker::FIXPOS_MAX => i64::from(marker),
            marker::FIXNEG.. => i64::from(marker as i8),
            marker::NIL => 0,
            marker::U8 => i64::from(u8::from_be_bytes(self.fixed()?)),
            marker::U16 => i64::from(u16::from_be_bytes(self.fixed()?)),
            marker::U32 => i64::from(u32::from_be_bytes(self.fixed()?)),
            marker::U64 => u64::from_be_bytes(self.fixed()?) as i64,
            marker::I8 => i64::from(i8::from_be_bytes(self.fixed()?)),
            marker::I16 => i64::from(i16::from_be_bytes(self.fixed()?)),
            marker::I32 => i64::from(i32::from_be_bytes(self.fixed()?)),
            marker::I64 => i64::from_be_bytes(self.fixed()?),
            _ => return Err(self.mismatch(Expected::Signed, marker)),
        })
    }

    /// Reads a `float64` from either float width or any integer; nil is zero.
    ///
    /// # Errors
    /// A value of another type.
    pub fn f64(&mut self) -> Result<f64, Error> {
        match self.peek() {
            Some(marker::F64) => {
                self.byte()?;
                Ok(f64::from_bits(u64::from_be_bytes(self.fixed()?)))
            }
            Some(marker::F32) => {
                self.byte()?;
                Ok(f64::from(f32::from_bits(u32::from_be_bytes(self.fixed()?))))
            }
            Some(marker::U64) => Ok(self.u64()? as f64),
            _ => Ok(self.i64()? as f64),
        }
    }

    /// Skips one value of any type.
    ///
    /// # Errors
    /// A truncated value, the reserved byte, or nesting beyond [`DEPTH_MAX`].
    pub fn skip(&mut self) -> Result<(), Error> {
        self.skip_nested(DEPTH_MAX)
    }

    /// Skips one value and returns its bytes, which are well-formed.
    ///
    /// # Errors
    /// See [`skip`](Self::skip).
    pub fn encoded(&mut self) -> Result<&'a [u8], Error> {
        let before = self.rest;
        self.skip()?;
        Ok(before.get(..before.len() - self.rest.len()).unwrap_or_default())
    }

    fn skip_nested(&mut self, depth: usize) -> Result<(), Error> {
        let marker = self.byte()?;
        if !(0x80..0xe0).contains(&marker) {
            return Ok(());
        }
        let (payload, items) = shape(marker, |n| {
            let mut len = [0; 8];
            let bytes = self.take(n)?;
            len.iter_mut().rev().zip(bytes.iter().rev()).for_each(|(to, from)| *to = *from);
            Ok(u64::from_be_bytes(len))
        })
        .map_err(|error| error.after(self.position()))?;
        self.take(usize::try_from(payload).map_err(|_| Error::Truncated)?)?;
        if items == 0 {
            return Ok(());
        }
        let depth = depth.checked_sub(1).ok_or(Error::Depth)?;
        for _ in 0..items {
            self.skip_nested(depth)?;
        }
        Ok(())
    }

    /// The number of bytes read, for an error.
    fn at(&self) -> u32 {
        u32::try_from(self.position()).unwrap_or(u32::MAX)
    }

    #[cold]
    pub(super) fn mismatch(&self, expected: Expected, found: u8) -> Error {
        Error::Type { expected, found, at: self.at() }
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Error> {
        let (&byte, rest) = self.rest.split_first().ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(byte)
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn wide_u64(&mut self, marker: u8) -> Result<u64, Error> {
        let signed = match marker {
            marker::NIL => return Ok(0),
            marker::U8 => return Ok(u64::from(u8::from_be_bytes(self.fixed()?))),
            marker::U16 => return Ok(u64::from(u16::from_be_bytes(self.fixed()?))),
            marker::U32 => return Ok(u64::from(u32::from_be_bytes(self.fixed()?))),
            marker::U64 => return Ok(u64::from_be_bytes(self.fixed()?)),
            marker::I8 => i64::from(i8::from_be_bytes(self.fixed()?)),
            marker::I16 => i64::from(i16::from_be_bytes(self.fixed()?)),
            marker::I32 => i64::from(i32::from_be_bytes(self.fixed()?)),
            marker::I64 => i64::from_be_bytes(self.fixed()?),
            // As Go words it: without the sign.
            marker::FIXNEG.. => {
                return Err(Error::Negative { value: i64::from(marker), at: self.at() });
            }
            _ => return Err(self.mismatch(Expected::Unsigned, marker)),
        };
        u64::try_from(signed).map_err(|_| Error::Negative { value: signed, at: self.at() })
    }

    /// Length of a raw, str or bin value with this marker; `None` for other markers.
    fn raw_len(&mut self, marker: u8) -> Result<Option<usize>, Error> {
        Ok(Some(match marker {
            marker::FIXSTR..=marker::FIXSTR_MAX => usize::from(marker & 0x1f),
            marker::STR8 | marker::BIN8 => usize::from(u8::from_be_bytes(self.fixed()?)),
            marker::STR16 | marker::BIN16 => usize::from(u16::from_be_bytes(self.fixed()?)),
            marker::STR32 | marker::BIN32 => u32::from_be_bytes(self.fixed()?) as usize,
            _ => return Ok(None),
        }))
    }

    fn map_len(&mut self, marker: u8) -> Result<Option<u32>, Error> {
        Ok(Some(match marker {
            marker::FIXMAP..=marker::FIXMAP_MAX => u32::from(marker & 0x0f),
            marker::MAP16 => u32::from(u16::from_be_bytes(self.fixed()?)),
            marker::MAP32 => u32::from_be_bytes(self.fixed()?),
            _ => return Ok(None),
        }))
    }

    /// Reads the items of an array (or nil) whose first byte was `marker`.
    fn items(
        &mut self,
        marker: u8,
        expected: Expected,
        mut item: impl FnMut(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for _ in 0..self.items_len(marker, expected)? {
            item(self)?;
        }
        Ok(())
    }

    fn items_len(&mut self, marker: u8, expected: Expected) -> Result<u32, Error> {
        Ok(match marker {
            marker::NIL => 0,
            marker::FIXARRAY..=marker::FIXARRAY_MAX => u32::from(marker & 0x0f),
            marker::ARRAY16 => u32::from(u16::from_be_bytes(self.fixed()?)),
            marker::ARRAY32 => u32::from_be_bytes(self.fixed()?),
            _ => return Err(self.mismatch(expected, marker)),
        })
    }

    /// Reads the header of an array; nil is empty.
    #[cfg(feature = "serde")]
    pub(super) fn array_len(&mut self) -> Result<u32, Error> {
        let marker = self.byte()?;
        self.items_len(marker, Expected::Array)
    }

    /// Reads the header of a map; nil is empty.
    pub(super) fn pairs_len(&mut self) -> Result<u32, Error> {
        let marker = self.byte()?;
        if marker == marker::NIL {
            return Ok(0);
        }
        self.map_len(marker)?.ok_or_else(|| self.mismatch(Expected::Map, marker))
    }
}

/// What follows `marker`: the number of payload bytes after the header, and the number of nested
/// values. `length` reads the big-endian length of that many bytes after the marker. An error does
/// not know how much was read.
pub(super) fn shape(
    marker: u8,
    mut length: impl FnMut(usize) -> Result<u64, Error>,
) -> Result<(u64, u64), Error> {
    Ok(match marker {
        ..=marker::FIXPOS_MAX | marker::FIXNEG.. | marker::NIL | marker::FALSE | marker::TRUE => {
            (0, 0)
        }
        marker::RESERVED => {
            return Err(Error::Type { expected: Expected::Value, found: marker, at: 0 });
        }
        marker::U8 | marker::I8 => (1, 0),
        marker::U16 | marker::I16 | marker::FIXEXT1 => (2, 0),
        marker::FIXEXT2 => (3, 0),
        marker::U32 | marker::I32 | marker::F32 => (4, 0),
        marker::FIXEXT4 => (5, 0),
        marker::U64 | marker::I64 | marker::F64 => (8, 0),
        marker::FIXEXT8 => (9, 0),
        marker::FIXEXT16 => (17, 0),
        marker::FIXSTR..=marker::FIXSTR_MAX => (u64::from(marker & 0x1f), 0),
        marker::STR8 | marker::BIN8 => (length(1)?, 0),
        marker::STR16 | marker::BIN16 => (length(2)?, 0),
        marker::STR32 | marker::BIN32 => (length(4)?, 0),
        marker::EXT8 => (length(1)?.saturating_add(1), 0),
        marker::EXT16 => (length(2)?.saturating_add(1), 0),
        marker::EXT32 => (length(4)?.saturating_add(1), 0),
        marker::FIXARRAY..=marker::FIXARRAY_MAX => (0, u64::from(marker & 0x0f)),
        marker::ARRAY16 => (0, length(2)?),
        marker::ARRAY32 => (0, length(4)?),
        marker::FIXMAP..=marker::FIXMAP_MAX => (0, 2 * u64::from(marker & 0x0f)),
        marker::MAP16 => (0, length(2)?.saturating_mul(2)),
        marker::MAP32 => (0, length(4)?.saturating_mul(2)),
    })
}

/// Deepest nesting accepted in unknown values. Go has no limit.
pub const DEPTH_MAX: usize = 16;
