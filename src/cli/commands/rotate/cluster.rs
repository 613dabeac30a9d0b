//! What a rotation asks of the cluster, through one agent, Go's or ours.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Failure, failed, key_outcome, missing};
use crate::{client::Client, rpc::protocol::KeyResponse};

/// Asks all members; the steps of a rotation are tested over another one.
pub(super) trait Cluster {
    /// Who is in the cluster now.
    async fn members(&self) -> Result<Members, Failure>;
    /// Runs an operation on all members that are alive.
    async fn ask(&self, op: Op<'_>) -> Result<Answer, Failure>;
}

/// An operation on the keys of all members.
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
    /// Failed: they may come back with the keys that they had.
    pub(super) absent: BTreeSet<String>,
}

/// What the members answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    /// Whether each that was asked carried it out.
    pub(super) complete: bool,
    /// How many were asked.
    pub(super) asked: i64,
    /// Reasons of those that refused.
    pub(super) refused: BTreeMap<String, String>,
    /// Those that did not answer, as far as the agent or a ping shows who.
    pub(super) silent: BTreeSet<String>,
    /// How many have each key, for [`Op::List`].
    pub(super) keys: BTreeMap<String, i64>,
}

impl Answer {
    /// Whether all that were asked have a key.
    pub(super) fn all_have(&self, key: &str) -> bool {
        self.complete && self.keys.get(key) == Some(&self.asked)
    }

    /// Who did not carry it out and why, in one line; empty: nobody is known.
    pub(super) fn lacking(&self) -> String {
        let refused = self.refused.iter().map(|(node, why)| format!("{node}: {why}"));
        let silent = self.silent.iter().map(|node| format!("{node}: no answer"));
        refused.chain(silent).collect::<Vec<_>>().join("; ")
    }
}

/// A cluster as an agent sees it.
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
        // Go's agent reports only how many.
        if num_resp < num_nodes && answer.silent.is_empty() {
            let silent = missing::silent(client).await.unwrap_or_default();
            answer.silent = silent.into_iter().collect();
        }
        Ok(answer)
    }
}
