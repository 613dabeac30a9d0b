//! A problem, and its remedy.

use serde::Serialize;

/// A problem that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Finding {
    /// Name of the check, for scripts.
    pub(super) check: &'static str,
    /// The affected member or address, if any.
    pub(super) peer: Option<String>,
    /// Description of the problem.
    pub(super) problem: String,
    /// What the operator should do.
    pub(super) remedy: &'static str,
}

impl Finding {
    /// A finding about the agent or the cluster as a whole.
    pub(super) fn new(
        check: &'static str,
        problem: impl Into<String>,
        remedy: &'static str,
    ) -> Self {
        Self { check, peer: None, problem: problem.into(), remedy }
    }

    /// Makes it a finding about a peer.
    pub(super) fn about(mut self, peer: &str) -> Self {
        self.peer = Some(peer.to_owned());
        self
    }
}
