//! How many log lines peers can cause.

use tracing::warn;

use crate::base::{Instant, LogLimit};

/// A limit for each cause.
#[derive(Debug)]
pub(crate) struct Logs {
    /// Messages that cannot be decoded.
    pub(crate) messages: LogLimit,
    /// States of push/pulls that are refused.
    pub(crate) states: LogLimit,
    /// Events and queries that are too old, filters that cannot match.
    pub(crate) old: LogLimit,
    /// Answers without a query, or that cannot be sent.
    pub(crate) answers: LogLimit,
    /// Nodes that have one name.
    pub(crate) conflicts: LogLimit,
    /// Key requests and their answers.
    pub(crate) keys: LogLimit,
    /// Key requests that fail; a rotation in one go leaves room for them.
    pub(crate) key_failures: LogLimit,
    /// Lines for debugging; what is left out of them is not reported.
    pub(crate) details: LogLimit,
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            messages: LogLimit::new("messages that cannot be decoded"),
            states: LogLimit::new("remote states that are refused"),
            old: LogLimit::new("events and queries that are not for us"),
            answers: LogLimit::new("answers to queries"),
            conflicts: LogLimit::new("conflicting names"),
            keys: LogLimit::new("key requests"),
            key_failures: LogLimit::new("key requests that fail"),
            details: LogLimit::new("details"),
        }
    }
}

impl Logs {
    /// Logs how many lines were left out, in one line a second for each cause.
    pub(crate) fn report(&mut self, now: Instant) {
        let Self { messages, states, old, answers, conflicts, keys, key_failures, .. } = self;
        for limit in [messages, states, old, answers, conflicts, keys, key_failures] {
            if let Some(count) = limit.take_suppressed(now) {
                warn!(target: "serf", "suppressed {count} more log lines about {}", limit.about);
            }
        }
    }
}
