//! `serf decode`

use std::{fs::File, io::Read};

use super::{
    super::{
        decode::{Filter, Format, Options, decode},
        output,
    },
    CommandSpec, FORMAT, Failure, Flag, Kind, Parsed, SPEC, flag, secret, wants_json,
};
use crate::{base::go_net, wire::Keyring};

pub(super) const DECODE: CommandSpec = CommandSpec {
    name: "decode",
    synopsis: "Decodes the gossip in a packet capture",
    arguments: "[options] file ...",
    about: "Reads captures in pcap or pcapng, or - for the standard input (such as the output of \
            tcpdump -w -), and prints a line for each message of Serf, Consul and Nomad: time, \
            source and destination, the layers around it, its type and its fields. Use it to see \
            the messages between nodes. It contacts no agent.\n\n\
            Exits with 0 at the end of the capture, and with 1 if the capture cannot be read to \
            its end; earlier messages are printed.",
    flags: &[FLAGS, FORMAT],
    run,
    ..SPEC
};

fn run(args: &Parsed) -> Result<(), Failure> {
    let options = options(args)?;
    if args.positionals.is_empty() {
        return Err(Failure::Usage("At least one file must be specified.".to_owned()));
    }
    let mut inputs: Vec<Box<dyn Read>> = Vec::new();
    for name in &args.positionals {
        if name == "-" {
            // The first interrupt ends tcpdump; what it has written is still decoded.
            let interrupted = std::sync::Arc::default();
            let int = signal_hook::consts::SIGINT;
            let _ = signal_hook::flag::register_conditional_default(
                int,
                std::sync::Arc::clone(&interrupted),
            );
            let _ = signal_hook::flag::register(int, interrupted);
            inputs.push(Box::new(std::io::stdin()));
            continue;
        }
        let file = File::open(name).map_err(|error| {
            Failure::Message(format!("open {name}: {}", go_net::error_text(&error)))
        })?;
        inputs.push(Box::new(file));
    }
    let result = decode(inputs, &options, &mut |lines| output::bytes(lines.as_bytes()));
    match result {
        Ok(summary) => {
            output::error_line(&summary);
            Ok(())
        }
        Err(error) => Err(Failure::Message(format!("Error reading the capture: {error}"))),
    }
}

fn options(args: &Parsed) -> Result<Options, Failure> {
    let message = |error: &dyn std::fmt::Display| Failure::Message(error.to_string());
    let mut keys = Vec::new();
    for written in args.list("encrypt") {
        keys.push(secret("encrypt", &written)?);
    }
    let mut keyring = match keys.is_empty() {
        true => Keyring::default(),
        false => Keyring::from_base64(keys.iter().map(|key| key.expose()))
            .map_err(|error| Failure::Message(format!("Invalid encryption key: {error}")))?,
    };
    if let Some(path) = args.text("keyring-file") {
        for key in Keyring::load(path).map_err(|error| message(&error))?.keys() {
            keyring.add_key(key).map_err(|error| message(&error))?;
        }
    }
    let mut options = Options { keyring, ..Options::default() };
    options.label = args.text("label").map(|label| label.as_bytes().to_vec());
    for port in args.list("port") {
        let parsed = port.parse();
        options.ports.insert(parsed.map_err(|_| message(&format!("Invalid port: '{port}'")))?);
    }
    let lists = ["type", "node", "name"].map(|name| args.list(name));
    let [types, nodes, names] = &lists;
    options.filter = Filter::build(types, nodes, names)
        .map_err(|error| message(&format!("Invalid -type: {error}")))?;
    options.format = if wants_json(args)? { Format::Json } else { Format::Text };
    options.stats = args.bool("stats");
    Ok(options)
}

const FLAGS: &[Flag] = &[
    flag(
        "encrypt",
        Kind::List,
        "<key>",
        "Key to decrypt with, or @FILE that holds it; can be given several times.",
    ),
    flag("keyring-file", Kind::Text, "<file>", "Keyring file of an agent, whose keys are tried."),
    flag(
        "label",
        Kind::Text,
        "<label>",
        "Only packets with this label; by default any label is accepted.",
    ),
    flag(
        "port",
        Kind::List,
        "<port>",
        "Additional gossip port, besides 7946, 8301, 8302 and 4648; can be given several times. On \
         other ports only unmistakable gossip is decoded.",
    ),
    flag(
        "type",
        Kind::List,
        "<type>",
        "Only messages of this type, such as suspect or user-event; can be given several times.",
    ),
    flag(
        "node",
        Kind::List,
        "<name>",
        "Only messages that name this node; can be given several times.",
    ),
    flag(
        "name",
        Kind::List,
        "<name>",
        "Only events and queries of this name; can be given several times.",
    ),
    flag(
        "stats",
        Kind::Bool,
        "",
        "Prints statistics instead of messages: number and bytes by type, retransmissions, and \
         round trips of probes.",
    ),
];
