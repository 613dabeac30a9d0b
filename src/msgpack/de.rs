//! Deserializes Go's dialect into serde types, as tolerantly as [`Reader`].

use std::borrow::Cow;

use serde::{
    Deserialize,
    de::{self, DeserializeSeed, IntoDeserializer, Visitor},
};

use super::{DEPTH_MAX, Error, Expected, Reader, marker};

/// Decodes one value; bytes after it are ignored.
///
/// Give structs `#[serde(default)]`, as Go leaves missing fields zero, and declare their fields in
/// Go's order, which is the order of a struct that is encoded as an array. Nil reads as zero, empty
/// or `None`; in a `String`, bytes that are not UTF-8 become U+FFFD.
///
/// # Errors
/// See [`Error`]; nesting beyond [`DEPTH_MAX`] is an error.
pub fn from_slice<'a, T: Deserialize<'a>>(input: &'a [u8]) -> Result<T, Error> {
    from_reader(&mut Reader::new(input))
}

/// Decodes one value and leaves the reader positioned after it.
///
/// # Errors
/// See [`from_slice`].
pub fn from_reader<'a, T: Deserialize<'a>>(reader: &mut Reader<'a>) -> Result<T, Error> {
    T::deserialize(&mut Deserializer { reader, depth: DEPTH_MAX })
}

/// Reads serde values from a [`Reader`]; see [`from_slice`].
#[derive(Debug)]
pub struct Deserializer<'r, 'a> {
    reader: &'r mut Reader<'a>,
    depth: usize,
}

macro_rules! numbers {
    ($($name:ident: $read:ident => $visit:ident),* $(,)?) => {$(
        fn $name<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.$visit(self.reader.$read()?)
        }
    )*};
}

impl<'a> de::Deserializer<'a> for &mut Deserializer<'_, 'a> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        let marker = self.reader.peek().ok_or(Error::Truncated)?;
        match marker {
            marker::NIL => {
                self.reader.skip()?;
                visitor.visit_unit()
            }
            marker::TRUE | marker::FALSE => self.deserialize_bool(visitor),
            ..=marker::FIXPOS_MAX | marker::U8 | marker::U16 | marker::U32 | marker::U64 => {
                self.deserialize_u64(visitor)
            }
            marker::FIXNEG.. | marker::I8 | marker::I16 | marker::I32 | marker::I64 => {
                self.deserialize_i64(visitor)
            }
            marker::F32 | marker::F64 => self.deserialize_f64(visitor),
            marker::FIXSTR..=marker::FIXSTR_MAX | marker::STR8 | marker::STR16 | marker::STR32 => {
                let text = self.reader.str()?;
                match std::str::from_utf8(text) {
                    Ok(text) => visitor.visit_borrowed_str(text),
                    Err(_) => visitor.visit_borrowed_bytes(text),
                }
            }
            marker::BIN8 | marker::BIN16 | marker::BIN32 => self.deserialize_bytes(visitor),
            marker::FIXARRAY..=marker::FIXARRAY_MAX | marker::ARRAY16 | marker::ARRAY32 => {
                self.deserialize_seq(visitor)
            }
            marker::FIXMAP..=marker::FIXMAP_MAX | marker::MAP16 | marker::MAP32 => {
                self.deserialize_map(visitor)
            }
            marker::RESERVED
            | marker::EXT8
            | marker::EXT16
            | marker::EXT32
            | marker::FIXEXT1
            | marker::FIXEXT2
            | marker::FIXEXT4
            | marker::FIXEXT8
            | marker::FIXEXT16 => {
                self.reader.skip()?;
                Err(self.reader.mismatch(Expected::Value, marker))
            }
        }
    }

    numbers! {
        deserialize_bool: bool => visit_bool,
        deserialize_i8: i64 => visit_i64,
        deserialize_i16: i64 => visit_i64,
        deserialize_i32: i64 => visit_i64,
        deserialize_i64: i64 => visit_i64,
        deserialize_u8: u64 => visit_u64,
        deserialize_u16: u64 => visit_u64,
        deserialize_u32: u64 => visit_u64,
        deserialize_u64: u64 => visit_u64,
        deserialize_f32: f64 => visit_f64,
        deserialize_f64: f64 => visit_f64,
    }

    fn deserialize_char<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        match String::from_utf8_lossy(self.reader.str()?) {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    fn deserialize_string<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.reader.bytes()?.0 {
            None => visitor.visit_borrowed_bytes(&[]),
            Some(Cow::Borrowed(bytes)) => visitor.visit_borrowed_bytes(bytes),
            Some(Cow::Owned(bytes)) => visitor.visit_byte_buf(bytes),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.reader.take_nil() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        self.reader.skip()?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'a>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        let left = self.reader.array_len()?;
        visitor.visit_seq(self.nested(left)?)
    }

    fn deserialize_tuple<V: Visitor<'a>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'a>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        let left = self.reader.pairs_len()?;
        visitor.visit_map(self.nested(left)?)
    }

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.reader.peek() {
            Some(marker::FIXARRAY..=marker::FIXARRAY_MAX | marker::ARRAY16 | marker::ARRAY32) => {
                let left = self.reader.array_len()?;
                let mut items = self.nested(left)?;
                items.fields = Some(fields.len());
                visitor.visit_seq(items)
            }
            None
            | Some(marker::FIXMAP..=marker::FIXMAP_MAX | marker::MAP16 | marker::MAP32)
            | Some(marker::NIL) => self.deserialize_map(visitor),
            // Fails, with Go's words for a struct.
            Some(_) => self.reader.declared_fields(&[], |_, _| Ok(())).and(Err(Error::Mismatch)),
        }
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let variant = std::str::from_utf8(self.reader.str()?).map_err(|_| Error::Mismatch)?;
        visitor.visit_enum(variant.into_deserializer())
    }

    fn deserialize_identifier<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_bytes(self.reader.str()?)
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        self.reader.skip()?;
        visitor.visit_unit()
    }
}

impl<'r, 'a> Deserializer<'r, 'a> {
    fn nested(&mut self, left: u32) -> Result<Items<'_, 'a>, Error> {
        let depth = self.depth.checked_sub(1).ok_or(Error::Depth)?;
        let nested = Deserializer { reader: self.reader, depth };
        Ok(Items { nested, left, fields: None })
    }
}

/// Items of an array or pairs of a map. Gives no size hint, so that a length from the wire never
/// determines an allocation.
struct Items<'r, 'a> {
    nested: Deserializer<'r, 'a>,
    left: u32,
    /// Fields of the struct that the array encodes; surplus items are skipped.
    fields: Option<usize>,
}

impl Items<'_, '_> {
    fn take_one(&mut self) -> bool {
        let more = self.left > 0;
        self.left = self.left.saturating_sub(1);
        more
    }
}

impl<'a> de::SeqAccess<'a> for Items<'_, 'a> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        if !self.take_one() {
            return Ok(None);
        }
        let item = seed.deserialize(&mut self.nested)?;
        if let Some(fields) = &mut self.fields {
            *fields = fields.saturating_sub(1);
            while *fields == 0 && self.left > 0 {
                self.left -= 1;
                self.nested.reader.skip()?;
            }
        }
        Ok(Some(item))
    }
}

impl<'a> de::MapAccess<'a> for Items<'_, 'a> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'a>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        if !self.take_one() {
            return Ok(None);
        }
        seed.deserialize(&mut self.nested).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(&mut self.nested)
    }
}

impl de::Error for Error {
    fn custom<T: std::fmt::Display>(_text: T) -> Self {
        Self::Mismatch
    }
}
