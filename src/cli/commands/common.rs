//! Shared by several commands: flags, the connection to the agent, output.

use std::{collections::BTreeMap, future::Future};

use serde::Serialize;
use tokio::{signal::unix::SignalKind, sync::oneshot};

use crate::{
    base::Secret,
    cli::{CommandSpec, Failure, Flag, Kind, Parsed, non_utf8::variable, output, tls},
    client::{Client, Config, Error, KeyResponse},
    serf::Regex,
};

/// The default values of a command.
pub(super) const SPEC: CommandSpec = CommandSpec {
    name: "",
    synopsis: "",
    arguments: "",
    about: "",
    flags: &[FORMAT, RPC],
    ignores_flags: false,
    error_prefix: "",
    run: |_| Ok(()),
};

pub(super) const fn flag(
    name: &'static str,
    kind: Kind,
    value: &'static str,
    help: &'static str,
) -> Flag {
    Flag { name, kind, value, help }
}

/// Flags of every command that talks to an agent.
pub(super) const RPC: &[Flag] = &{
    let [tls, ca, cert, key, name] = tls::FLAGS;
    [ADDRESS, TOKEN, tls, ca, cert, key, name]
};

pub(super) const FORMAT: &[Flag] =
    &[flag("format", Kind::Text, "text", "Output format: text (the default) or json.")];

/// Runs a command's future to completion.
pub(super) fn block_on(future: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    runtime()?.block_on(future)
}

/// Runs a command's future to completion, or until SIGINT, when it returns `interrupted`.
///
/// The future runs on a thread of its own: a suspended terminal may block it inside a line, and the
/// signal must end the command even then.
pub(super) fn until_interrupt<F>(
    args: &Parsed,
    interrupted: Result<(), Failure>,
    work: impl FnOnce(Parsed) -> F + Send + 'static,
) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    let runtime = runtime()?;
    runtime.block_on(async {
        let interrupt = tokio::signal::unix::signal(SignalKind::interrupt());
        let mut interrupt = interrupt.map_err(|error| Failure::Message(error.to_string()))?;
        let (done, finished) = oneshot::channel();
        let args = args.clone();
        std::thread::spawn(move || done.send(block_on(work(args))));
        tokio::select! {
            result = finished => result.unwrap_or(Err(Failure::Silent)),
            _ = interrupt.recv() => interrupted,
        }
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Message(error.to_string()))
}

pub(super) async fn connect(args: &Parsed) -> Result<Client, Failure> {
    let addr = args.text("rpc-addr").map(str::to_owned).or_else(|| variable("SERF_RPC_ADDR"));
    let auth = args.text("rpc-auth").map(str::to_owned).or_else(|| variable("SERF_RPC_AUTH"));
    let mut config = Config::new(addr.unwrap_or_else(|| "127.0.0.1:7373".to_owned()));
    config.auth_key = secret("rpc-auth", &auth.unwrap_or_default())?;
    let config = tls::apply(args, config)?;
    Client::connect(config).await.map_err(|error| {
        let text = format!("Error connecting to Serf agent: {error}");
        match error {
            Error::Closed if tls::is_wanted(args) => Failure::Hinted(text, WANTS_CERTIFICATE),
            Error::Closed => Failure::Hinted(text, NOT_AN_AGENT),
            _ => Failure::Message(text),
        }
    })
}

/// Resolves a secret given on the command line or in a file.
pub(super) fn secret(what: &str, written: &str) -> Result<Secret, Failure> {
    crate::agent::resolve_secret(what, written).map_err(|error| Failure::Message(error.to_string()))
}

/// For `map_err`: Go's prefix and the error, with a hint at the likely cause if Go's text has none.
pub(super) fn failed(what: &str) -> impl FnOnce(Error) -> Failure {
    let what = what.to_owned();
    move |error| {
        let text = format!("{what}: {error}");
        match &error {
            Error::Closed => Failure::Hinted(text, AGENT_CLOSED),
            Error::Agent(reason) if reason.trim_end().ends_with("EOF") => {
                Failure::Hinted(text, PEER_CLOSED)
            }
            _ => Failure::Message(text),
        }
    }
}

/// Splits the result of a key command into the members' answers and, if some did not perform it,
/// the agent's error.
pub(super) fn key_outcome(
    answered: Result<KeyResponse, Error>,
) -> Result<(KeyResponse, Option<String>), Error> {
    match answered {
        Ok(response) => Ok((response, None)),
        Err(Error::Keys(failure)) => Ok((failure.response, Some(failure.summary))),
        Err(error) => Err(error),
    }
}

/// Refuses an expression that Go's dialect does not accept, for which the agent would close the
/// connection. The agent anchors expressions that filter members.
pub(super) fn expression(flag: &str, text: &str, anchored: bool) -> Result<(), Failure> {
    let whole = if anchored { format!("^{text}$") } else { text.to_owned() };
    let text = format!("Error: Invalid regular expression for -{flag}: '{text}'");
    Regex::compile(whole.as_bytes()).map(drop).ok_or(Failure::Message(text))
}

/// Parses the tags of a flag: `NAME=VALUE`.
pub(super) fn tags(given: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    crate::agent::parse_tags(given).map_err(Failure::Message)
}

/// Prints a command's only result, as text or JSON.
pub(super) fn print(args: &Parsed, text: &str, json: &impl Serialize) -> Result<(), Failure> {
    let line = if wants_json(args)? { output::pretty(json) } else { text.to_owned() };
    output::line(&line);
    Ok(())
}

/// Whether JSON output is requested. Commands with side effects validate the format first.
pub(super) fn wants_json(args: &Parsed) -> Result<bool, Failure> {
    match args.text("format").unwrap_or("text") {
        "text" => Ok(false),
        "json" => Ok(true),
        other => Err(bad_format(other)),
    }
}

fn bad_format(format: &str) -> Failure {
    Failure::Message(format!("Encoding error: Invalid output format {format:?}"))
}

const ADDRESS: Flag = flag(
    "rpc-addr",
    Kind::Text,
    "127.0.0.1:7373",
    "Address of the agent's RPC, host:port or unix:PATH. The environment variable \
         SERF_RPC_ADDR sets another default.",
);
const TOKEN: Flag = flag(
    "rpc-auth",
    Kind::Text,
    "\"\"",
    "Token for the agent's RPC, or @FILE that holds it. The environment variable SERF_RPC_AUTH \
         sets another default.",
);
const NOT_AN_AGENT: &str = "The other side closed the connection at once: -rpc-addr must be the \
    address of an agent's RPC (port 7373), not that of its gossip (port 7946).";
const WANTS_CERTIFICATE: &str = "The agent closed the connection at once: it may want a \
    certificate of the client, or another one (-rpc-cert, -rpc-key).";
const AGENT_CLOSED: &str =
    "The agent closed the connection: it has stopped, or it refused the request.";
const PEER_CLOSED: &str = "The member closed the connection: its label or its encryption key may \
    differ from this agent's, or the address is not one for gossip.";
