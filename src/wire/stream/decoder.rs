//! Incremental decoding of what one end of a connection sends.

use bytes::Bytes;

use super::{
    PushPull, Role, StreamCodec, StreamError, StreamMessage, StreamPart,
    codec::{Aad, FRAME_LEN},
    message::Seen,
    stage::{Cut, Stage},
};
use crate::{
    msgpack::{self, Reader, Scanner, Value},
    wire::{
        Ack, CryptoError, DecodeError, ErrorReply, ForeignProtocol, NodeState, Ping,
        PushPullHeader, UserHeader, Versions,
        compress::Decompressor,
        crypto, label,
        limits::{
            DECOMPRESSED_BYTES_MAX, DECOMPRESSED_RATIO_MAX, PUSH_PULL_ROWS_MAX, STREAM_BYTES_MAX,
            STREAM_HEADER_BYTES_MAX,
        },
        message::kind,
    },
};

/// Incremental decoder of what one end sends: feed it the bytes that the socket delivers.
///
/// Holds at most about twice the bytes received and never more than the limits allow; never waits
/// for the end of the stream. Each byte is examined a bounded number of times, however small the
/// pieces are.
pub struct StreamDecoder {
    codec: StreamCodec,
    role: Role,
    buf: Vec<u8>,
    /// Bytes of `buf` that are already consumed.
    taken: usize,
    /// Where the body of the message begins, or of its compressed form: after its type byte.
    body: usize,
    stage: Stage,
    layers: Layers,
    /// Versions of the rows decoded so far.
    versions: Versions,
    /// Scanner for the end of the value at `taken`, if part of it has been scanned.
    scanner: Option<Scanner>,
    /// Observations for `serf decode`, if requested.
    seen: Option<Box<Seen>>,
}

impl std::fmt::Debug for StreamDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamDecoder")
            .field("role", &self.role)
            .field("buffered", &self.buf.len())
            .finish_non_exhaustive()
    }
}

/// Which layers have been removed.
#[derive(Clone, Copy, PartialEq)]
enum Layers {
    /// None: the bytes received are the message itself.
    None,
    /// Encryption: `buf` holds the whole message and no more of it can arrive.
    Decrypted,
    /// Compression, too: no further compression is allowed.
    Decompressed,
}

/// Result of a stage.
enum Step {
    Next(Stage),
    More,
    Packed,
    Message(StreamMessage),
}

/// How far a stream has been decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The message is not complete yet.
    More,
    /// The message is complete but compressed: [`StreamDecoder::unpack`] decompresses it.
    Packed,
    /// The message is complete.
    Message(StreamMessage),
}

type Progress = Result<Step, StreamError>;

impl StreamDecoder {
    /// Creates a decoder for the bytes of the other end; `role` is ours.
    pub fn new(codec: StreamCodec, role: Role) -> Self {
        let stage = match role {
            Role::Acceptor => Stage::Label,
            Role::Dialer => Stage::Outer,
        };
        let layers = Layers::None;
        let versions = Versions::default();
        Self {
            codec,
            role,
            buf: Vec::new(),
            taken: 0,
            body: 0,
            stage,
            layers,
            versions,
            scanner: None,
            seen: None,
        }
    }

    /// Also records observations for `serf decode`.
    #[cfg(feature = "agent")]
    pub(crate) fn observing(self) -> Self {
        Self { seen: Some(Box::default()), ..self }
    }

    /// The observations recorded so far.
    #[cfg(feature = "agent")]
    pub(crate) fn seen(&self) -> Option<&Seen> {
        self.seen.as_deref()
    }

    /// Adds bytes; returns the message once it is complete, whatever its decompressed size. Bytes
    /// after the message are ignored.
    ///
    /// # Errors
    /// See [`StreamError`]; the decoder ignores bytes added after an error. A dialer never gets
    /// [`StreamError::Refuse`].
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<StreamMessage>, StreamError> {
        let decoded = match self.push(bytes)? {
            Decoded::Packed => self.unpack(DECOMPRESSED_BYTES_MAX)?,
            decoded @ (Decoded::More | Decoded::Message(_)) => decoded,
        };
        Ok(match decoded {
            Decoded::Message(message) => Some(message),
            Decoded::More | Decoded::Packed => None,
        })
    }

