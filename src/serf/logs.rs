//! Limits on the log lines that peers can cause.

use crate::base::log_limits;

log_limits! {
    /// One limit for each cause.
    pub(crate) struct Logs for "serf" {
        /// Messages that cannot be decoded.
        messages: "messages that cannot be decoded";
        /// Push/pull states that were refused.
        states: "remote states that are refused";
        /// Events and queries that are too old; filters that cannot match.
        old: "events and queries that are not for us";
        /// Answers to no known query, and answers that cannot be sent.
        answers: "answers to queries";
        /// Several nodes with the same name.
        conflicts: "conflicting names";
        /// Lamport times far ahead of ours.
        clocks: "Lamport times far ahead";
        /// Key requests and their answers.
        keys: "key requests";
        /// Failed key requests; their limit is separate, so that the lines of a key rotation do not
        /// suppress them.
        key_failures: "key requests that fail";
    }
}
