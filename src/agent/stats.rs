//! The statistics of `serf info`.

use std::collections::BTreeMap;

use super::operations::Agent;
use crate::rpc::protocol::Stats;

impl Agent {
    /// Go: `agent.go: Stats`. All values are strings.
    pub(super) async fn stats(&self) -> Stats {
        let local = self.serf.local_member().await;
        let text = |key: &str, value: String| (key.to_owned(), value);
        let runtime = tokio::runtime::Handle::current().metrics();
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let tags = local.tags.iter().map(|(name, value)| text(name, value.to_owned()));
        // The handlers of the start, as in Go; of several with the same filter the last is shown.
        let handlers = self
            .settings
            .reloadable
            .scripts
            .iter()
            .map(|script| (script.filter.key(), script.script.clone()));
        let mut stats = BTreeMap::from([
            ("agent".to_owned(), BTreeMap::from([text("name", self.settings.node.name.clone())])),
            (
                "runtime".to_owned(),
                BTreeMap::from([
                    text("os", std::env::consts::OS.to_owned()),
                    text("arch", go_arch().to_owned()),
                    text("version", concat!("rust", env!("CARGO_PKG_RUST_VERSION")).to_owned()),
                    text("max_procs", runtime.num_workers().to_string()),
                    text("goroutines", runtime.num_alive_tasks().to_string()),
                    text("cpu_count", cpus.to_string()),
                ]),
            ),
            ("serf".to_owned(), self.serf.stats().await),
            ("tags".to_owned(), tags.collect()),
            ("event_handlers".to_owned(), handlers.collect()),
        ]);
        // Not in Go, and present only if there is something to report.
        for (group, values) in [("udp", self.udp_troubles().await), ("faults", self.faults().await)]
        {
            if !values.is_empty() {
                stats.insert(group.to_owned(), values);
            }
        }
        stats
    }
}

fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}