    /// Adds bytes, which takes the memory given by [`StreamDecoder::room`]. Does not decompress.
    ///
    /// # Errors
    /// As [`StreamDecoder::feed`].
    #[doc(hidden)]
    pub fn push(&mut self, bytes: &[u8]) -> Result<Decoded, StreamError> {
        match self.stage {
            Stage::Done => return Ok(Decoded::More),
            Stage::Packed { .. } => return Ok(Decoded::Packed),
            _ => {}
        }
        self.buf.reserve_exact(self.room(bytes.len()) - self.buf.len());
        self.buf.extend_from_slice(bytes);
        let result = self.run();
        self.end_with(result)
    }

    /// Decompresses the message if it takes at most `bytes_max`; otherwise the result is still
    /// [`Decoded::Packed`]. Takes up to `bytes_max` in addition to the buffered bytes.
    ///
    /// # Errors
    /// As [`StreamDecoder::feed`].
    #[doc(hidden)]
    pub fn unpack(&mut self, bytes_max: usize) -> Result<Decoded, StreamError> {
        let Stage::Packed { start } = self.stage else { return Ok(Decoded::More) };
        let result = match self.decompress(start, bytes_max) {
            Ok(true) => self.run(),
            Ok(false) => return Ok(Decoded::Packed),
            Err(error) => Err(StreamError::Refuse(error)),
        };
        self.end_with(result)
    }

    /// Bytes of memory held now.
    #[doc(hidden)]
    pub fn buffered(&self) -> usize {
        self.buf.capacity()
    }

    /// Bytes of memory held after adding `more` bytes: the buffer doubles when it is full.
    #[doc(hidden)]
    pub fn room(&self, more: usize) -> usize {
        let (capacity, wanted) = (self.buf.capacity(), self.buf.len().saturating_add(more));
        if wanted <= capacity { capacity } else { wanted.max(capacity.saturating_mul(2)) }
    }

    /// Whether nothing has arrived, at most a label.
    #[cfg(all(feature = "driver", not(target_family = "wasm")))]
    pub(crate) fn is_at_start(&self) -> bool {
        matches!(self.stage, Stage::Label | Stage::Outer) && self.rest().is_empty()
    }

    /// What is being read.
    pub(crate) fn part(&self) -> StreamPart {
        self.stage.part()
    }

    /// What Go reports of a stream that goes on no further.
    pub(crate) fn cut(&self) -> Cut {
        self.stage.cut(self.rest(), self.taken.saturating_sub(self.body))
    }

    /// Drops the buffer once there is nothing more to decode.
    fn end_with(&mut self, result: Result<Decoded, StreamError>) -> Result<Decoded, StreamError> {
        let part = self.part();
        if matches!(result, Ok(Decoded::Message(_)) | Err(_)) {
            self.see(|seen, decoder| seen.surplus += decoder.rest().len());
            self.stage = Stage::Done;
            self.buf = Vec::new();
            self.taken = 0;
        }
        result.map_err(|error| match (self.role, error) {
            (Role::Dialer, StreamError::Refuse(error)) => StreamError::Close(error),
            (Role::Acceptor, StreamError::Close(error))
                if !matches!(part, StreamPart::Label | StreamPart::Layers) =>
            {
                StreamError::Body(part, error)
            }
            (_, error) => error,
        })
    }

    fn run(&mut self) -> Result<Decoded, StreamError> {
        loop {
            match self.step()? {
                Step::Next(stage) => self.stage = stage,
                Step::Packed => return Ok(Decoded::Packed),
                Step::Message(message) => return Ok(Decoded::Message(message)),
                Step::More if self.layers == Layers::None => return Ok(Decoded::More),
                Step::More => return Err(self.incomplete()),
            }
        }
    }

    /// No more can arrive.
    fn incomplete(&self) -> StreamError {
        let cut = self.cut();
        match self.part() {
            StreamPart::Layers if cut.is_of_input() => StreamError::Refuse(cut.error),
            _ => StreamError::Close(cut.error),
        }
    }

    fn step(&mut self) -> Progress {
        match self.stage {
            Stage::Label => self.label(),
            Stage::Outer => self.outer(),
            Stage::Encrypted => self.encrypted(),
            Stage::Inner => self.inner(),
            Stage::Compressed => self.compressed(),
            Stage::Packed { .. } => Ok(Step::Packed),
            Stage::Ping => self.ping(),
            Stage::Ack => self.ack(),
            Stage::Error => self.error_reply(),
            Stage::PushPullHeader => self.push_pull_header(),
            Stage::Rows { header, start, left } => self.rows(header, start, left),
            Stage::UserState { header, rows_start } => self.user_state(header, rows_start),
            Stage::UserHeader => self.user_header(),
            Stage::User { len } => self.user(len),
            Stage::Done => Ok(Step::More),
        }
    }

