//! Splits a connection into values.

#[cfg(feature = "agent")]
use std::{
    future::{Future as _, poll_fn},
    pin::pin,
    task::Poll,
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt};
use zeroize::Zeroize as _;

use super::RpcError;
use crate::{
    msgpack::{self, Dialect, Scanner, Serializer, Writer},
    serf,
};

/// Splits a byte stream into MessagePack values, whatever the pieces in which they arrive.
#[derive(Debug)]
pub struct FrameReader<R> {
    input: R,
    buffer: Vec<u8>,
    start: usize,
    /// Bytes of all values that were taken.
    taken: usize,
    scanner: Scanner,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Creates a reader of `input`.
    pub fn new(input: R) -> Self {
        Self { input, buffer: Vec::new(), start: 0, taken: 0, scanner: Scanner::new() }
    }

    /// Reads the next value; `None` if the stream ends between two values.
    ///
    /// Cancel-safe: received bytes are kept.
    ///
    /// # Errors
    /// The value is malformed, larger than `max` bytes or incomplete, or the socket failed.
    pub async fn next(&mut self, max: usize) -> Result<Option<&[u8]>, RpcError> {
        Ok(match self.arrive(max).await? {
            Some(len) => Some(self.take(len)),
            None => None,
        })
    }

    /// Waits for the next value without consuming it; returns its length. After
    /// [`RpcError::TooLarge`] it may be called again with another `max`.
    pub(crate) async fn arrive(&mut self, max: usize) -> Result<Option<usize>, RpcError> {
        loop {
            if let Some(len) = self.buffered(max)? {
                return Ok(Some(len));
            }
            self.make_room();
            if self.input.read_buf(&mut self.buffer).await? == 0 {
                let clean = self.buffer.len() == self.start;
                return if clean { Ok(None) } else { Err(RpcError::Truncated) };
            }
        }
    }

    /// Resolves when the stream has ended. Reads ahead to detect that; while `max` unread bytes are
    /// buffered, the end is not detected.
    ///
    /// Cancel-safe: received bytes are kept.
    #[cfg(feature = "agent")]
    pub(crate) async fn ended(&mut self, max: usize) {
        while self.buffer.len() - self.start < max {
            self.make_room();
            if matches!(self.input.read_buf(&mut self.buffer).await, Ok(0) | Err(_)) {
                return;
            }
        }
        std::future::pending().await
    }

    /// Reads available bytes without waiting; returns whether there were any.
    #[cfg(feature = "agent")]
    pub(crate) async fn read_ready(&mut self) -> bool {
        self.make_room();
        let mut read = pin!(self.input.read_buf(&mut self.buffer));
        let read = poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx))).await;
        // The next read reports the end or the error again.
        matches!(read, Poll::Ready(Ok(1..)))
    }

    /// Whether the next value has not arrived completely yet.
    ///
    /// # Errors
    /// See [`Self::next`].
    pub fn is_next_missing(&mut self, max: usize) -> Result<bool, RpcError> {
        Ok(self.buffered(max)?.is_none())
    }

    /// Where the next value begins.
    #[cfg(feature = "agent")]
    pub(crate) fn position(&self) -> usize {
        self.taken
    }

    /// What Go says of a next value that is of this type and is broken: it decodes what precedes
    /// the fault first, and counts from the beginning of the connection.
    #[cfg(feature = "agent")]
    pub(crate) fn explain<T: DeserializeOwned>(&self, error: RpcError) -> RpcError {
        let pending = self.buffer.get(self.start..).unwrap_or_default();
        match (msgpack::from_slice::<T>(pending), error) {
            (Err(reason), RpcError::Decode(_) | RpcError::Truncated)
                if reason != msgpack::Error::Truncated =>
            {
                RpcError::Decode(reason.after(self.taken))
            }
            (_, RpcError::Decode(reason)) => RpcError::Decode(reason.after(self.taken)),
            (_, error) => error,
        }
    }

    fn buffered(&mut self, max: usize) -> Result<Option<usize>, RpcError> {
        let pending = self.buffer.get(self.start..).unwrap_or_default();
        let len = self.scanner.advance(pending)?;
        let least = len.map_or(self.scanner.len_min(), |len| len as u64);
        if least > max as u64 || (len.is_none() && pending.len() > max) {
            return Err(RpcError::TooLarge { max });
        }
        Ok(len)
    }

    fn take(&mut self, len: usize) -> &[u8] {
        self.scanner = Scanner::new();
        let from = self.start;
        self.start += len;
        self.taken = self.taken.wrapping_add(len);
        self.buffer.get(from..self.start).unwrap_or_default()
    }

    fn make_room(&mut self) {
        if self.start > 0 {
            // It may contain tokens and keys.
            self.buffer.get_mut(..self.start).unwrap_or_default().zeroize();
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        if self.buffer.len() <= ROOM && self.buffer.capacity() > 4 * ROOM {
            self.buffer.shrink_to(ROOM);
        }
        self.buffer.reserve(ROOM);
    }
}

