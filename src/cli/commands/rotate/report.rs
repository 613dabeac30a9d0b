//! Results of a rotation on each member.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    super::super::output::{columns, line, pretty},
    cluster::{Answer, Members},
    saved::Step,
};

/// Results by member, the latest of each step.
#[derive(Debug, Default)]
pub(super) struct Report {
    nodes: BTreeMap<String, Node>,
    /// Number of old keys that no member has any more.
    pub(super) removed: usize,
    /// Whether lines of progress are printed.
    verbose: bool,
    last: String,
}

/// Results of a member.
#[derive(Debug, Default, Serialize)]
struct Node {
    status: &'static str,
    install: String,
    r#use: String,
    remove: String,
}

/// The output of `-format json`.
#[derive(Serialize)]
struct Outcome<'r> {
    step: Step,
    complete: bool,
    removed_keys: usize,
    nodes: &'r BTreeMap<String, Node>,
    reason: Option<&'r str>,
}

impl Report {
    /// `verbose`: print lines of progress.
    pub(super) fn new(verbose: bool) -> Self {
        Self { verbose, ..Self::default() }
    }

    /// Records the members.
    pub(super) fn seen(&mut self, members: &Members) {
        for node in self.nodes.values_mut() {
            node.status = "gone";
        }
        for (names, status) in [(&members.live, "alive"), (&members.absent, "failed")] {
            for name in names {
                self.nodes.entry(name.clone()).or_default().status = status;
            }
        }
    }

    /// Records the result of a step's operation on the members that were asked.
    pub(super) fn note(&mut self, step: Step, live: &BTreeSet<String>, answer: &Answer) {
        // If members without a known name are missing, the answer proves nothing about any member.
        let unnamed = !answer.complete && answer.refused.is_empty() && answer.silent.is_empty();
        let silent = answer.silent.iter().map(|name| (name, "no answer"));
        let refused = answer.refused.iter().map(|(name, why)| (name, why.as_str()));
        let good = if unnamed { "unknown" } else { "ok" };
        let all = live.iter().map(|name| (name, good)).chain(silent).chain(refused);
        for (name, result) in all {
            let node = self.nodes.entry(name.clone()).or_default();
            let cell = match step {
                Step::Install => &mut node.install,
                Step::Use => &mut node.r#use,
                Step::Remove | Step::Done => &mut node.remove,
            };
            result.clone_into(cell);
        }
    }

    /// Prints a line of progress, unless it equals the last one.
    pub(super) fn say(&mut self, text: &str) {
        if self.verbose && self.last != text {
            line(&format!("==> {text}"));
            text.clone_into(&mut self.last);
        }
    }

    /// Prints the whole report; `reason` is why the rotation is incomplete.
    pub(super) fn print(&self, json: bool, step: Step, reason: Option<&str>) {
        let complete = reason.is_none();
        if json {
            let Self { nodes, removed, .. } = self;
            line(&pretty(&Outcome { step, complete, removed_keys: *removed, nodes, reason }));
            return;
        }
        let mut rows = vec!["Member|Status|Install|Use|Remove".to_owned()];
        let cell =
            |text: &str| if text.is_empty() { "-".to_owned() } else { text.replace('|', "/") };
        rows.extend(self.nodes.iter().map(|(name, node)| {
            let cells = [name, node.status, &node.install, &node.r#use, &node.remove].map(cell);
            cells.join("|")
        }));
        line("");
        line(&columns(&rows));
        line("");
        if let Some(reason) = reason {
            line(reason);
        }
    }
}
