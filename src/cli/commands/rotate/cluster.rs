//! Operations of a rotation on the cluster, through one agent, Go's or ours.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Failure, failed, key_outcome, missing};
use crate::{client::Client, rpc::protocol::KeyResponse};

/// Operations on all members; the steps of a rotation are tested with another implementation.
pub(super) trait Cluster {
    /// The current members.
    async fn members(&self) -> Result<Members, Failure>;
    /// Runs a key operation on all live members.
    async fn ask(&self, op: Op<'_>) -> Result<Answer, Failure>;
}

/// A key operation on all members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op<'k> {
    List,
    Install(&'k str),
    Use(&'k str),
    Remove(&'k str),
}

/// Names of members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Members {
    pub(super) live: BTreeSet<String>,
    /// Failed members: they may return with the keys they had.
    pub(super) absent: BTreeSet<String>,
}

/// The members' answers to a key operation.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    /// Whether every member performed the operation.
    pub(super) complete: bool,
    /// Number of members that were asked.
    pub(super) asked: i64,
    /// Reasons of members that refused.
    pub(super) refused: BTreeMap<String, String>,
    /// Members that did not answer, as far as the agent or a ping identifies them.
    pub(super) silent: BTreeSet<String>,
    /// Number of members that have each key, for [`Op::List`].
    pub(super) keys: BTreeMap<String, i64>,
}

impl Answer {
    /// Whether all members that were asked have a key.
    pub(super) fn all_have(&self, key: &str) -> bool {
        self.complete && self.keys.get(key) == Some(&self.asked)
    }

    /// Members that did not perform the operation, with reasons, on one line; empty if none can be
    /// named.
    pub(super) fn lacking(&self) -> String {
        let refused = self.refused.iter().map(|(node, why)| format!("{node}: {why}"));
        let silent = self.silent.iter().map(|node| format!("{node}: no answer"));
        refused.chain(silent).collect::<Vec<_>>().join("; ")
    }
}

/// The cluster of an agent.
pub(super) struct Agent(pub(super) Client);

impl Cluster for Agent {
    async fn members(&self) -> Result<Members, Failure> {
        let all = self.0.members().await.map_err(failed("Error getting members"))?;
        let mut members = Members::default();
        for member in all {
            match member.status.as_str() {
                "alive" | "leaving" => members.live.insert(member.name),
                "failed" => members.absent.insert(member.name),
                _ => continue,
            };
        }
        Ok(members)
    }

    async fn ask(&self, op: Op<'_>) -> Result<Answer, Failure> {
        let Self(client) = self;
        let result = match op {
            Op::List => client.list_keys().await,
            Op::Install(key) => client.install_key(key).await,
            Op::Use(key) => client.use_key(key).await,
            Op::Remove(key) => client.remove_key(key).await,
        };
        let (response, error) = key_outcome(result).map_err(failed("Error asking the members"))?;
        let KeyResponse { messages, keys, num_nodes, num_err, num_resp, missing, .. } = response;
        if num_nodes == 0
            && let Some(error) = error
        {
            return Err(Failure::Message(format!("Error asking the members: {error}")));
        }
        let mut answer = Answer {
            complete: error.is_none() && num_err == 0 && num_resp >= num_nodes,
            asked: num_nodes,
            refused: messages,
            silent: missing.into_iter().collect(),
            keys: keys.unwrap_or_default(),
        };
        // Go's agent reports only their number.
        if num_resp < num_nodes && answer.silent.is_empty() {
            let silent = missing::silent(client).await.unwrap_or_default();
            answer.silent = silent.into_iter().collect();
        }
        Ok(answer)
    }
}
