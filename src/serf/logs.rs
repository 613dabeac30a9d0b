//! How many log lines peers can cause.

use crate::base::log_limits;

log_limits! {
    /// A limit for each cause.
    pub(crate) struct Logs for "serf" {
        /// Messages that cannot be decoded.
        messages: "messages that cannot be decoded";
        /// States of push/pulls that are refused.
        states: "remote states that are refused";
        /// Events and queries that are too old, filters that cannot match.
        old: "events and queries that are not for us";
        /// Answers without a query, or that cannot be sent.
        answers: "answers to queries";
        /// Nodes that have one name.
        conflicts: "conflicting names";
        /// Key requests and their answers.
        keys: "key requests";
        /// Key requests that fail; a rotation in one go leaves room for them.
        key_failures: "key requests that fail";
    }
}
