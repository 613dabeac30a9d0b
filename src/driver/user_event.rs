//! A user event on its way out.

use bytes::Bytes;

/// A user event to send.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct UserEventSpec {
    pub(super) name: Vec<u8>,
    pub(super) payload: Bytes,
    pub(super) coalesce: bool,
}

impl UserEventSpec {
    /// An event that is always delivered. Names are text, but any bytes are taken.
    pub fn new(name: impl AsRef<[u8]>, payload: impl Into<Bytes>) -> Self {
        Self { name: name.as_ref().to_owned(), payload: payload.into(), coalesce: false }
    }

    /// Lets receivers that coalesce deliver only the newest event of this name.
    pub fn coalesce(mut self, coalesce: bool) -> Self {
        self.coalesce = coalesce;
        self
    }
}
