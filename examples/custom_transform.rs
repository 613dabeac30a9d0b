//! Another encoding for Serf's messages, for a cluster without Go nodes.
//!
//! A transform decides how messages, tags, filters and coordinates become bytes; the layer below
//! (packets, encryption, compression) is not its business. This one writes text that can be read
//! in a packet dump: numbers in decimal with a space behind, strings as netstrings (`6:node-a`),
//! `-` for a string that is not there, lists after their length. All members of a cluster must use
//! the same transform.
//!
//! Run it: `cargo run --features sim --example custom_transform`

use std::{error::Error, fmt::Display, io::Write, str::FromStr, time::Duration};

use ruserf::{
    Config, Coordinate, Event, Serf, Tags,
    engine::{
        LamportTime, TransformDelegate, TransformError,
        message::{
            Bin, Filter, Join, KeyRequest, Keys, Leave, MemberRecord, Message, NodeKeyResponse,
            PushPull, Query, QueryResponse, RecentEvent, Relay, UserEvent, UserEvents,
        },
    },
    sim::assert_transform_conforms,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // In a crate of your own this line is a test; it needs the feature `sim`.
    assert_transform_conforms(&TextTransform);
    println!("conforms");
    let join = Message::Join(Join { ltime: LamportTime(7), node: b"node-a" });
    let mut raw = Vec::new();
    TextTransform.encode_message(&join, &mut raw);
    println!("a join is {:?}", String::from_utf8_lossy(&raw));

    let (a, b) = (start("a").await?, start("b").await?);
    let mut events = b.events();
    b.join([a.addresses().advertised.to_string()]).await?;
    a.user_event("hello", "from a").await?;
    let heard = async {
        while let Some(event) = events.recv().await {
            if let Event::User(event) = event {
                return Some(event);
            }
        }
        None
    };
    let event = tokio::time::timeout(Duration::from_secs(20), heard).await?.ok_or("b stopped")?;
    println!("b heard {}: {}", event.name, String::from_utf8_lossy(&event.payload));
    let seen = b.member("a").await.ok_or("b does not know a")?;
    println!("b sees a with role {:?}", seen.tags.get("role"));
    a.shutdown().await;
    b.shutdown().await;
    Ok(())
}

async fn start(name: &str) -> Result<Serf, Box<dyn Error>> {
    let config =
        Config::local(name).transform(TextTransform).tag("role", format!("example {name}"));
    Ok(Serf::builder(config).bind("127.0.0.1:0").start().await?)
}

/// The transform; without state, as most are.
struct TextTransform;

type Decoded<T> = Result<T, TransformError>;

impl TransformDelegate for TextTransform {
    fn encode_message(&self, message: &Message<'_>, out: &mut Vec<u8>) {
        let mut out = Output(out);
        // The type byte comes first and as it is: receivers look at it before they decode.
        match message {
            Message::Leave(Leave { ltime, node, prune }) => {
                out.kind(0).put(ltime.0).bytes(node).flag(*prune);
            }
            Message::Join(Join { ltime, node }) => {
                out.kind(1).put(ltime.0).bytes(node);
            }
            Message::PushPull(state) => {
                out.kind(2).put(state.ltime.0);
                out.list(&state.status_ltimes, |out, (node, ltime)| {
                    out.bytes(node).put(ltime.0);
                });
                out.list(&state.left_members, |out, node| {
                    out.bytes(node);
                });
                out.put(state.event_ltime.0).list(&state.events, |out, slot| {
                    out.flag(slot.is_some());
                    let Some(UserEvents { ltime, events }) = slot else { return };
                    out.put(ltime.0).list(events, |out, RecentEvent { name, payload }| {
                        out.bytes(name).maybe(payload);
                    });
                });
                out.put(state.query_ltime.0);
            }
            Message::UserEvent(UserEvent { ltime, name, payload, coalesce }) => {
                out.kind(3).put(ltime.0).bytes(name).maybe(payload).flag(*coalesce);
            }
            Message::Query(query) => {
                out.kind(4).put(query.ltime.0).put(query.id).maybe(&query.addr).put(query.port);
                out.bytes(query.source_node);
                out.list(&query.filters, |out, filter| {
                    out.maybe(filter);
                });
                out.put(query.flags).put(query.relay_factor).put(query.timeout_ns);
                out.bytes(query.name).maybe(&query.payload);
            }
            Message::QueryResponse(QueryResponse { ltime, id, from, flags, payload }) => {
                out.kind(5).put(ltime.0).put(id).bytes(from).put(flags).maybe(payload);
            }
            Message::ConflictResponse(member) => {
                out.kind(6).flag(member.is_some());
                let Some(member) = member else { return };
                out.bytes(member.name).maybe(&member.addr).put(member.port);
                out.list(&member.tags, |out, (name, value)| {
                    out.bytes(name).bytes(value);
                });
                out.put(member.status);
                out.put(member.protocol_min).put(member.protocol_max).put(member.protocol_cur);
                out.put(member.delegate_min).put(member.delegate_max).put(member.delegate_cur);
            }
            Message::KeyRequest(KeyRequest { key }) => {
                out.kind(7).maybe(key);
            }
            Message::KeyResponse(NodeKeyResponse { result, message, keys, primary_key }) => {
                out.kind(8).flag(*result).bytes(message).bytes(primary_key);
                out.list(&keys.0, |out, key| {
                    out.bytes(key);
                });
            }
            Message::Relay(Relay { dest_addr, dest_port, dest_name, message }) => {
                out.kind(9).maybe(dest_addr).put(dest_port).bytes(dest_name).raw(message);
            }
        }
    }

