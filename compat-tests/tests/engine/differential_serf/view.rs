//! What can be seen of a node after a step, in a form that both sides can be brought into.

use std::collections::BTreeMap;

use ruserf::{
    serf::{Message, MsgpackTransform, TransformDelegate},
    wire::{
        CodecConfig, CompoundParts, Message as Swim, PacketCodec, PushPull, Role, StreamDecoder,
        StreamMessage,
    },
};
use serde_json::{Value, json};

/// One side after one step.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// By topic, to be compared one by one.
    pub(crate) topics: BTreeMap<&'static str, Value>,
    /// Ids of own queries by their time, as they appeared in gossip.
    pub(crate) own_queries: BTreeMap<u64, u32>,
}

/// Everything that left a node during a step, before it is understood.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// Datagrams with their destination.
    pub(crate) packets: Vec<(String, Vec<u8>)>,
    /// What was written on streams that the node opened.
    pub(crate) dialled: Vec<(String, Vec<u8>)>,
    /// The answer to the empty push/pull.
    pub(crate) state: Vec<u8>,
}

impl View {
    /// Sorts what was sent into gossip (behind the ack of the observing ping) and direct messages.
    pub(crate) fn add_sent(&mut self, sent: &Sent, own_name: &str, own_addr: &str) {
        let (mut gossip, mut about_self, mut direct) = (Vec::new(), Vec::new(), Vec::new());
        let mut acks = Vec::new();
        for (to, packet) in &sent.packets {
            let mut parts = Vec::new();
            open(packet, &mut parts);
            let is_ack = matches!(Swim::decode(&parts[0]), Ok(Swim::Ack(_)));
            // Own acks and answers of Serf go through Go's socket; ours stay inside.
            if to == own_addr && !is_ack {
                continue;
            }
            for part in &parts {
                match Swim::decode(part).expect("a node sends what can be read") {
                    Swim::Ack(ack) => acks.push(json!(hex::encode(ack.payload.as_slice()))),
                    Swim::User(message) if is_ack => gossip.push(self.show(message, own_name)),
                    Swim::User(message) => {
                        let shown = self.show(message, own_name);
                        let relayed = message.first() == Some(&9);
                        direct.push(json!([if relayed { "(a relay)" } else { to }, shown]));
                    }
                    Swim::Alive(alive) if alive.node == own_name.as_bytes() => {
                        let (tags, _) = MsgpackTransform.decode_tags(alive.meta.as_slice());
                        about_self.push(json!([alive.incarnation.0, format!("{tags:?}")]));
                    }
                    Swim::Dead(dead) if dead.node == own_name.as_bytes() => {
                        about_self.push(json!(["dead", dead.incarnation.0]));
                    }
                    _ => {}
                }
            }
        }
        direct.sort_by_key(Value::to_string);
        // The helpers of a relay are random, and so is how many are found.
        direct.dedup_by(|a, b| a == b && a[0] == "(a relay)");
        self.topics.insert("gossip", Value::Array(gossip));
        self.topics.insert("ack payload", Value::Array(acks));
        self.topics.insert("own alive messages", Value::Array(about_self));
        self.topics.insert("direct messages", Value::Array(direct));
        let dialled = sent.dialled.iter();
        let dialled = dialled.map(|(to, bytes)| json!([to, show_state(bytes, Role::Acceptor)]));
        self.topics.insert("dialled", dialled.collect());
        self.topics.insert("state", show_state(&sent.state, Role::Dialer));
    }

    fn show(&mut self, raw: &[u8], own_name: &str) -> Value {
        let message = MsgpackTransform.decode_message(raw).expect("a Serf message");
        if let Message::Relay(relay) = &message
            && relay.dest_name == own_name.as_bytes()
            && let Ok(Message::QueryResponse(mut response)) =
                MsgpackTransform.decode_message(relay.message)
        {
            // An answer to our own query, whose id is random.
            response.id = 0;
            return json!([
                format!("{:?} {:?}", relay.dest_addr, relay.dest_port),
                format!("{response:?}")
            ]);
        }
        if let Message::Query(query) = &message
            && query.source_node == own_name.as_bytes()
        {
            self.own_queries.insert(query.ltime.0, query.id);
            let mut same = Vec::new();
            MsgpackTransform.encode_message(&message, &mut same);
            assert_eq!(hex::encode(&same), hex::encode(raw), "one encoding of a query");
            let mut query = query.clone();
            query.id = 0;
            // Go takes tag filters in random order.
            query.filters.sort_by_key(|filter| filter.as_slice().to_vec());
            let mut shown = Vec::new();
            MsgpackTransform.encode_message(&Message::Query(query.clone()), &mut shown);
            return json!([format!("{query:?}"), hex::encode(shown)]);
        }
        json!([format!("{message:?}"), hex::encode(raw)])
    }
}

/// Takes the layers off a packet and its compounds apart.
fn open(packet: &[u8], parts: &mut Vec<Vec<u8>>) {
    let mut codec = PacketCodec::build(CodecConfig::default()).expect("no label");
    let mut buf = Vec::new();
    let message = codec.open(packet, &mut buf).expect("an open packet").to_vec();
    match Swim::decode(&message).expect("a message") {
        Swim::Compound(body) => {
            for part in CompoundParts::parse(body).expect("a compound") {
                open(part.expect("a whole part"), parts);
            }
        }
        _ => parts.push(message),
    }
}

/// A push/pull with its order taken out where Go's is random.
pub(crate) fn show_state(raw: &[u8], role: Role) -> Value {
    let Some(state) = decode_stream(raw, role) else { return json!(hex::encode(raw)) };
    let rows = state.rows().map(|row| row.expect("a row"));
    let mut rows = rows
        .map(|row| {
            let name = String::from_utf8_lossy(row.name).into_owned();
            json!([name, row.state, row.incarnation.0, row.port, hex::encode(row.addr.as_slice())])
        })
        .collect::<Vec<_>>();
    rows.sort_by_key(Value::to_string);
    let user = match MsgpackTransform.decode_message(&state.user_state) {
        Ok(Message::PushPull(mut user)) => {
            user.status_ltimes.sort();
            user.left_members.sort();
            // The place in the ring belongs to it.
            let ring = user.events.iter().enumerate();
            let ring = ring.filter_map(|(at, slot)| Some((at, slot.as_ref()?)));
            let ring = ring.map(|slot| format!("{slot:?}")).collect::<Vec<_>>();
            let len = user.events.len();
            user.events.clear();
            json!([format!("{user:?}"), len, ring])
        }
        other => json!(format!("{other:?}")),
    };
    json!({"join": state.join, "rows": rows, "user": user})
}

/// The push/pull in what one end of a stream wrote, if it is one.
pub(crate) fn decode_stream(raw: &[u8], role: Role) -> Option<PushPull> {
    let codec = PacketCodec::build(CodecConfig::default()).expect("no label").stream_codec();
    match StreamDecoder::new(codec, role).feed(raw) {
        Ok(Some(StreamMessage::PushPull(state))) => Some(state),
        _ => None,
    }
}