    fn label(&mut self) -> Progress {
        let Some(&first) = self.rest().first() else { return Ok(Step::More) };
        if let Some(protocol) = ForeignProtocol::guess(first) {
            // Go would reply to an unencrypted stream with an error here; no gossip node sees the
            // difference.
            return Err(StreamError::Close(DecodeError::ForeignProtocol(protocol)));
        }
        let (label, rest) = match label::split(self.rest()) {
            Ok(split) => split,
            Err(DecodeError::TruncatedLabel) => return Ok(Step::More),
            Err(error) => return Err(StreamError::Close(error)),
        };
        let config = &*self.codec.config;
        label::check(&config.label, label).map_err(StreamError::Close)?;
        self.taken = self.buf.len() - rest.len();
        Ok(Step::Next(Stage::Outer))
    }

    fn outer(&mut self) -> Progress {
        let config = &*self.codec.config;
        let Some(&first) = self.rest().first() else { return Ok(Step::More) };
        if first != kind::ENCRYPT {
            if !config.keyring.is_empty() && config.verify_incoming {
                return Err(StreamError::Refuse(CryptoError::PlaintextRefused.into()));
            }
            return Ok(Step::Next(Stage::Inner));
        }
        if config.keyring.is_empty() {
            return Err(StreamError::Refuse(CryptoError::NotConfigured.into()));
        }
        Ok(Step::Next(Stage::Encrypted))
    }

    fn encrypted(&mut self) -> Progress {
        let Some((&frame, payload)) = self.rest().split_first_chunk::<FRAME_LEN>() else {
            return Ok(Step::More);
        };
        let [_, len @ ..] = frame;
        let len = u32::from_be_bytes(len) as usize;
        if len > STREAM_BYTES_MAX {
            let got = len as u64;
            return Err(StreamError::Refuse(DecodeError::TooLarge {
                what: "remote node state",
                got,
            }));
        }
        if payload.len() < len {
            return Ok(Step::More);
        }
        let config = &*self.codec.config;
        let start = self.taken + FRAME_LEN;
        let surplus = payload.len() - len;
        let payload = self.buf.get_mut(start..start + len).unwrap_or_default();
        let (plaintext, sealed) = Aad::new(frame, &config.label)
            .with(|aad| crypto::open_sealed(&config.keyring, aad, payload, None))
            .map_err(|error| StreamError::Refuse(error.into()))?;
        if let Some(seen) = &mut self.seen {
            seen.sealed = Some(sealed);
            seen.surplus += surplus;
        }
        self.buf.truncate(start + plaintext.end);
        self.taken = start + plaintext.start;
        self.layers = Layers::Decrypted;
        if self.rest().is_empty() {
            return Err(StreamError::Close(DecodeError::Empty));
        }
        Ok(Step::Next(Stage::Inner))
    }

    fn inner(&mut self) -> Progress {
        let Some(&kind) = self.rest().first() else { return Ok(Step::More) };
        self.taken += 1;
        self.body = self.taken;
        let next = match (kind, self.role) {
            (kind::COMPRESS, _) if self.layers != Layers::Decompressed => Stage::Compressed,
            (kind::PUSH_PULL, _) => Stage::PushPullHeader,
            (kind::PING, Role::Acceptor) => Stage::Ping,
            (kind::USER, Role::Acceptor) => Stage::UserHeader,
            (kind::ACK, Role::Dialer) => Stage::Ack,
            (kind::ERROR, Role::Dialer) => Stage::Error,
            (kind, _) => return Err(StreamError::Close(DecodeError::unsupported(kind))),
        };
        Ok(Step::Next(next))
    }

    fn compressed(&mut self) -> Progress {
        let whole = self.whole("compressed message", DECOMPRESSED_BYTES_MAX);
        let Some(body) = whole.map_err(StreamError::Refuse)? else { return Ok(Step::More) };
        self.see(|seen, decoder| {
            seen.compressed = true;
            seen.surplus += decoder.rest().len();
        });
        self.buf.truncate(body.end);
        Ok(Step::Next(Stage::Packed { start: body.start }))
    }