    fn decode_message<'a>(&self, input: &'a [u8]) -> Decoded<Message<'a>> {
        let (kind, mut input) = Input::after_kind(input)?;
        let input = &mut input;
        let message = match kind {
            0 => {
                let (ltime, node, prune) = (input.ltime()?, input.bytes()?, input.flag()?);
                Message::Leave(Leave { ltime, node, prune })
            }
            1 => {
                let (ltime, node) = (input.ltime()?, input.bytes()?);
                Message::Join(Join { ltime, node })
            }
            2 => Message::PushPull(PushPull {
                ltime: input.ltime()?,
                status_ltimes: input.list(|input| Ok((input.bytes()?, input.ltime()?)))?,
                left_members: input.list(Input::bytes)?,
                event_ltime: input.ltime()?,
                events: input.list(Input::slot)?,
                query_ltime: input.ltime()?,
            }),
            3 => {
                let (ltime, name) = (input.ltime()?, input.bytes()?);
                let (payload, coalesce) = (input.maybe()?, input.flag()?);
                Message::UserEvent(UserEvent { ltime, name, payload, coalesce })
            }
            // Fields are read in the order in which they are named here.
            4 => Message::Query(Query {
                ltime: input.ltime()?,
                id: input.take()?,
                addr: input.maybe()?,
                port: input.take()?,
                source_node: input.bytes()?,
                filters: input.list(Input::maybe)?,
                flags: input.take()?,
                relay_factor: input.take()?,
                timeout_ns: input.take()?,
                name: input.bytes()?,
                payload: input.maybe()?,
            }),
            5 => Message::QueryResponse(QueryResponse {
                ltime: input.ltime()?,
                id: input.take()?,
                from: input.bytes()?,
                flags: input.take()?,
                payload: input.maybe()?,
            }),
            6 => Message::ConflictResponse(match input.flag()? {
                true => Some(input.member()?),
                false => None,
            }),
            7 => Message::KeyRequest(KeyRequest { key: input.maybe()? }),
            8 => {
                let (result, message, primary_key) =
                    (input.flag()?, input.bytes()?, input.bytes()?);
                let keys = Keys(input.list(Input::bytes)?);
                Message::KeyResponse(NodeKeyResponse { result, message, keys, primary_key })
            }
            9 => {
                let (dest_addr, dest_port) = (input.maybe()?, input.take()?);
                let (dest_name, message) = (input.bytes()?, input.rest());
                Message::Relay(Relay { dest_addr, dest_port, dest_name, message })
            }
            kind => return Err(TransformError::UnknownType(kind)),
        };
        input.end()?;
        Ok(message)
    }

    fn encode_tags(&self, _version: u8, tags: &Tags, out: &mut Vec<u8>) {
        let tags: Vec<_> = tags.iter().collect();
        Output(out).list(&tags, |out, (name, value)| {
            out.bytes(name.as_bytes()).bytes(value.as_bytes());
        });
    }

    fn decode_tags(&self, meta: &[u8]) -> (Tags, Option<TransformError>) {
        if meta.is_empty() {
            return (Tags::default(), None);
        }
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let pairs = Input(meta).list(|input| Ok((text(input.bytes()?), text(input.bytes()?))));
        match pairs {
            Ok(pairs) => (pairs.into_iter().collect(), None),
            Err(error) => (Tags::default(), Some(error)),
        }
    }

    fn encode_filter(&self, filter: &Filter<'_>, out: &mut Vec<u8>) {
        let mut out = Output(out);
        match filter {
            Filter::Nodes(names) => out.kind(0).list(names, |out, name| {
                out.bytes(name);
            }),
            Filter::Tag { tag, expr } => out.kind(1).bytes(tag).bytes(expr),
        };
    }

    fn decode_filter<'a>(&self, input: &'a [u8]) -> Decoded<Filter<'a>> {
        let (kind, mut input) = Input::after_kind(input)?;
        match kind {
            0 => Ok(Filter::Nodes(input.list(Input::bytes)?)),
            1 => Ok(Filter::Tag { tag: input.bytes()?, expr: input.bytes()? }),
            kind => Err(TransformError::UnknownType(kind)),
        }
    }

    fn encode_coordinate(&self, coordinate: &Coordinate, out: &mut Vec<u8>) {
        let Coordinate { vec, error, adjustment, height } = coordinate;
        // `{:e}` is the shortest text that reads back as the same number.
        let mut out = Output(out);
        out.kind(1).list(vec, |out, value| {
            out.put(format_args!("{value:e}"));
        });
        for value in [error, adjustment, height] {
            out.put(format_args!("{value:e}"));
        }
    }

    fn decode_coordinate(&self, input: &[u8]) -> Decoded<Coordinate> {
        let (version, mut input) = Input::after_kind(input)?;
        if version != 1 {
            return Err(TransformError::Version(version));
        }
        let vec = input.list(Input::take)?;
        let (error, adjustment, height) = (input.take()?, input.take()?, input.take()?);
        Ok(Coordinate { vec, error, adjustment, height })
    }
}

