//! The formats of `serf monitor`: lines for terminals, JSON, and Go's for pipes.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Serialize;

use crate::{
    client::EventRecord,
    rpc::{
        self, Raw,
        protocol::{Member, MemberEventRecord, QueryEventRecord, UserEventRecord},
    },
    serf::Regex,
};

/// An event as a JSON object. What is not UTF-8 is in hexadecimal; names and tags of members are
/// text already.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Json<'e> {
    Member { event: &'e str, members: Vec<JsonMember<'e>> },
    User { event: &'e str, name: Raw<'e>, ltime: u64, coalesce: bool, payload: Raw<'e> },
    Query { event: &'e str, name: Raw<'e>, ltime: u64, id: u64, payload: Raw<'e> },
}

#[derive(Serialize)]
pub(super) struct JsonMember<'e> {
    name: &'e str,
    addr: String,
    port: u16,
    status: &'e str,
    tags: &'e BTreeMap<String, String>,
}

impl<'e> Json<'e> {
    pub(super) fn of(event: &'e EventRecord) -> Self {
        match event {
            EventRecord::Member(MemberEventRecord { event, members }) => {
                Self::Member { event, members: members.iter().map(JsonMember::of).collect() }
            }
            EventRecord::User(UserEventRecord { event, l_time, name, payload, coalesce }) => {
                Self::User {
                    event,
                    name: Raw(&name.0),
                    ltime: *l_time,
                    coalesce: *coalesce,
                    payload: Raw(&payload.0),
                }
            }
            EventRecord::Query(QueryEventRecord { event, id, l_time, name, payload }) => {
                Self::Query {
                    event,
                    name: Raw(&name.0),
                    ltime: *l_time,
                    id: *id,
                    payload: Raw(&payload.0),
                }
            }
        }
    }
}

impl<'e> JsonMember<'e> {
    fn of(member: &'e Member) -> Self {
        let Member { name, port, status, tags, .. } = member;
        Self { name, addr: rpc::address(&member.addr.0), port: *port, status, tags }
    }
}

/// Formats an event like log lines: time, event and subject; one line for each member.
pub(super) fn readable(event: &EventRecord, time: &str) -> String {
    let payload = |bytes: &[u8]| match bytes {
        [] => String::new(),
        bytes => format!(" payload={}", payload_text(bytes)),
    };
    match event {
        EventRecord::Member(MemberEventRecord { event, members }) => {
            let lines = members.iter().map(|member| {
                let at = rpc::endpoint(&member.addr.0, member.port);
                let tags = member.tags.iter().map(|(k, v)| format!(" {}={}", shown(k), shown(v)));
                let tags: String = tags.collect();
                let (name, status) = (shown(&member.name), &member.status);
                format!("{time} [EVENT] {event}: {name} {at} {status}{tags}")
            });
            lines.collect::<Vec<_>>().join("\n")
        }
        EventRecord::User(UserEventRecord { l_time, name, payload: bytes, coalesce, .. }) => {
            let coalesced = if *coalesce { " coalesced" } else { "" };
            let name = shown(&name.lossy());
            format!("{time} [EVENT] user: {name} ltime={l_time}{coalesced}{}", payload(&bytes.0))
        }
        EventRecord::Query(QueryEventRecord { id, l_time, name, payload: bytes, .. }) => {
            let name = shown(&name.lossy());
            format!("{time} [EVENT] query: {name} ltime={l_time} id={id}{}", payload(&bytes.0))
        }
    }
}

