//! `serf event`

use serde::Serialize;

use super::{
    CommandSpec, FORMAT, Failure, Flag, Kind, Parsed, RPC, SPEC, block_on, connect, failed, flag,
    print, wants_json,
};
use crate::serf::UserEventSpec;

pub(super) const EVENT: CommandSpec = CommandSpec {
    name: "event",
    synopsis: "Send a custom event through the Serf cluster",
    arguments: "[options] name [payload]",
    about: "Sends a user event, a name and an optional payload, to all members of the cluster. Use \
            it to trigger event handlers everywhere, such as a deployment. Name and payload \
            together hold 512 bytes unless the agent's `user_event_size_limit` says otherwise; \
            delivery is not confirmed; use `serf query` if it must be.\n\n\
            Exits with 0 once the agent has accepted the event, with 1 otherwise.",
    flags: &[FLAGS, FORMAT, RPC],
    run,
    ..SPEC
};

/// The output of `-format json`.
#[derive(Serialize)]
struct Sent<'a> {
    event: &'a str,
    coalesce: bool,
}

fn run(args: &Parsed) -> Result<(), Failure> {
    let (name, payload) = name_and_payload(args, "An event name must be specified.")?;
    let coalesce = args.text("coalesce").is_none() || args.bool("coalesce");
    wants_json(args)?;
    block_on(async {
        let client = connect(args).await?;
        let event = UserEventSpec::new(args.raw_name(), payload.to_vec()).coalesce(coalesce);
        let sent = client.user_event(&event).await;
        sent.map_err(failed("Error sending event"))?;
        let text = format!("Event '{name}' dispatched! Coalescing enabled: {coalesce}");
        print(args, &text, &Sent { event: name, coalesce })
    })
}

/// The arguments of events and queries. Payloads may be any bytes.
pub(super) fn name_and_payload<'a>(
    args: &'a Parsed,
    missing: &str,
) -> Result<(&'a str, &'a [u8]), Failure> {
    let payload = args.raw.get(1).map(Vec::as_slice).unwrap_or_default();
    match args.positionals.as_slice() {
        [] => Err(Failure::Usage(missing.to_owned())),
        [name] | [name, _] => Ok((name, payload)),
        _ => Err(Failure::Usage(
            "Too many command line arguments. Only a name and payload must be specified."
                .to_owned(),
        )),
    }
}

const FLAGS: &[Flag] = &[flag(
    "coalesce",
    Kind::Bool,
    "",
    "Let receivers keep only the last of several events of this name that arrive within a short \
     time; the default. -coalesce=false delivers each one.",
)];
