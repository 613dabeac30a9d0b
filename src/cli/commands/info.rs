//! `serf info`

use super::{CommandSpec, Failure, Parsed, SPEC, block_on, connect, failed, print};

pub(super) const INFO: CommandSpec = CommandSpec {
    name: "info",
    synopsis: "Provides debugging information for operators",
    arguments: "[options]",
    about: "Shows an agent's statistics: name, event handlers, tags, clocks, queue depths, and the \
            figures of its process. Use it to debug an agent, or to see whether queues grow.\n\n\
            Exits with 0, or with 1 if the agent does not answer.",
    run,
    ..SPEC
};

fn run(args: &Parsed) -> Result<(), Failure> {
    block_on(async {
        let client = connect(args).await?;
        let stats = client.stats().await.map_err(failed("Error querying agent"))?;
        let mut text = String::new();
        for (group, values) in &stats {
            text.push_str(&format!("{group}:\n"));
            for (key, value) in values {
                text.push_str(&format!("\t{key} = {value}\n"));
            }
        }
        print(args, text.trim(), &stats)
    })
}
