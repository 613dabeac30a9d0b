//! Serde support for the types that applications receive, e.g. to show members as JSON or to log
//! events.
//!
//! Statuses and kinds are serialized as their texts, addresses as `ip:port` (null if malformed),
//! tags as a map, payloads as bytes.

use serde::{
    Serialize, Serializer,
    ser::{SerializeMap as _, SerializeStruct as _},
};

use super::{
    Coordinate, KeyResponse, LamportTime, Member, MemberEvent, MemberEventKind, MemberStatus,
    Query, Tags, UserEvent,
};

impl Serialize for LamportTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl Serialize for MemberStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for MemberEventKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Tags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.iter().len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Implements `Serialize` for a struct from an expression for each field.
macro_rules! fields {
    ($ty:ident |$value:ident| { $($field:ident: $of:expr),+ $(,)? }) => {
        impl Serialize for $ty {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let $value = self;
                let len = [$(stringify!($field)),+].len();
                let mut out = serializer.serialize_struct(stringify!($ty), len)?;
                $(out.serialize_field(stringify!($field), $of)?;)+
                out.end()
            }
        }
    };
}

fields! {
    Member |member| {
        name: &*member.name,
        addr: &member.addr(),
        tags: &member.tags,
        status: &member.status,
        vsn: &member.vsn.0,
    }
}

fields! {
    MemberEvent |event| {
        kind: &event.kind,
        members: &event.members,
    }
}

fields! {
    UserEvent |event| {
        ltime: &event.ltime,
        name: &*event.name,
        payload: &Payload(&event.payload),
        coalesce: &event.coalesce,
    }
}

fields! {
    Query |query| {
        ltime: &query.id.ltime,
        id: &query.id.id,
        name: &*query.name,
        payload: &Payload(&query.payload),
        source_node: &*query.source_node,
        source_addr: &query.source_addr,
    }
}

fields! {
    Coordinate |coordinate| {
        vec: &coordinate.vec,
        error: &coordinate.error,
        adjustment: &coordinate.adjustment,
        height: &coordinate.height,
    }
}

fields! {
    KeyResponse |response| {
        messages: &response.messages,
        num_nodes: &response.num_nodes,
        num_resp: &response.num_resp,
        num_err: &response.num_err,
        keys: &response.keys,
        primary_keys: &response.primary_keys,
        missing: &response.missing,
    }
}

struct Payload<'a>(&'a [u8]);

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    #[test]
    fn events_become_plain_json() {
        let member = Member {
            name: "a".into(),
            addr: Box::new([127, 0, 0, 1]),
            port: 7946,
            tags: Tags::from_pairs([("role".to_owned(), "web".to_owned())]),
            status: MemberStatus::Alive,
            vsn: crate::wire::Vsn([1, 5, 2, 2, 5, 4]),
        };
        let members = vec![Arc::new(member)];
        let event = MemberEvent { kind: MemberEventKind::Join, members };
        let text = serde_json::to_value(&event).unwrap();
        let member = json!({
            "name": "a", "addr": "127.0.0.1:7946", "tags": {"role": "web"}, "status": "alive",
            "vsn": [1, 5, 2, 2, 5, 4],
        });
        assert_eq!(text, json!({"kind": "member-join", "members": [member]}));

        let event = UserEvent {
            ltime: LamportTime(7),
            name: "deploy".into(),
            payload: b"v2".as_slice().into(),
            coalesce: true,
        };
        let text = serde_json::to_value(event).unwrap();
        let user = json!({"ltime": 7, "name": "deploy", "payload": [118, 50], "coalesce": true});
        assert_eq!(text, user);
    }
}