/// Formats an event as Go does: one block, values as printed by `%#v`.
pub(super) fn as_go(event: &EventRecord) -> String {
    let fields = match event {
        EventRecord::Member(MemberEventRecord { event, members }) => {
            let members: Vec<_> = members.iter().map(go_member).collect();
            let members = format!("[]interface {{}}{{{}}}", members.join(", "));
            vec![("Event", go_quote(event)), ("Members", members)]
        }
        EventRecord::User(UserEventRecord { event, l_time, name, payload, coalesce }) => vec![
            ("Coalesce", coalesce.to_string()),
            ("Event", go_quote(event)),
            ("LTime", go_number(*l_time)),
            ("Name", go_quote(&name.0)),
            ("Payload", go_payload(&payload.0)),
        ],
        EventRecord::Query(QueryEventRecord { event, id, l_time, name, payload }) => vec![
            ("Event", go_quote(event)),
            ("ID", go_number(*id)),
            ("LTime", go_number(*l_time)),
            ("Name", go_quote(&name.0)),
            ("Payload", go_payload(&payload.0)),
        ],
    };
    let lines = fields.into_iter().map(|(key, value)| format!("\n\t{key}: {value}"));
    format!("Event Info:{}", lines.collect::<String>())
}

fn go_member(member: &Member) -> String {
    let number = |n: u8| go_number(u64::from(n));
    let tags = member.tags.iter().map(|(k, v)| format!("{}:{}", go_quote(k), go_quote(v)));
    let tags = tags.collect::<Vec<_>>().join(", ");
    let fields = [
        ("Addr", format!("[]uint8{{{}}}", go_bytes(&member.addr.0))),
        ("DelegateCur", number(member.delegate_cur)),
        ("DelegateMax", number(member.delegate_max)),
        ("DelegateMin", number(member.delegate_min)),
        ("Name", go_quote(&member.name)),
        ("Port", go_number(u64::from(member.port))),
        ("ProtocolCur", number(member.protocol_cur)),
        ("ProtocolMax", number(member.protocol_max)),
        ("ProtocolMin", number(member.protocol_min)),
        ("Status", go_quote(&member.status)),
        ("Tags", format!("map[interface {{}}]interface {{}}{{{tags}}}")),
    ];
    let fields: Vec<_> = fields.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("map[interface {{}}]interface {{}}{{{}}}", fields.join(", "))
}

/// In Go, small numbers decode as signed, larger ones as unsigned, which `%#v` prints in hex.
fn go_number(value: u64) -> String {
    if value <= 127 { value.to_string() } else { format!("{value:#x}") }
}

fn go_payload(bytes: &[u8]) -> String {
    if bytes.is_empty() { "<nil>".to_owned() } else { format!("[]byte{{{}}}", go_bytes(bytes)) }
}

fn go_bytes(bytes: &[u8]) -> String {
    let bytes: Vec<_> = bytes.iter().map(|byte| format!("{byte:#x}")).collect();
    bytes.join(", ")
}

/// Go: `strconv.Quote`.
fn go_quote(text: impl AsRef<[u8]>) -> String {
    let mut out = String::from("\"");
    for chunk in text.as_ref().utf8_chunks() {
        quote_text(chunk.valid(), &mut out);
        chunk.invalid().iter().for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
    }
    out.push('"');
    out
}

fn quote_text(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\0'..' ' | '\u{7f}' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if is_printable(c) => out.push(c),
            '\0'..='\u{ffff}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
}

/// Go: `unicode.IsPrint`.
fn is_printable(c: char) -> bool {
    static PRINTABLE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::compile(br"[\p{L}\p{M}\p{N}\p{P}\p{S} ]"));
    let is = |regex: &Regex| regex.is_match(c.encode_utf8(&mut [0; 4]));
    matches!(c, ' '..='~') || PRINTABLE.as_ref().is_some_and(is)
}

/// The text, quoted if it would be ambiguous or move the cursor.
fn shown(text: &str) -> String {
    let plain = !text.is_empty() && text.chars().all(|c| is_printable(c) && !" \"=\\".contains(c));
    if plain { text.to_owned() } else { go_quote(text) }
}

