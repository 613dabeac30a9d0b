//! `serf monitor`

use std::io::IsTerminal as _;

use serde_json::json;

use super::{
    super::{
        event_text,
        output::{compact, line},
    },
    CommandSpec, FORMAT, Failure, Flag, Kind, Parsed, RPC, SPEC, connect, failed, flag,
    until_interrupt, wants_json,
};

pub(super) const MONITOR: CommandSpec = CommandSpec {
    name: "monitor",
    synopsis: "Stream logs from a Serf agent",
    arguments: "[options]",
    about: "Shows the last lines of an agent's log, then new lines and events as they occur. Use \
            it to watch a running agent at a more detailed level than its own log. Events are \
            printed as lines on a terminal, and in the format of Go's Serf elsewhere. With \
            -format json each is an object, and a name or payload that is not UTF-8 is \
            {\"hex\": \"...\"}.\n\n\
            Runs until it is interrupted, then exits with 0; exits with 1 if the agent ends.",
    flags: &[FLAGS, FORMAT, RPC],
    run,
    ..SPEC
};

fn run(args: &Parsed) -> Result<(), Failure> {
    let wants_json = wants_json(args)?;
    // Programs that read from a pipe expect Go's format.
    let readable = std::io::stdout().is_terminal();
    until_interrupt(args, Ok(()), move |args| async move {
        let level = args.text("log-level").unwrap_or("INFO");
        let client = connect(&args).await?;
        let mut events = client.stream("*").await.map_err(failed("Error starting stream"))?;
        let mut log = client.monitor(level).await.map_err(failed("Error starting monitor"))?;
        loop {
            tokio::select! {
                record = log.recv() => match record? {
                    Some(text) if wants_json => line(&compact(&json!({ "log": text }))),
                    Some(text) => line(&text),
                    None => break,
                },
                event = events.recv() => match event? {
                    Some(event) if wants_json => line(&compact(&event_text::Json::of(&event))),
                    Some(event) if readable => line(&event_text::readable(&event, &now())),
                    Some(event) => line(&event_text::as_go(&event)),
                    None => break,
                },
            }
        }
        if !wants_json {
            line("");
        }
        Err(Failure::Message(
            "Remote side ended the monitor! This usually means that the\n\
             remote side has exited or crashed."
                .to_owned(),
        ))
    })
}

/// The current time in the format of log lines.
fn now() -> String {
    jiff::Zoned::now().strftime("%Y/%m/%d %H:%M:%S").to_string()
}

const FLAGS: &[Flag] =
    &[flag("log-level", Kind::Text, "info", "Least level: trace, debug, info, warn or err.")];
