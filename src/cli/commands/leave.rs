//! `serf leave`

use serde_json::json;

use super::{CommandSpec, Failure, Parsed, SPEC, block_on, connect, failed, print, wants_json};

pub(super) const LEAVE: CommandSpec = CommandSpec {
    name: "leave",
    synopsis: "Gracefully leaves the Serf cluster and shuts down",
    arguments: "[options]",
    about: "Makes an agent leave the cluster and exit. Use it before a planned shutdown: the other \
            members then see the node as left, not as failed, and do not try to reconnect to \
            it.\n\n\
            Exits with 0 once the agent has left, with 1 otherwise.",
    run,
    ..SPEC
};

fn run(args: &Parsed) -> Result<(), Failure> {
    wants_json(args)?;
    block_on(async {
        let client = connect(args).await?;
        client.leave().await.map_err(failed("Error leaving"))?;
        print(args, "Graceful leave complete", &json!({ "left": true }))
    })
}
