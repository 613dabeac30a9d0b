//! `serf join`

use serde_json::json;

use super::{
    super::output::error_line, CommandSpec, FORMAT, Failure, Flag, Kind, Parsed, RPC, SPEC,
    block_on, connect, failed, flag, print, wants_json,
};
use crate::{
    agent::{Trust, find_seeds},
    serf::OldEvents,
};

pub(super) const JOIN: CommandSpec = CommandSpec {
    name: "join",
    synopsis: "Tell Serf agent to join cluster",
    arguments: "[options] address ...",
    about: "Makes a running agent join a cluster: it contacts the given members and learns of all \
            others from them. Use it after the agents were started, or to merge two clusters; \
            `serf agent -join` and `-retry-join` join at the start. One address that answers is \
            enough; a missing port is 7946. An address may also be dns+NAME:PORT (all addresses of \
            a name), dnssrv+NAME or dnssrvnoa+NAME (service records), file:PATH (a line each) or \
            exec:COMMAND (a line of output each), resolved by this command.\n\n\
            Exits with 0 if at least one address answered, with 1 otherwise.",
    flags: &[FLAGS, FORMAT, RPC],
    run,
    ..SPEC
};

fn run(args: &Parsed) -> Result<(), Failure> {
    if args.positionals.is_empty() {
        let message = "At least one address to join must be specified.";
        return Err(Failure::Usage(message.to_owned()));
    }
    wants_json(args)?;
    block_on(async {
        let client = connect(args).await?;
        let found = find_seeds(&args.positionals, Trust::Local).await;
        if found.addrs.is_empty() {
            let error = found.error();
            return Err(Failure::Message(format!("Error joining the cluster: {error}")));
        }
        for error in &found.errors {
            error_line(error);
        }
        let old = if args.bool("replay") { OldEvents::Deliver } else { OldEvents::Ignore };
        let joined = client.join(&found.addrs, old).await;
        let count = joined.map_err(failed("Error joining the cluster"))?;
        let text = format!("Successfully joined cluster by contacting {count} nodes.");
        print(args, &text, &json!({ "contacted": count }))
    })
}

const FLAGS: &[Flag] =
    &[flag("replay", Kind::Bool, "", "Deliver user events from before the join.")];
