//! Serializes serde types in Go's dialect.

use serde::ser::{self, Serialize};

use super::{Dialect, Error, Writer};

/// Encodes `value`. Struct fields are written sorted by key regardless of their order in Rust, so
/// declare them in the order of the Go struct: [`from_slice`](super::from_slice) needs it for
/// structs that are encoded as arrays. Maps keep their order. A `Vec<u8>` needs
/// [`as_bytes`](super::as_bytes).
///
/// # Errors
/// [`Error::Mismatch`]: a sequence or map of unknown length, an enum variant with data, or an
/// integer of more than 64 bits.
pub fn to_vec<T: Serialize + ?Sized>(value: &T, dialect: Dialect) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    value.serialize(&mut Serializer::new(&mut out, dialect))?;
    Ok(out)
}

/// Appends serde values to a buffer; see [`to_vec`].
#[derive(Debug)]
pub struct Serializer<'b> {
    out: &'b mut Vec<u8>,
    dialect: Dialect,
}

impl<'b> Serializer<'b> {
    /// Creates a serializer that appends to `out`.
    pub fn new(out: &'b mut Vec<u8>, dialect: Dialect) -> Self {
        Self { out, dialect }
    }

    fn writer(&mut self) -> Writer<'_> {
        Writer::with_dialect(self.out, self.dialect)
    }
}

/// Items of a sequence or map, written directly after the header.
#[derive(Debug)]
pub struct Items<'s, 'b>(&'s mut Serializer<'b>);

/// Fields of a struct, sorted once all are written.
#[derive(Debug)]
pub struct Fields<'s, 'b> {
    serializer: &'s mut Serializer<'b>,
    start: usize,
    /// Each key and the end of its pair in the buffer.
    ends: Vec<(&'static str, usize)>,
}

macro_rules! scalars {
    ($($name:ident: $ty:ty => $write:ident as $wide:ty),* $(,)?) => {$(
        fn $name(self, value: $ty) -> Result<(), Error> {
            self.writer().$write(<$wide>::from(value));
            Ok(())
        }
    )*};
}

impl<'s, 'b> ser::Serializer for &'s mut Serializer<'b> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Items<'s, 'b>;
    type SerializeTuple = Items<'s, 'b>;
    type SerializeTupleStruct = Items<'s, 'b>;
    type SerializeTupleVariant = ser::Impossible<(), Error>;
    type SerializeMap = Items<'s, 'b>;
    type SerializeStruct = Fields<'s, 'b>;
    type SerializeStructVariant = ser::Impossible<(), Error>;

    scalars! {
        serialize_bool: bool => bool as bool,
        serialize_i8: i8 => int as i64,
        serialize_i16: i16 => int as i64,
        serialize_i32: i32 => int as i64,
        serialize_i64: i64 => int as i64,
        serialize_u8: u8 => uint as u64,
        serialize_u16: u16 => uint as u64,
        serialize_u32: u32 => uint as u64,
        serialize_u64: u64 => uint as u64,
        serialize_f32: f32 => f64 as f64,
        serialize_f64: f64 => f64 as f64,
    }

    fn serialize_char(self, value: char) -> Result<(), Error> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Error> {
        self.writer().str(value);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Error> {
        self.writer().bytes(Some(value));
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.writer().nil();
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<(), Error> {
        Err(Error::Mismatch)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Items<'s, 'b>, Error> {
        self.writer().array(len.ok_or(Error::Mismatch)?);
        Ok(Items(self))
    }

    fn serialize_tuple(self, len: usize) -> Result<Items<'s, 'b>, Error> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        len: usize,
    ) -> Result<Items<'s, 'b>, Error> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        Err(Error::Mismatch)
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Items<'s, 'b>, Error> {
        self.writer().map(len.ok_or(Error::Mismatch)?);
        Ok(Items(self))
    }

    fn serialize_struct(self, _name: &'static str, len: usize) -> Result<Fields<'s, 'b>, Error> {
        self.writer().map(len);
        let start = self.out.len();
        Ok(Fields { serializer: self, start, ends: Vec::with_capacity(len) })
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        Err(Error::Mismatch)
    }
}

impl ser::SerializeSeq for Items<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(&mut *self.0)
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

impl ser::SerializeTuple for Items<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(&mut *self.0)
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

impl ser::SerializeTupleStruct for Items<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(&mut *self.0)
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

impl ser::SerializeMap for Items<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        key.serialize(&mut *self.0)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(&mut *self.0)
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

impl ser::SerializeStruct for Fields<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.serializer.writer().str(key);
        value.serialize(&mut *self.serializer)?;
        self.ends.push((key, self.serializer.out.len()));
        Ok(())
    }

    fn end(self) -> Result<(), Error> {
        if self.ends.is_sorted_by_key(|&(key, _)| key) {
            return Ok(());
        }
        let fields = self.serializer.out.split_off(self.start);
        let mut from = 0;
        let mut pairs: Vec<(&str, &[u8])> = Vec::with_capacity(self.ends.len());
        for (key, end) in self.ends {
            let to = end - self.start;
            pairs.push((key, fields.get(from..to).unwrap_or_default()));
            from = to;
        }
        pairs.sort_unstable();
        for (_, pair) in pairs {
            self.serializer.out.extend_from_slice(pair);
        }
        Ok(())
    }
}

impl ser::Error for Error {
    fn custom<T: std::fmt::Display>(_text: T) -> Self {
        Self::Mismatch
    }
}