    /// Replaces the buffer by the decompressed message; returns false if it would exceed
    /// `bytes_max` but not the limit.
    fn decompress(&mut self, start: usize, bytes_max: usize) -> Result<bool, DecodeError> {
        let mut allowed = 0;
        let limit = |packed: usize| {
            let by_ratio = packed.saturating_mul(DECOMPRESSED_RATIO_MAX).saturating_add(64 * 1024);
            allowed = by_ratio.min(DECOMPRESSED_BYTES_MAX);
            allowed.min(bytes_max)
        };
        let mut message = Vec::new();
        let body = self.buf.get(start..).unwrap_or_default();
        let most = body.len().saturating_mul(DECOMPRESSED_RATIO_MAX).min(bytes_max);
        if most > GROWN_MAX {
            message.reserve_exact(DECOMPRESSED_BYTES_MAX);
        }
        match Decompressor::new().decompress(body, limit, &mut message) {
            Err(DecodeError::DecompressedTooLarge { .. }) if bytes_max < allowed => {
                return Ok(false);
            }
            result => result?,
        }
        if message.is_empty() {
            return Err(DecodeError::DecompressedEmpty);
        }
        self.buf = message;
        self.taken = 0;
        self.layers = Layers::Decompressed;
        self.stage = Stage::Inner;
        Ok(true)
    }

    fn ping(&mut self) -> Progress {
        let Some(mut reader) = self.header("ping")? else { return Ok(Step::More) };
        let ping = Ping::decode(&mut reader).map_err(close)?;
        let (seq_no, node) = (ping.seq_no, ping.node.to_vec());
        Ok(Step::Message(StreamMessage::Ping { seq_no, node }))
    }

    fn ack(&mut self) -> Progress {
        let Some(mut reader) = self.header("ack")? else { return Ok(Step::More) };
        let ack = Ack::decode(&mut reader).map_err(close)?;
        Ok(Step::Message(StreamMessage::Ack { seq_no: ack.seq_no }))
    }

    fn error_reply(&mut self) -> Progress {
        let Some(mut reader) = self.header("error reply")? else { return Ok(Step::More) };
        let reply = ErrorReply::decode(&mut reader).map_err(close)?;
        let text = String::from_utf8_lossy(reply.error).into_owned();
        Ok(Step::Message(StreamMessage::Error(text)))
    }

    fn push_pull_header(&mut self) -> Progress {
        let Some(mut reader) = self.header("push/pull header")? else { return Ok(Step::More) };
        let header = PushPullHeader::decode(&mut reader).map_err(close)?;
        let left = bounded("number of nodes in header", header.nodes, PUSH_PULL_ROWS_MAX)?;
        bounded("user state length", header.user_state_len, STREAM_BYTES_MAX)?;
        Ok(Step::Next(Stage::Rows { header, start: self.taken, left }))
    }

    /// Decodes each row once it has arrived. A row that is truncated at the end of the buffer is
    /// scanned until it is complete, so that no row is decoded more than twice.
    fn rows(&mut self, header: PushPullHeader, start: usize, mut left: usize) -> Progress {
        while left > 0 {
            let scanned = self.scanner.is_some();
            if scanned {
                let budget = DECOMPRESSED_BYTES_MAX.saturating_sub(self.taken);
                let whole = self.whole("push/pull", budget);
                let Some(row) = whole.map_err(StreamError::Close)? else { break };
                self.taken = row.start;
            }
            let rest = self.buf.get(self.taken..).unwrap_or_default();
            let mut reader = Reader::new(rest);
            match NodeState::decode(&mut reader) {
                Ok(row) => {
                    self.versions.add(row.is_alive(), row.vsn.as_slice());
                    self.taken += reader.position();
                    left -= 1;
                }
                Err(msgpack::Error::Truncated) if self.layers == Layers::None && !scanned => {
                    self.scanner = Some(Scanner::new());
                }
                Err(error) => return Err(close(error.after(self.taken - self.body))),
            }
        }
        if left > 0 {
            self.stage = Stage::Rows { header, start, left };
            return Ok(Step::More);
        }
        Ok(Step::Next(Stage::UserState { header, rows_start: start }))
    }

