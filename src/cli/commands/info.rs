//! `serf info`

use super::{
    super::output::Json, CommandSpec, FORMAT, Failure, Parsed, RPC, block_on, connect, failed,
    say_trimmed,
};

pub(super) const INFO: CommandSpec = CommandSpec {
    name: "info",
    synopsis: "Provides debugging information for operators",
    arguments: "[options]",
    about: "Shows what an agent tells of itself, for debugging.",
    flags: &[FORMAT, RPC],
    ignores_flags: false,
    error_prefix: "",
    run,
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
        let json = Json::object(stats.into_iter().map(|(group, values)| {
            (group, Json::object(values.into_iter().map(|(key, value)| (key, Json::Text(value)))))
        }));
        say_trimmed(args, &text, json)
    })
}
