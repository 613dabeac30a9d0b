//! `serf monitor`

use super::{
    super::output::{Json, line},
    CommandSpec, FORMAT, Failure, Flag, Kind, Parsed, RPC, connect, failed, flag, until_interrupt,
    wants_json,
};
use crate::{
    client::EventRecord,
    rpc::protocol::{MemberEventRecord, QueryEventRecord, UserEventRecord},
};

pub(super) const MONITOR: CommandSpec = CommandSpec {
    name: "monitor",
    synopsis: "Stream logs from a Serf agent",
    arguments: "[options]",
    about: "Shows the last lines of an agent's log, then new lines and events as they come.",
    flags: &[FLAGS, FORMAT, RPC],
    ignores_flags: false,
    error_prefix: "",
    run,
};

const FLAGS: &[Flag] =
    &[flag("log-level", Kind::Text, "info", "Least level: trace, debug, info, warn or err.")];

fn run(args: &Parsed) -> Result<(), Failure> {
    let json = wants_json(args)?;
    until_interrupt(args, Ok(()), move |args| async move {
        let level = args.text("log-level").unwrap_or("INFO");
        let client = connect(&args).await?;
        let mut events = client.stream("*").await.map_err(failed("Error starting stream"))?;
        let mut log = client.monitor(level).await.map_err(failed("Error starting monitor"))?;
        loop {
            tokio::select! {
                record = log.recv() => match record? {
                    Some(text) if json => line(&Json::object([("log", Json::text(text))]).compact()),
                    Some(text) => line(&text),
                    None => break,
                },
                event = events.recv() => match event? {
                    Some(event) if json => line(&as_json(&event).compact()),
                    Some(event) => line(&describe(&event)),
                    None => break,
                },
            }
        }
        if !json {
            line("");
        }
        Err(Failure::Message(
            "Remote side ended the monitor! This usually means that the\n\
             remote side has exited or crashed."
                .to_owned(),
        ))
    })
}

/// One object per event; a payload is text, as far as it is UTF-8.
fn as_json(event: &EventRecord) -> Json {
    let number = |n: u64| Json::Int(i64::try_from(n).unwrap_or(i64::MAX));
    let payload = |bytes: &[u8]| Json::text(String::from_utf8_lossy(bytes));
    match event {
        EventRecord::Member(MemberEventRecord { event, members }) => {
            let members = members.iter().map(|member| {
                let tags = member.tags.iter().map(|(k, v)| (k.clone(), Json::text(v)));
                Json::object([
                    ("name", Json::text(&member.name)),
                    ("status", Json::text(&member.status)),
                    ("tags", Json::object(tags)),
                ])
            });
            Json::object([("event", Json::text(event)), ("members", Json::List(members.collect()))])
        }
        EventRecord::User(UserEventRecord { event, l_time, name, payload: bytes, coalesce }) => {
            Json::object([
                ("event", Json::text(event)),
                ("name", Json::text(name)),
                ("ltime", number(*l_time)),
                ("coalesce", Json::Bool(*coalesce)),
                ("payload", payload(&bytes.0)),
            ])
        }
        EventRecord::Query(QueryEventRecord { event, id, l_time, name, payload: bytes }) => {
            Json::object([
                ("event", Json::text(event)),
                ("name", Json::text(name)),
                ("ltime", number(*l_time)),
                ("id", number(*id)),
                ("payload", payload(&bytes.0)),
            ])
        }
    }
}

/// One block per event, values as Go's `%#v` shows them.
fn describe(event: &EventRecord) -> String {
    let fields = match event {
        EventRecord::Member(MemberEventRecord { event, members }) => {
            let members: Vec<_> = members
                .iter()
                .map(|member| {
                    let tags = member.tags.iter().map(|(k, v)| format!("{k:?}:{v:?}"));
                    format!(
                        "map[interface {{}}]interface {{}}{{\"Addr\":{}, \"Name\":{:?}, \
                         \"Port\":{:#x}, \"Status\":{:?}, \"Tags\":map[interface {{}}]\
                         interface {{}}{{{}}}}}",
                        go_bytes(&member.addr.0),
                        member.name,
                        member.port,
                        member.status,
                        tags.collect::<Vec<_>>().join(", "),
                    )
                })
                .collect();
            let members = format!("[]interface {{}}{{{}}}", members.join(", "));
            vec![("Event", format!("{event:?}")), ("Members", members)]
        }
        EventRecord::User(UserEventRecord { event, l_time, name, payload, coalesce }) => vec![
            ("Coalesce", coalesce.to_string()),
            ("Event", format!("{event:?}")),
            ("LTime", go_number(*l_time)),
            ("Name", format!("{name:?}")),
            ("Payload", go_bytes(&payload.0)),
        ],
        EventRecord::Query(QueryEventRecord { event, id, l_time, name, payload }) => vec![
            ("Event", format!("{event:?}")),
            ("ID", go_number(*id)),
            ("LTime", go_number(*l_time)),
            ("Name", format!("{name:?}")),
            ("Payload", go_bytes(&payload.0)),
        ],
    };
    let lines = fields.into_iter().map(|(key, value)| format!("\n\t{key}: {value}"));
    format!("Event Info:{}", lines.collect::<String>())
}

/// Small numbers decode as signed in Go, larger ones as unsigned, which `%#v` shows in hex.
fn go_number(value: u64) -> String {
    if value <= 127 { value.to_string() } else { format!("{value:#x}") }
}

fn go_bytes(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "interface {}(nil)".to_owned();
    }
    let bytes: Vec<_> = bytes.iter().map(|byte| format!("{byte:#x}")).collect();
    format!("[]byte{{{}}}", bytes.join(", "))
}
