//! `serf monitor`

use std::io::IsTerminal as _;

use super::{
    super::{
        event_text,
        output::{Json, line},
    },
    CommandSpec, FORMAT, Failure, Flag, Kind, Parsed, RPC, connect, failed, flag, until_interrupt,
    wants_json,
};

pub(super) const MONITOR: CommandSpec = CommandSpec {
    name: "monitor",
    synopsis: "Stream logs from a Serf agent",
    arguments: "[options]",
    about: "Shows the last lines of an agent's log, then new lines and events as they come. Events are \
            lines on a terminal, and as Go prints them elsewhere.",
    flags: &[FLAGS, FORMAT, RPC],
    ignores_flags: false,
    error_prefix: "",
    run,
};

const FLAGS: &[Flag] =
    &[flag("log-level", Kind::Text, "info", "Least level: trace, debug, info, warn or err.")];

fn run(args: &Parsed) -> Result<(), Failure> {
    let json = wants_json(args)?;
    // Programs that read from a pipe expect what Go prints.
    let readable = std::io::stdout().is_terminal();
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
                    Some(event) if json => line(&event_text::json(&event).compact()),
                    Some(event) if readable => line(&event_text::readable(&event, &now())),
                    Some(event) => line(&event_text::as_go(&event)),
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

/// As in lines of the log.
fn now() -> String {
    jiff::Zoned::now().strftime("%Y/%m/%d %H:%M:%S").to_string()
}