    fn user_state(&mut self, header: PushPullHeader, rows_start: usize) -> Progress {
        let len = usize::try_from(header.user_state_len).unwrap_or_default();
        let end = self.taken.saturating_add(len);
        if self.buf.len() < end {
            return Ok(Step::More);
        }
        let buf = self.take_buf(end);
        Ok(Step::Message(StreamMessage::PushPull(PushPull {
            join: header.join,
            row_count: usize::try_from(header.nodes).unwrap_or_default(),
            rows: buf.slice(rows_start..self.taken),
            versions: self.versions.clone(),
            user_state: buf.slice(self.taken..end),
            #[cfg(feature = "sim")]
            shared: None,
        })))
    }

    fn user_header(&mut self) -> Progress {
        let Some(mut reader) = self.header("user message header")? else { return Ok(Step::More) };
        let header = UserHeader::decode(&mut reader).map_err(close)?;
        let len = bounded("user message length", header.user_msg_len, STREAM_BYTES_MAX)?;
        Ok(Step::Next(Stage::User { len }))
    }

    fn user(&mut self, len: usize) -> Progress {
        let end = self.taken.saturating_add(len);
        if self.buf.len() < end {
            return Ok(Step::More);
        }
        let buf = self.take_buf(end);
        Ok(Step::Message(StreamMessage::User(buf.slice(self.taken..end))))
    }

    /// Takes the buffer up to the end of the message; drops what follows.
    fn take_buf(&mut self, end: usize) -> Bytes {
        self.see(|seen, decoder| seen.surplus += decoder.buf.len() - end);
        let mut buf = std::mem::take(&mut self.buf);
        buf.truncate(end);
        if buf.capacity() <= GROWN_MAX {
            buf.shrink_to_fit();
        } else if end <= GROWN_MAX {
            buf = buf.as_slice().to_vec();
        }
        buf.into()
    }

    /// Reads the small value at `taken`, once it is complete.
    fn header(&mut self, what: &'static str) -> Result<Option<Reader<'_>>, StreamError> {
        let value = self.whole(what, STREAM_HEADER_BYTES_MAX).map_err(StreamError::Close)?;
        if let (Some(seen), Some(value)) = (&mut self.seen, &value) {
            seen.header = self.buf.get(value.clone()).unwrap_or_default().to_vec();
        }
        Ok(value.map(|value| Reader::new(self.buf.get(value).unwrap_or_default())))
    }

    /// Consumes the value at `taken` once it is complete; returns its range.
    fn whole(
        &mut self,
        what: &'static str,
        bytes_max: usize,
    ) -> Result<Option<std::ops::Range<usize>>, DecodeError> {
        let rest = self.buf.get(self.taken..).unwrap_or_default();
        let scanner = self.scanner.get_or_insert_default();
        let whole = match scanner.advance(rest) {
            Ok(whole) => whole,
            Err(error) => {
                // Go decodes what precedes first.
                let cut = self.cut();
                return Err(if cut.is_of_input() { cut.error } else { error.into() });
            }
        };
        let got = scanner.len_min();
        if got > bytes_max as u64 {
            return Err(DecodeError::TooLarge { what, got });
        }
        let Some(len) = whole else { return Ok(None) };
        self.scanner = None;
        let start = self.taken;
        self.taken += len;
        Ok(Some(start..self.taken))
    }

    fn rest(&self) -> &[u8] {
        self.buf.get(self.taken..).unwrap_or_default()
    }

    fn see(&mut self, what: impl FnOnce(&mut Seen, &Self)) {
        if let Some(mut seen) = self.seen.take() {
            what(&mut seen, self);
            self.seen = Some(seen);
        }
    }
}

/// Validates a Go `int` as a length.
fn bounded(what: &'static str, got: i64, max: usize) -> Result<usize, StreamError> {
    match usize::try_from(got) {
        Ok(len) if len <= max => Ok(len),
        Ok(_) | Err(_) => Err(StreamError::Close(DecodeError::Length { what, got })),
    }
}

fn close(error: msgpack::Error) -> StreamError {
    StreamError::Close(error.into())
}

/// For a message that may decompress to more than this, memory for the largest allowed size is
/// allocated at once and kept while the message is held: untouched pages cost nothing, nothing is
/// copied while it grows, and glibc returns blocks above 32 MiB to the system immediately, without
/// raising its mmap threshold. With buffers of a few MiB that come and go, glibc keeps more and
/// more free memory.
const GROWN_MAX: usize = 1024 * 1024;
