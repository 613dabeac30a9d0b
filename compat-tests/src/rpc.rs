//! A plain RPC client, for tests that ask the same of both kinds of agents.
//!
//! The client has a MessagePack of its own, so that no test reads our bytes with our decoder. For
//! tests: everything panics when an agent does not do what was asked of it.

use std::{
    fmt,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
};

use crate::{net::Net, wait::PATIENCE};

/// A MessagePack value. Two values are equal when their bytes are: what has a length is always
/// written with the shortest header, which [`Value::decode`] checks.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// Nil, booleans and numbers as their bytes.
    Scalar(Vec<u8>),
    /// Text, maybe no UTF-8.
    Str(Vec<u8>),
    /// Bytes.
    Bin(Vec<u8>),
    /// Values in order.
    Array(Vec<Value>),
    /// Pairs in order.
    Map(Vec<(Value, Value)>),
}

impl Value {
    /// Takes a value from the front of `input`; `None`: there is more to come.
    ///
    /// # Panics
    /// When the bytes are no value as Go writes them.
    pub fn decode(input: &[u8]) -> Option<(Self, usize)> {
        let mut reader = Reader { input, at: 0 };
        let value = reader.value()?;
        let used = reader.at;
        assert_eq!(value.encode(), input[..used], "{value:?} has a longer header than needed");
        Some((value, used))
    }

    /// All values of `bytes`.
    ///
    /// # Panics
    /// When the last one is not whole.
    pub fn all(mut bytes: &[u8]) -> Vec<Self> {
        let mut values = Vec::new();
        while !bytes.is_empty() {
            let (value, used) = Self::decode(bytes).expect("a whole value");
            values.push(value);
            bytes = &bytes[used..];
        }
        values
    }

    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// Nil.
    pub fn nil() -> Self {
        Self::Scalar(vec![0xc0])
    }

    /// A map with these pairs.
    pub fn map<const N: usize>(pairs: [(&str, Value); N]) -> Self {
        Self::Map(pairs.map(|(key, value)| (key.into(), value)).into())
    }

    /// An array of texts.
    pub fn texts(texts: &[&str]) -> Self {
        Self::Array(texts.iter().map(|text| (*text).into()).collect())
    }

    /// A field of a map.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(pairs) = self else { return None };
        pairs.iter().find(|(k, _)| *k == key.into()).map(|(_, value)| value)
    }

    /// A text field of a map; empty if there is none.
    pub fn text(&self, key: &str) -> String {
        match self.get(key) {
            Some(Self::Str(text) | Self::Bin(text)) => String::from_utf8_lossy(text).into_owned(),
            _ => String::new(),
        }
    }

    /// A number field of a map.
    ///
    /// # Panics
    /// When it is none.
    pub fn number(&self, key: &str) -> u64 {
        let Some(Self::Scalar(bytes)) = self.get(key) else { panic!("no number {key}: {self:?}") };
        match bytes[..] {
            [fix @ ..=0x7f] => fix.into(),
            [0xcc..=0xd3, ref rest @ ..] => {
                rest.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
            }
            _ => panic!("no number {key}: {self:?}"),
        }
    }

    /// Changes every value by `change`, the innermost first. It also gets the key of
    /// the value; empty: none.
    pub fn each(&mut self, change: &mut dyn FnMut(&str, &mut Self)) {
        self.each_under("", change);
    }

    /// Sorts what may come in any order: pairs of maps, and maps in an array.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.each(&mut |_, value| match value {
            Self::Map(pairs) => pairs.sort(),
            Self::Array(items) if matches!(items.first(), Some(Self::Map(_))) => items.sort(),
            _ => {}
        });
        self
    }

    fn each_under(&mut self, key: &str, change: &mut dyn FnMut(&str, &mut Self)) {
        match self {
            Self::Scalar(_) | Self::Str(_) | Self::Bin(_) => {}
            Self::Array(items) => items.iter_mut().for_each(|item| item.each_under(key, change)),
            Self::Map(pairs) => {
                for (key, value) in pairs {
                    let Self::Str(key) = key else { continue };
                    value.each_under(&String::from_utf8_lossy(key), change);
                }
            }
        }
        change(key, self);
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Scalar(bytes) => out.extend(bytes),
            Self::Str(bytes) => {
                header(out, bytes.len(), Some((0xa0, 32)), Some(0xd9), 0xda);
                out.extend(bytes);
            }
            Self::Bin(bytes) => {
                header(out, bytes.len(), None, Some(0xc4), 0xc5);
                out.extend(bytes);
            }
            Self::Array(items) => {
                header(out, items.len(), Some((0x90, 16)), None, 0xdc);
                items.iter().for_each(|item| item.write(out));
            }
            Self::Map(pairs) => {
                header(out, pairs.len(), Some((0x80, 16)), None, 0xde);
                for (key, value) in pairs {
                    key.write(out);
                    value.write(out);
                }
            }
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.as_bytes().to_vec())
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Self::Scalar(vec![0xc2 + u8::from(yes)])
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        let bytes = number.to_be_bytes();
        let (first, skip) = match number {
            0..=0x7f => return Self::Scalar(vec![bytes[7]]),
            0x80..=0xff => (0xcc, 7),
            0x100..=0xffff => (0xcd, 6),
            0x1_0000..=0xffff_ffff => (0xce, 4),
            _ => (0xcf, 0),
        };
        Self::Scalar([&[first], &bytes[skip..]].concat())
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(bytes) => match bytes[..] {
                [0xc0] => f.write_str("nil"),
                [0xc2] => f.write_str("false"),
                [0xc3] => f.write_str("true"),
                [fix @ ..=0x7f] => write!(f, "{fix}"),
                _ => write!(f, "<{}>", hex::encode(bytes)),
            },
            Self::Str(bytes) => write!(f, "{:?}", String::from_utf8_lossy(bytes)),
            Self::Bin(bytes) => write!(f, "b{:?}", String::from_utf8_lossy(bytes)),
            Self::Array(items) => f.debug_list().entries(items).finish(),
            Self::Map(pairs) => f.debug_map().entries(pairs.iter().map(|(k, v)| (k, v))).finish(),
        }
    }
}