/// Appends a value in the RPC dialect.
pub fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    let result = value.serialize(&mut Serializer::new(out, Dialect::Rpc));
    debug_assert!(result.is_ok(), "bodies have no shape that the dialect lacks");
}

/// Decodes a whole value as leniently as Go does.
///
/// # Errors
/// The value has another shape or type.
pub fn decode<T: DeserializeOwned>(value: &[u8]) -> Result<T, RpcError> {
    Ok(msgpack::from_slice(value)?)
}

/// An upper bound of what [`encode_members`] appends.
pub(crate) fn members_bytes_max<'m>(members: impl Iterator<Item = &'m serf::Member>) -> usize {
    members.fold(5, |sum, member| {
        let tags = member.tags.iter().map(|(name, value)| name.len() + value.len() + 10);
        sum + MEMBER_BYTES + member.name.len() + member.addr.len() + tags.sum::<usize>()
    })
}

/// Appends an array of member records, without copying each member first.
pub fn encode_members<'m>(
    members: impl ExactSizeIterator<Item = &'m serf::Member> + Clone,
    out: &mut Vec<u8>,
) {
    out.reserve(members_bytes_max(members.clone()));
    let mut writer = Writer::with_dialect(out, Dialect::Rpc);
    writer.array(members.len());
    for member in members {
        encode_member(member, out);
    }
}

/// Appends one member record, keys in bytewise order. The keys are encoded already: a list of
/// members has many.
pub(crate) fn encode_member(member: &serf::Member, out: &mut Vec<u8>) {
    let mut writer = Writer::with_dialect(out, Dialect::Rpc);
    let [p_min, p_max, p_cur, d_min, d_max, d_cur] = member.vsn.0.map(u64::from);
    // A map of eleven.
    writer.encoded(b"\x8b\xa4Addr");
    match member.addr().map(|addr| addr.ip()) {
        Some(std::net::IpAddr::V4(ip)) => writer.bytes(Some(&ip.octets())),
        Some(std::net::IpAddr::V6(ip)) => writer.bytes(Some(&ip.octets())),
        None if member.addr.is_empty() => writer.nil(),
        None => writer.bytes(Some(&member.addr)),
    }
    writer.encoded(b"\xabDelegateCur");
    writer.uint(d_cur);
    writer.encoded(b"\xabDelegateMax");
    writer.uint(d_max);
    writer.encoded(b"\xabDelegateMin");
    writer.uint(d_min);
    writer.encoded(b"\xa4Name");
    writer.str(member.name.as_bytes());
    writer.encoded(b"\xa4Port");
    writer.uint(u64::from(member.port));
    writer.encoded(b"\xabProtocolCur");
    writer.uint(p_cur);
    writer.encoded(b"\xabProtocolMax");
    writer.uint(p_max);
    writer.encoded(b"\xabProtocolMin");
    writer.uint(p_min);
    writer.encoded(b"\xa6Status");
    writer.str(member.status.as_str());
    writer.encoded(b"\xa4Tags");
    let tags = member.tags.iter();
    writer.map(tags.len());
    for (name, value) in tags {
        writer.str(name);
        writer.str(value);
    }
}

/// Bytes of a member record without its texts: keys, numbers, status and value headers.
const MEMBER_BYTES: usize = 176;
/// Bytes read at a time; a buffer that has grown much larger shrinks again.
const ROOM: usize = 16 << 10;
