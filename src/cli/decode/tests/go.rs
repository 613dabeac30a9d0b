//! Compares with what Go's own decoder found in the same bytes, field by field.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

/// The difference between our record and Go's decoding of the message, if any.
pub(super) fn difference(ours: &Value, go: &Value) -> Option<String> {
    let expected = Expected::of(go);
    let kind = ours["type"].as_str().unwrap_or_default();
    if kind != expected.kind {
        return Some(format!("type {kind}, Go: {}", expected.kind));
    }
    expected.fields.iter().find_map(|(name, value)| {
        let got = &ours["fields"][name];
        (!same(got, value)).then(|| format!("{kind} {name}: {got}, Go: {value}"))
    })
}

/// Whether values are equal; for a message, whether it matches the expected one.
fn same(ours: &Value, expected: &Value) -> bool {
    match (ours, expected) {
        (Value::Number(ours), Value::Number(expected)) => ours.as_f64() == expected.as_f64(),
        (Value::Array(ours), Value::Array(expected)) => {
            let ours = by_name(ours);
            ours.len() == expected.len() && ours.iter().zip(expected).all(|(a, b)| same(a, b))
        }
        (Value::Object(ours), Value::Object(expected)) => {
            (ours.len() == expected.len() || expected.contains_key("type"))
                && expected.iter().all(|(name, b)| ours.get(name).is_some_and(|a| same(a, b)))
        }
        _ => ours == expected,
    }
}

/// Status times in the order of the names: Go writes them in any order.
fn by_name(rows: &[Value]) -> Vec<&Value> {
    let mut rows: Vec<_> = rows.iter().collect();
    let is_time = |row: &&Value| row["ltime"].is_u64() && row["node"].is_string();
    if rows.iter().all(is_time) {
        rows.sort_by_key(|row| row["node"].as_str());
    }
    rows
}

/// The expected record of a message.
struct Expected {
    kind: String,
    fields: Map<String, Value>,
}

impl Expected {
    fn of(go: &Value) -> Self {
        let serf = &go["serf"];
        match go["type"].as_str().expect("a type") {
            "user" if serf.is_object() => Self::of_serf(serf),
            "user" => {
                // For a stream Go lists the payload next to the header.
                let payload = match go["payload"].is_string() {
                    true => &go["payload"],
                    false => &go["fields"]["Payload"],
                };
                let fields = [("payload".to_owned(), text(payload))];
                Self { kind: "user".to_owned(), fields: fields.into_iter().collect() }
            }
            "push-pull" => {
                let rows = list(&go["rows"]).map(|row| Value::Object(plain(&row["fields"], row)));
                let mut fields = Map::new();
                fields.insert("join".to_owned(), go["fields"]["Join"].clone());
                fields.insert("nodes".to_owned(), go["fields"]["Nodes"].clone());
                fields.insert("rows".to_owned(), rows.collect());
                if serf.is_object() {
                    fields.insert("user_state".to_owned(), Self::of_serf(serf).nested());
                }
                Self { kind: "push-pull".to_owned(), fields }
            }
            "ack" => {
                let mut fields = plain(&go["fields"], go);
                if go["coordinate"].is_object() {
                    let coordinate = plain(&go["coordinate"]["fields"], go);
                    fields.insert("payload".to_owned(), Value::Object(coordinate));
                }
                Self { kind: "ack".to_owned(), fields }
            }
            kind => Self { kind: kind.to_owned(), fields: plain(&go["fields"], go) },
        }
    }