/// Writes fields.
struct Output<'o>(&'o mut Vec<u8>);

impl Output<'_> {
    fn kind(&mut self, kind: u8) -> &mut Self {
        self.raw(&[kind])
    }

    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn put(&mut self, value: impl Display) -> &mut Self {
        write!(self.0, "{value} ").expect("memory takes all that is written");
        self
    }

    fn flag(&mut self, value: bool) -> &mut Self {
        self.put(u8::from(value))
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        write!(self.0, "{}:", bytes.len()).expect("memory takes all that is written");
        self.raw(bytes)
    }

    fn maybe(&mut self, bytes: &Bin<'_>) -> &mut Self {
        match &bytes.0 {
            Some(bytes) => self.raw(b"+").bytes(bytes),
            None => self.raw(b"-"),
        }
    }

    fn list<T>(&mut self, items: &[T], each: impl Fn(&mut Output<'_>, &T)) -> &mut Self {
        self.put(items.len());
        for item in items {
            each(self, item);
        }
        self
    }
}

/// Reads fields. Whatever comes from the network may be a lie: nothing here panics, and no length
/// is believed before the bytes are there.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn after_kind(input: &'a [u8]) -> Decoded<(u8, Self)> {
        let (&kind, rest) = input.split_first().ok_or(TransformError::Empty)?;
        Ok((kind, Self(rest)))
    }

    /// The text up to `end`, which is not far.
    fn word(&mut self, end: u8) -> Decoded<&'a str> {
        let at = self.0.iter().take(WORD_MAX).position(|&byte| byte == end);
        let (word, rest) = at.and_then(|at| self.0.split_at_checked(at)).ok_or_else(cut_off)?;
        self.0 = rest.get(1..).unwrap_or_default();
        str::from_utf8(word).map_err(malformed)
    }

    fn take<T: FromStr<Err: Display>>(&mut self) -> Decoded<T> {
        self.word(b' ')?.parse().map_err(malformed)
    }

    fn ltime(&mut self) -> Decoded<LamportTime> {
        self.take().map(LamportTime)
    }

    fn flag(&mut self) -> Decoded<bool> {
        Ok(self.take::<u8>()? != 0)
    }

    fn bytes(&mut self) -> Decoded<&'a [u8]> {
        let len = self.word(b':')?.parse().map_err(malformed)?;
        let (bytes, rest) = self.0.split_at_checked(len).ok_or_else(cut_off)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn maybe(&mut self) -> Decoded<Bin<'a>> {
        let (sign, rest) = self.0.split_first().ok_or_else(cut_off)?;
        self.0 = rest;
        if *sign == b'-' { Ok(Bin::NIL) } else { self.bytes().map(Bin::from) }
    }

    /// Each item takes a byte at least, so a list is never longer than its message.
    fn list<T>(&mut self, each: impl Fn(&mut Self) -> Decoded<T>) -> Decoded<Vec<T>> {
        let len: usize = self.take()?;
        if len > self.0.len() {
            return Err(TransformError::TooMany(self.0.len()));
        }
        (0..len).map(|_| each(self)).collect()
    }

    fn slot(&mut self) -> Decoded<Option<UserEvents<'a>>> {
        if !self.flag()? {
            return Ok(None);
        }
        let event =
            |input: &mut Self| Ok(RecentEvent { name: input.bytes()?, payload: input.maybe()? });
        Ok(Some(UserEvents { ltime: self.ltime()?, events: self.list(event)? }))
    }

    fn member(&mut self) -> Decoded<MemberRecord<'a>> {
        Ok(MemberRecord {
            name: self.bytes()?,
            addr: self.maybe()?,
            port: self.take()?,
            tags: self.list(|input| Ok((input.bytes()?, input.bytes()?)))?,
            status: self.take()?,
            protocol_min: self.take()?,
            protocol_max: self.take()?,
            protocol_cur: self.take()?,
            delegate_min: self.take()?,
            delegate_max: self.take()?,
            delegate_cur: self.take()?,
        })
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn end(&self) -> Decoded<()> {
        if self.0.is_empty() { Ok(()) } else { Err(malformed("more than the message")) }
    }
}

fn malformed(why: impl Display) -> TransformError {
    TransformError::Malformed(why.to_string())
}

fn cut_off() -> TransformError {
    malformed("unexpected end")
}

/// Longest number with its end, `{:e}` of a small f64 included.
const WORD_MAX: usize = 32;