/// Quoted text, or hexadecimal bytes if it is not UTF-8.
fn payload_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => go_quote(text),
        Err(_) => format!("0x{}", bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::output::compact, *};
    use crate::rpc::protocol::Blob;

    fn member() -> EventRecord {
        let member = Member {
            name: "n 2".into(),
            addr: Blob(vec![10, 0, 0, 2]),
            port: 7946,
            tags: [("role".to_owned(), "web".to_owned())].into(),
            status: "alive".into(),
            protocol_min: 1,
            protocol_max: 5,
            protocol_cur: 2,
            delegate_min: 2,
            delegate_max: 5,
            delegate_cur: 4,
        };
        let event = "member-join".into();
        EventRecord::Member(MemberEventRecord { event, members: vec![member] })
    }

    fn user(payload: &[u8]) -> EventRecord {
        EventRecord::User(UserEventRecord {
            event: "user".into(),
            l_time: 200,
            name: "deploy".into(),
            payload: Blob(payload.to_vec()),
            coalesce: true,
        })
    }

    #[test]
    fn terminals_get_lines() {
        assert_eq!(
            readable(&member(), "T"),
            "T [EVENT] member-join: \"n 2\" 10.0.0.2:7946 alive role=web"
        );
        assert_eq!(
            readable(&user(b"v3\n"), "T"),
            "T [EVENT] user: deploy ltime=200 coalesced payload=\"v3\\n\""
        );
        assert!(readable(&user(b"\xff\x01"), "T").ends_with(" payload=0xff01"));
        assert!(readable(&user(b""), "T").ends_with(" coalesced"));
        assert!(!readable(&user(b"\x1b[2J"), "T").contains('\u{1b}'));
    }

    #[test]
    fn scripts_get_addresses() {
        let text = compact(&Json::of(&member()));
        assert!(text.contains("\"addr\":\"10.0.0.2\",\"port\":7946"), "{text}");
    }

    #[test]
    fn scripts_get_bytes_that_are_no_text() {
        let text = compact(&Json::of(&user(b"\xff\xfea")));
        assert!(text.ends_with("\"payload\":{\"hex\":\"fffe61\"}}"), "{text}");
        let text = compact(&Json::of(&user("\u{fffd}".as_bytes())));
        assert!(text.ends_with("\"payload\":\"\\ufffd\"}"), "{text}");
        let query = QueryEventRecord { name: b"q\xff"[..].into(), ..Default::default() };
        let text = compact(&Json::of(&EventRecord::Query(query)));
        assert!(text.contains("\"name\":{\"hex\":\"71ff\"}"), "{text}");
    }

    #[test]
    fn pipes_get_the_output_of_go() {
        assert_eq!(
            as_go(&member()),
            "Event Info:\n\tEvent: \"member-join\"\n\tMembers: []interface {}{map[interface {}]\
             interface {}{\"Addr\":[]uint8{0xa, 0x0, 0x0, 0x2}, \"DelegateCur\":4, \
             \"DelegateMax\":5, \"DelegateMin\":2, \"Name\":\"n 2\", \"Port\":0x1f0a, \
             \"ProtocolCur\":2, \"ProtocolMax\":5, \"ProtocolMin\":1, \"Status\":\"alive\", \
             \"Tags\":map[interface {}]interface {}{\"role\":\"web\"}}}"
        );
        let text = as_go(&user(b""));
        assert!(text.contains("\n\tLTime: 0xc8\n") && text.ends_with("\n\tPayload: <nil>"));
        assert!(as_go(&user(b"v\xff")).ends_with("\n\tPayload: []byte{0x76, 0xff}"));
    }

    #[test]
    fn text_is_quoted_as_by_go() {
        for (text, quoted) in [
            ("ä'\u{301}", "ä'\u{301}"),
            ("\u{1}\u{7f}\u{7}", "\\x01\\x7f\\a"),
            ("\u{200b}\u{a0}", "\\u200b\\u00a0"),
            ("\u{e0001}", "\\U000e0001"),
            ("a\"\\", "a\\\"\\\\"),
        ] {
            assert_eq!(go_quote(text), format!("\"{quoted}\""));
        }
    }
}