    fn of_serf(go: &Value) -> Self {
        let mut fields = plain(&go["fields"], go);
        let kind = match go["type"].as_str().expect("a type") {
            kind @ ("join" | "leave") => format!("{kind}-intent"),
            "push-pull" => "serf-state".to_owned(),
            "relay" => {
                let address = &go["fields"]["DestAddr"];
                let address = json!({"ip": ip(&address["IP"]), "port": address["Port"]});
                fields.insert("dest_addr".to_owned(), address);
                fields.insert("message".to_owned(), Self::of_serf(&go["inner"]).nested());
                "relay".to_owned()
            }
            "query" => {
                let filters = list(&go["filters"]).map(|filter| match filter["type"].as_str() {
                    Some("node") => json!({"nodes": filter["fields"]}),
                    _ => Value::Object(plain(&filter["fields"], filter)),
                });
                fields.insert("filters".to_owned(), filters.collect());
                if fields["name"]
                    .as_str()
                    .is_some_and(|name| name.ends_with("-keys") || name.ends_with("-key"))
                {
                    // Displayed decoded, without the key.
                    fields.remove("payload");
                }
                "query".to_owned()
            }
            kind => kind.to_owned(),
        };
        if go["payload"].is_object() {
            fields.insert("payload".to_owned(), Self::of_serf(&go["payload"]).nested());
        }
        if kind == "key-response" {
            // Keys are not displayed.
            fields.retain(|name, _| name == "result" || name == "message");
        }
        Self { kind, fields }
    }

    fn nested(self) -> Value {
        let mut all = Map::new();
        all.insert("type".to_owned(), self.kind.into());
        all.extend(self.fields);
        Value::Object(all)
    }
}

/// Go's fields with our names and formats.
fn plain(fields: &Value, entry: &Value) -> Map<String, Value> {
    let fields = fields.as_object().expect("fields");
    let mut plain = Map::new();
    for (name, value) in fields {
        let (name, value) = match name.as_str() {
            "Addr" | "SourceAddr" | "Target" => (snake(name), ip(value)),
            "Vsn" => (snake(name), bytes(value).into_iter().collect()),
            "Meta" => ("tags".to_owned(), tags(value, &entry["tags"])),
            "CC" => ("coalesce".to_owned(), value.clone()),
            "Timeout" => ("timeout_ns".to_owned(), value.clone()),
            "StatusLTimes" => (snake(name), times(value)),
            "Events" => (snake(name), events(value)),
            "LeftMembers" | "Vec" => (snake(name), list(value).cloned().collect()),
            // Displayed decoded.
            "Filters" | "DestAddr" => continue,
            _ if value.is_null() || value.is_string() => (snake(name), text(value)),
            _ => (snake(name), value.clone()),
        };
        plain.insert(name, value);
    }
    plain
}

/// `LTime` → `ltime`, `SeqNo` → `seq_no`, `ID` → `id`.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for (at, c) in name.replace("LTime", "Ltime").replace("ID", "Id").char_indices() {
        if c.is_ascii_uppercase() && at > 0 {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn bytes(value: &Value) -> Vec<u8> {
    let hex = value.as_str().and_then(|text| text.strip_prefix("hex:")).unwrap_or_default();
    hex::decode(hex).expect("hex")
}

/// A string, or bytes as we display them.
fn text(value: &Value) -> Value {
    match value.as_str() {
        Some(text) if text.starts_with("hex:") => match String::from_utf8(bytes(value)) {
            Ok(text) => text.into(),
            Err(_) => json!({"hex": &text["hex:".len()..]}),
        },
        Some(text) => text.into(),
        None => "".into(),
    }
}

fn ip(value: &Value) -> Value {
    let raw = bytes(value);
    let v4 = <[u8; 4]>::try_from(&*raw).map(IpAddr::from);
    match v4.or_else(|_| <[u8; 16]>::try_from(&*raw).map(IpAddr::from)) {
        Ok(ip) => ip.to_string().into(),
        Err(_) => text(value),
    }
}

fn tags(meta: &Value, tags: &Value) -> Value {
    // Together with Go's result on the order of the names.
    let tags = tags.get("fields").filter(|fields| fields.is_object()).unwrap_or(tags);
    if bytes(meta).is_empty() { json!({}) } else { tags.clone() }
}

/// Go writes the names in any order.
fn times(value: &Value) -> Value {
    let times = value.as_object().into_iter().flatten();
    times.map(|(node, ltime)| json!({"node": node, "ltime": ltime})).collect()
}

fn events(value: &Value) -> Value {
    let slots = list(value).filter(|slot| !slot.is_null());
    let events = slots.flat_map(|slot| {
        list(&slot["Events"]).map(|event| {
            json!({
                "ltime": slot["LTime"], "name": event["Name"], "payload": text(&event["Payload"]),
            })
        })
    });
    events.collect()
}
