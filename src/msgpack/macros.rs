//! Declares encoding and decoding of a message in one place.

/// Implements [`Value`](crate::msgpack::Value) for a struct whose fields are all `Value`s and
/// which has a `Default`.
///
/// `wire` lists the fields in the order of their sorted keys (checked at compile time); `omitempty`
/// after a key omits empty values. `declared` lists the same keys in the order of the Go struct,
/// which is the order of a message that is encoded as an array.
///
/// ```
/// use ruserf::msgpack::{Reader, Value, Writer, message};
///
/// #[derive(Default)]
/// struct Join<'a> {
///     ltime: u64,
///     node: &'a [u8],
/// }
///
/// message! {
///     impl<'a> Join<'a> {
///         wire: { ltime: "LTime", node: "Node" },
///         declared: ["LTime", "Node"],
///     }
/// }
///
/// let mut out = Vec::new();
/// Join { ltime: 1, node: b"n" }.encode(&mut Writer::new(&mut out));
/// assert_eq!(out, b"\x82\xa5LTime\x01\xa4Node\xa1n");
/// assert_eq!(Join::decode(&mut Reader::new(&out)).unwrap().node, b"n");
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! __msgpack_message {
    (
        impl<$lt:lifetime> $ty:ty {
            wire: { $($field:ident: $key:literal $($omitempty:ident)?),+ $(,)? },
            declared: [$($declared:literal),+ $(,)?] $(,)?
        }
    ) => {
        impl<$lt> $crate::msgpack::Value<$lt> for $ty {
            #[inline]
            fn decode(
                reader: &mut $crate::msgpack::Reader<$lt>,
            ) -> Result<Self, $crate::msgpack::Error> {
                const DECLARED: &[&str] = &[$($declared),+];
                const _: () = assert!($crate::msgpack::is_sorted(&[$($key),+]));
                const _: () = assert!($crate::msgpack::is_permutation(&[$($key),+], DECLARED));
                $(const _: () = assert!($key.len() < 32);)+
                // A separate function: Go sorts its keys, so few messages need it.
                #[cold]
                fn field<$lt>(
                    value: &mut $ty,
                    reader: &mut $crate::msgpack::Reader<$lt>,
                    key: &[u8],
                ) -> Result<(), $crate::msgpack::Error> {
                    $(if key == $key.as_bytes() {
                        value.$field = $crate::msgpack::Value::decode(reader)?;
                        return Ok(());
                    })+
                    reader.skip()
                }

                let mut value = Self::default();
                let Some(mut left) = reader.take_map_len()? else {
                    reader.declared_fields(DECLARED, |reader, key| field(&mut value, reader, key))?;
                    return Ok(value);
                };
                $(if left > 0 && reader.take_key($key) {
                    value.$field = $crate::msgpack::Value::decode(reader)?;
                    left -= 1;
                })+
                for _ in 0..left {
                    let key = reader.str()?;
                    field(&mut value, reader, key)?;
                }
                Ok(value)
            }

            #[inline]
            fn encode(&self, writer: &mut $crate::msgpack::Writer<'_>) {
                let len = 0usize $(+ usize::from(
                    $crate::__msgpack_message!(@present self.$field $(, $omitempty)?)
                ))+;
                writer.map(len);
                $(if $crate::__msgpack_message!(@present self.$field $(, $omitempty)?) {
                    writer.str($key);
                    $crate::msgpack::Value::encode(&self.$field, writer);
                })+
            }
        }
    };
    (@present $value:expr) => { true };
    (@present $value:expr, omitempty) => { !$crate::msgpack::Value::is_empty(&$value) };
}

/// Whether keys are in strictly ascending bytewise order, as Go writes them.
pub const fn is_sorted(mut keys: &[&str]) -> bool {
    while let [first, rest @ ..] = keys {
        if let [second, ..] = rest
            && !less(first.as_bytes(), second.as_bytes())
        {
            return false;
        }
        keys = rest;
    }
    true
}

/// Whether both lists hold the same keys (the first without duplicates).
pub const fn is_permutation(keys: &[&str], declared: &[&str]) -> bool {
    let mut rest = keys;
    while let [key, others @ ..] = rest {
        if !contains(declared, key.as_bytes()) {
            return false;
        }
        rest = others;
    }
    keys.len() == declared.len()
}

const fn contains(mut keys: &[&str], key: &[u8]) -> bool {
    while let [first, rest @ ..] = keys {
        if !less(first.as_bytes(), key) && !less(key, first.as_bytes()) {
            return true;
        }
        keys = rest;
    }
    false
}

const fn less(mut a: &[u8], mut b: &[u8]) -> bool {
    loop {
        match (a, b) {
            ([x, rest_a @ ..], [y, rest_b @ ..]) if *x == *y => (a, b) = (rest_a, rest_b),
            ([x, ..], [y, ..]) => return *x < *y,
            ([], [_, ..]) => return true,
            (_, []) => return false,
        }
    }
}
