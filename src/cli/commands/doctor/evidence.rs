//! Gathers the evidence through the agent's RPC only, so that it also works, with less detail, for
//! HashiCorp's agent.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::super::{Failure, failed, key_outcome};
use crate::{
    client::{Client, QueryEvent},
    rpc::protocol::{Member, Query, Stats},
};

/// What an agent reports of itself and its peers.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    pub(super) members: Vec<Member>,
    pub(super) stats: Stats,
    /// Live members that did not acknowledge a ping in time.
    pub(super) silent: BTreeSet<String>,
    /// Number of live members that were pinged.
    pub(super) asked: usize,
    /// Number of members that have each key, and of those that answered; `None` without encryption.
    /// What the others have is not known.
    pub(super) keys: Option<(BTreeMap<String, i64>, i64)>,
    /// Recent lines of the log, the oldest first.
    pub(super) log: Vec<String>,
}

impl Evidence {
    /// Queries the agent and pings the named members; all members if `names` is empty.
    pub(super) async fn gather(client: &Client, names: &[String]) -> Result<Self, Failure> {
        let members = client.members().await.map_err(failed("Error getting members"))?;
        let stats = client.stats().await.map_err(failed("Error querying agent"))?;
        let mut evidence = Self { members, stats, ..Self::default() };
        evidence.ping(client, names).await?;
        if evidence.figure("serf", "encrypted") == Some("true") {
            let listed = key_outcome(client.list_keys().await);
            let (response, _) = listed.map_err(failed("Error listing keys"))?;
            evidence.keys = Some((response.keys.unwrap_or_default(), response.num_resp));
        }
        // Last, so that it contains the lines caused by the other requests.
        let monitored = client.monitor("debug").await.map_err(failed("Error reading the log"));
        let mut lines = monitored?;
        while let Ok(Ok(Some(line))) = tokio::time::timeout(LOG_PAUSE, lines.recv()).await {
            evidence.log.push(line.trim_end().to_owned());
            if evidence.log.len() >= LOG_LINES_MAX {
                break;
            }
        }
        Ok(evidence)
    }

    /// Finds out which live members acknowledge a ping.
    async fn ping(&mut self, client: &Client, names: &[String]) -> Result<(), Failure> {
        let live = self.members.iter().filter(|member| member.status == "alive");
        let live = live.map(|member| member.name.clone());
        let mut silent: BTreeSet<String> =
            live.filter(|name| names.is_empty() || names.contains(name)).collect();
        self.asked = silent.len();
        let query = Query {
            name: "_serf_ping".into(),
            request_ack: true,
            filter_nodes: (!names.is_empty()).then(|| names.to_vec()),
            ..Query::default()
        };
        let mut acks = client.query(query).await.map_err(failed("Error sending query"))?;
        while let Some(event) = acks.recv().await? {
            if let QueryEvent::Ack(from) = event {
                silent.remove(&from);
            }
            if silent.is_empty() {
                break;
            }
        }
        self.silent = silent;
        Ok(())
    }

    /// A value of the agent's statistics.
    pub(super) fn figure(&self, group: &str, key: &str) -> Option<&str> {
        Some(self.stats.get(group)?.get(key)?.as_str())
    }

    /// Name of the agent.
    pub(super) fn name(&self) -> &str {
        self.figure("agent", "name").unwrap_or_default()
    }

    /// The agent's own row among the members.
    pub(super) fn own(&self) -> Option<&Member> {
        self.members.iter().find(|member| member.name == self.name())
    }

    /// Whether it is our agent, which reports more than Go's.
    pub(super) fn is_ours(&self) -> bool {
        self.figure("runtime", "version").is_some_and(|version| version.starts_with("rust"))
    }
}

/// The agent sends its recent lines at once.
const LOG_PAUSE: Duration = Duration::from_millis(500);
/// As many lines as an agent keeps, plus some new ones.
const LOG_LINES_MAX: usize = 1024;
