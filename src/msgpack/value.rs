//! Types that encode as one value.

use super::{Bin, Error, Reader, Writer};

/// A type with one encoding in Go's dialect; the field type of [`message!`](super::message)
/// structs.
pub trait Value<'a>: Sized {
    /// Reads one value.
    ///
    /// # Errors
    /// See [`Error`].
    fn decode(reader: &mut Reader<'a>) -> Result<Self, Error>;

    /// Appends the value.
    fn encode(&self, writer: &mut Writer<'_>);

    /// Whether Go's `omitempty` omits the value.
    fn is_empty(&self) -> bool {
        false
    }
}

impl<'a> Value<'a> for Bin<'a> {
    #[inline]
    fn decode(reader: &mut Reader<'a>) -> Result<Self, Error> {
        reader.bytes()
    }

    #[inline]
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.bytes(self.0.as_deref());
    }

    fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }
}

/// Go's `string`: bytes, not validated as UTF-8.
impl<'a> Value<'a> for &'a [u8] {
    #[inline]
    fn decode(reader: &mut Reader<'a>) -> Result<Self, Error> {
        reader.str()
    }

    #[inline]
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.str(self);
    }

    fn is_empty(&self) -> bool {
        <[u8]>::is_empty(self)
    }
}

impl<'a> Value<'a> for bool {
    #[inline]
    fn decode(reader: &mut Reader<'a>) -> Result<Self, Error> {
        reader.bool()
    }

    #[inline]
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.bool(*self);
    }

    fn is_empty(&self) -> bool {
        !self
    }
}

/// Go's `int`, `int64` and `time.Duration`.
impl<'a> Value<'a> for i64 {
    #[inline]
    fn decode(reader: &mut Reader<'a>) -> Result<Self, Error> {
        reader.i64()
    }

    #[inline]
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.int(*self);
    }

    fn is_empty(&self) -> bool {
        *self == 0
    }
}

impl<'a> Value<'a> for f64 {
    #[inline]
    fn decode(reader: &mut Reader<'a>) -> Result<Self, Error> {
        reader.f64()
    }

    #[inline]
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.f64(*self);
    }

    fn is_empty(&self) -> bool {
        *self == 0.0
    }
}

/// A nil pointer in Go is `None`.
impl<'a, T: Value<'a>> Value<'a> for Option<T> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, Error> {
        if reader.take_nil() { Ok(None) } else { T::decode(reader).map(Some) }
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        match self {
            Some(value) => value.encode(writer),
            None => writer.nil(),
        }
    }

    fn is_empty(&self) -> bool {
        self.is_none()
    }
}

macro_rules! unsigned {
    ($($ty:ident),*) => {$(
        impl<'a> Value<'a> for $ty {
            #[inline]
            fn decode(reader: &mut Reader<'a>) -> Result<Self, Error> {
                reader.$ty()
            }

            #[inline]
            fn encode(&self, writer: &mut Writer<'_>) {
                writer.uint(u64::from(*self));
            }

            fn is_empty(&self) -> bool {
                *self == 0
            }
        }
    )*};
}

unsigned!(u8, u16, u32, u64);