fn header(out: &mut Vec<u8>, len: usize, fix: Option<(u8, usize)>, short: Option<u8>, wide: u8) {
    let bytes = u32::try_from(len).expect("a short value").to_be_bytes();
    match (fix, short) {
        (Some((first, end)), _) if len < end => out.push(first | bytes[3]),
        (_, Some(first)) if len < 0x100 => out.extend([first, bytes[3]]),
        _ if len < 0x1_0000 => out.extend([wide, bytes[2], bytes[3]]),
        _ => {
            out.push(wide + 1);
            out.extend(bytes);
        }
    }
}

struct Reader<'a> {
    input: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self) -> Option<Value> {
        let first = *self.input.get(self.at)?;
        let scalar = |len: usize| (len, Shape::Scalar);
        let (header, shape) = match first {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => scalar(1),
            0xcc | 0xd0 => scalar(2),
            0xcd | 0xd1 => scalar(3),
            0xce | 0xd2 | 0xca => scalar(5),
            0xcf | 0xd3 | 0xcb => scalar(9),
            0x80..=0x8f => (1, Shape::Map(usize::from(first & 15))),
            0x90..=0x9f => (1, Shape::Array(usize::from(first & 15))),
            0xa0..=0xbf => (1, Shape::Str(usize::from(first & 31))),
            0xc4 => (2, Shape::Bin(self.length(1)?)),
            0xc5 => (3, Shape::Bin(self.length(2)?)),
            0xc6 => (5, Shape::Bin(self.length(4)?)),
            0xd9 => (2, Shape::Str(self.length(1)?)),
            0xda => (3, Shape::Str(self.length(2)?)),
            0xdb => (5, Shape::Str(self.length(4)?)),
            0xdc => (3, Shape::Array(self.length(2)?)),
            0xdd => (5, Shape::Array(self.length(4)?)),
            0xde => (3, Shape::Map(self.length(2)?)),
            0xdf => (5, Shape::Map(self.length(4)?)),
            _ => panic!("a value never starts with {first:#x}"),
        };
        let start = self.at;
        self.at += header;
        let value = match shape {
            Shape::Scalar => Value::Scalar(self.input.get(start..self.at)?.to_vec()),
            Shape::Str(len) => Value::Str(self.take(len)?),
            Shape::Bin(len) => Value::Bin(self.take(len)?),
            Shape::Array(len) => {
                Value::Array((0..len).map(|_| self.value()).collect::<Option<_>>()?)
            }
            Shape::Map(len) => Value::Map(
                (0..len).map(|_| Some((self.value()?, self.value()?))).collect::<Option<_>>()?,
            ),
        };
        Some(value)
    }

    fn length(&self, bytes: usize) -> Option<usize> {
        let bytes = self.input.get(self.at + 1..self.at + 1 + bytes)?;
        Some(bytes.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)))
    }

    fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        let bytes = self.input.get(self.at..self.at + len)?.to_vec();
        self.at += len;
        Some(bytes)
    }
}

enum Shape {
    Scalar,
    Str(usize),
    Bin(usize),
    Array(usize),
    Map(usize),
}

/// A connection to an agent.
pub struct Client<S = TcpStream> {
    stream: S,
    arrived: Vec<u8>,
}

