//! Go's `[]byte`, which may be nil.

use std::borrow::Cow;

/// A byte string that may be nil on the wire. Nil and empty compare unequal here because Go
/// encodes them differently, but protocol rules treat them alike: use [`Bin::as_slice`] there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bin<'a>(pub Option<Cow<'a, [u8]>>);

impl<'a> Bin<'a> {
    /// Go's nil slice.
    pub const NIL: Self = Self(None);

    /// The bytes; empty if nil.
    pub fn as_slice(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl<'a> From<&'a [u8]> for Bin<'a> {
    #[inline]
    fn from(bytes: &'a [u8]) -> Self {
        Self(Some(Cow::Borrowed(bytes)))
    }
}
