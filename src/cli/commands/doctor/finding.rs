//! What is wrong: a sentence, and what to do about it.

use serde::Serialize;

/// A fault that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Finding {
    /// Which check found it, for scripts.
    pub(super) check: &'static str,
    /// The member, or the address, that it is about.
    pub(super) peer: Option<String>,
    /// What is wrong.
    pub(super) problem: String,
    /// What to do.
    pub(super) remedy: &'static str,
}

impl Finding {
    /// About the agent, or the cluster as a whole.
    pub(super) fn new(
        check: &'static str,
        problem: impl Into<String>,
        remedy: &'static str,
    ) -> Self {
        Self { check, peer: None, problem: problem.into(), remedy }
    }

    /// About a peer.
    pub(super) fn about(mut self, peer: &str) -> Self {
        self.peer = Some(peer.to_owned());
        self
    }
}