impl Client {
    /// Connects; no handshake.
    ///
    /// # Panics
    /// When nobody listens.
    pub fn connect(addr: &str) -> Self {
        let stream = TcpStream::connect(addr).expect("an agent listens");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket option");
        Self { stream, arrived: Vec::new() }
    }

    /// Connects and shakes hands, as number 1.
    pub fn ready(addr: &str) -> Self {
        Self::connect(addr).shaken()
    }

    /// Whether something has come, or comes within the time set for the socket.
    pub fn has_next(&self) -> bool {
        !self.arrived.is_empty() || matches!(self.stream.peek(&mut [0]), Ok(1..))
    }

    /// Says that we send no more.
    pub fn finish(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }
}

impl<S: Read + Write> Client<S> {
    /// A connection over a stream of another kind, which has to have its time limits.
    pub fn over(stream: S) -> Self {
        Self { stream, arrived: Vec::new() }
    }

    /// Shakes hands, as number 1.
    ///
    /// # Panics
    /// When the agent refuses.
    #[must_use]
    pub fn shaken(mut self) -> Self {
        let body = Value::map([("Version", 1.into())]);
        assert_eq!(self.call("handshake", 1, Some(body)).text("Error"), "");
        self
    }

    /// Sends bytes as they are. Whether the agent is still there shows in what it answers.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends a request.
    pub fn request(&mut self, command: &str, seq: u64, body: Option<Value>) {
        self.send(&request(command, seq, body));
    }

    /// Sends a request and gives the header of the answer, which must be to this request.
    pub fn call(&mut self, command: &str, seq: u64, body: Option<Value>) -> Value {
        self.request(command, seq, body);
        let header = self.next().unwrap_or_else(|| panic!("{command}: connection closed"));
        assert_eq!(header.get("Seq"), Some(&seq.into()), "{command}: {header:?}");
        header
    }

    /// The next value; `None`: the agent has closed the connection.
    ///
    /// # Panics
    /// When nothing comes in [`PATIENCE`].
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((value, used)) = Value::decode(&self.arrived) {
                self.arrived.drain(..used);
                return Some(value);
            }
            let mut chunk = [0; 16 << 10];
            match self.stream.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => self.arrived.extend(&chunk[..count]),
                Err(error)
                    if [ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof]
                        .contains(&error.kind()) =>
                {
                    break;
                }
                Err(error) => panic!("no answer: {error}; so far {}", hex::encode(&self.arrived)),
            }
        }
        assert!(self.arrived.is_empty(), "cut off: {}", hex::encode(&self.arrived));
        None
    }

    /// The next header and body.
    pub fn record(&mut self) -> [Value; 2] {
        [self.next().expect("a header"), self.next().expect("a body")]
    }

    /// Everything that comes before the answer to a request of ours with this number.
    pub fn until_marker(&mut self, seq: u64) -> Vec<Value> {
        self.request("stop", seq, Some(Value::map([("Stop", (1 << 60).into())])));
        let mut all = Vec::new();
        loop {
            let value = self.next().unwrap_or_else(|| panic!("connection closed after {all:?}"));
            if value.get("Seq") == Some(&seq.into()) {
                return all;
            }
            all.push(value);
        }
    }

    /// Everything up to the end of the connection.
    pub fn until_closed(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// The stream.
    pub fn socket(&self) -> &S {
        &self.stream
    }
}

/// The bytes of a request.
pub fn request(command: &str, seq: u64, body: Option<Value>) -> Vec<u8> {
    let header = Value::map([("Command", command.into()), ("Seq", seq.into())]);
    let mut bytes = header.encode();
    bytes.extend(body.iter().flat_map(Value::encode));
    bytes
}

impl Net {
    /// Writes 127.0.0.x for our addresses, in texts and in bytes.
    pub fn hide(self, value: &mut Value) {
        let Self([a, b, c]) = self;
        value.each(&mut |_, value| match value {
            Value::Str(text) => *text = replace(text, &self.to_string(), "127.0.0."),
            Value::Bin(ip) if ip.len() == 4 && ip.starts_with(&[a, b, c]) => {
                ip[..3].copy_from_slice(&[127, 0, 0]);
            }
            _ => {}
        });
    }

    /// The reverse of [`Self::hide`] in texts.
    pub fn show(self, value: &mut Value) {
        value.each(&mut |_, value| {
            if let Value::Str(text) = value {
                *text = replace(text, "127.0.0.", &self.to_string());
            }
        });
    }
}

fn replace(text: &[u8], from: &str, to: &str) -> Vec<u8> {
    match std::str::from_utf8(text) {
        Ok(text) => text.replace(from, to).into_bytes(),
        Err(_) => text.to_vec(),
    }
}
