//! `serf query`

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    super::output::{bytes, line, pretty},
    CommandSpec, FORMAT, Failure, Flag, Kind, Parsed, RPC, SPEC, connect,
    event::name_and_payload,
    expression, failed, flag, missing, tags, until_interrupt,
};
use crate::{
    client::{QueryEvent, QueryStream},
    rpc::protocol::{Blob, Query},
};

pub(super) const QUERY: CommandSpec = CommandSpec {
    name: "query",
    synopsis: "Send a query to the Serf cluster",
    arguments: "[options] name [payload]",
    about: "Sends a query to all members, or to those that match, and shows their acks and \
            responses until all have answered or the timeout ends. Use it to collect answers of \
            the members' event handlers, such as load or version.\n\n\
            Exits with 0 if the query was sent, even if no member answered, and with 1 otherwise \
            or when it is interrupted.",
    flags: &[FLAGS, FORMAT, RPC],
    run,
    ..SPEC
};

fn run(args: &Parsed) -> Result<(), Failure> {
    let filter_tags = tags(&args.list("tag"))?;
    let (name, payload) = name_and_payload(args, "A query name must be specified.")?;
    let relay_factor = u8::try_from(args.int("relay-factor").unwrap_or(0))
        .map_err(|_| Failure::Message("Relay factor must be between 0 and 255".to_owned()))?;
    let nodes = args.list("node");
    let query = Query {
        filter_nodes: Some(nodes).filter(|nodes| !nodes.is_empty()),
        filter_tags: Some(filter_tags),
        request_ack: !args.bool("no-ack"),
        relay_factor,
        timeout: args.duration("timeout").unwrap_or(0),
        name: args.raw_name().into(),
        payload: Blob(payload.to_vec()),
    };
    for expr in query.filter_tags.iter().flat_map(BTreeMap::values) {
        expression("tag", expr, false)?;
    }
    let name = name.to_owned();
    until_interrupt(args, Err(Failure::Silent), move |args| async move {
        let client = connect(&args).await?;
        let json = match args.text("format").unwrap_or("text") {
            "text" => false,
            "json" => true,
            other => return Err(Failure::Message(format!("Invalid format: {other}"))),
        };
        let acks = query.request_ack;
        let expected = missing::expected(&client, &query).await.unwrap_or_default();
        let mut asked = Asked::new(expected, acks);
        asked.known &= !args.bool("until-timeout");
        let stream = client.query(query).await.map_err(failed("Error sending query"))?;
        if json {
            print_json(stream, asked).await
        } else {
            print_text(stream, &name, acks, asked).await
        }
    })
}

/// The members that have not answered yet.
#[derive(Default)]
struct Asked {
    /// Whether the expected members are known.
    known: bool,
    /// Members whose ack is missing.
    acks: BTreeSet<String>,
    /// Members whose response is missing.
    responses: BTreeSet<String>,
    /// Without acks, a missing response does not indicate a problem.
    silence_is_fine: bool,
}

impl Asked {
    fn new(expected: BTreeSet<String>, acks: bool) -> Self {
        Self {
            known: !expected.is_empty(),
            acks: if acks { expected.clone() } else { BTreeSet::new() },
            responses: expected,
            silence_is_fine: !acks,
        }
    }

    /// Records an ack or a response.
    fn note(&mut self, event: &QueryEvent) {
        match event {
            QueryEvent::Ack(from) => self.acks.remove(from),
            QueryEvent::Response { from, .. } => self.responses.remove(from),
        };
    }

    fn all_answered(&self) -> bool {
        self.known && self.acks.is_empty() && self.responses.is_empty()
    }

    /// Members that sent neither ack nor response.
    fn silent(&self) -> Vec<String> {
        if self.silence_is_fine {
            return Vec::new();
        }
        self.acks.intersection(&self.responses).cloned().collect()
    }
}

async fn print_text(
    mut stream: QueryStream,
    name: &str,
    acks: bool,
    mut asked: Asked,
) -> Result<(), Failure> {
    line(&format!("Query '{name}' dispatched"));
    let (mut total_acks, mut total_responses) = (0, 0);
    while let Some(event) = stream.recv().await? {
        asked.note(&event);
        match event {
            QueryEvent::Ack(from) => {
                total_acks += 1;
                line(&format!("Ack from '{from}'"));
            }
            QueryEvent::Response { from, payload } => {
                total_responses += 1;
                let payload = payload.strip_suffix(b"\n").unwrap_or(&payload);
                let mut out = format!("Response from '{from}': ").into_bytes();
                out.extend_from_slice(payload);
                out.push(b'\n');
                bytes(&out);
            }
        }
        if asked.all_answered() {
            break;
        }
    }
    if acks {
        line(&format!("Total Acks: {total_acks}"));
    }
    line(&format!("Total Responses: {total_responses}"));
    missing::print("Missing acks from", &asked.silent());
    Ok(())
}

async fn print_json(mut stream: QueryStream, mut asked: Asked) -> Result<(), Failure> {
    let (mut acks, mut responses) = (Vec::new(), BTreeMap::new());
    while let Some(event) = stream.recv().await? {
        asked.note(&event);
        match event {
            QueryEvent::Ack(from) => acks.push(from),
            QueryEvent::Response { from, payload } => {
                responses.insert(from, String::from_utf8_lossy(&payload).into_owned());
            }
        }
        if asked.all_answered() {
            break;
        }
    }
    // Go's list is nil when it is empty.
    let acks = Some(acks).filter(|acks| !acks.is_empty());
    line(&pretty(&Answers { acks, responses, missing: asked.silent() }));
    Ok(())
}

/// The output of `-format json`; the field names are Go's.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answers {
    acks: Option<Vec<String>>,
    responses: BTreeMap<String, String>,
    /// Not in Go's output.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<String>,
}

const FLAGS: &[Flag] = &[
    flag("no-ack", Kind::Bool, "", "Do not ask for acks."),
    flag("node", Kind::List, "<name>", "Ask only this member."),
    flag(
        "relay-factor",
        Kind::Int,
        "0",
        "Number of other members that relay each response a second time; 0 to 255.",
    ),
    flag("tag", Kind::List, "<key>=<regexp>", "Ask only members whose tag matches."),
    flag(
        "until-timeout",
        Kind::Bool,
        "",
        "Wait until the timeout even if all members have answered.",
    ),
    flag(
        "timeout",
        Kind::Duration,
        "15s",
        "Time to wait; depends on the size of the cluster unless set.",
    ),
];
