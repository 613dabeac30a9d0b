//! Lines for the operator at the terminal.

use super::{LogHub, line::list};
use crate::agent::AgentError;

/// Prints with Go's prefixes. Text from the network cannot start a line of its own.
#[derive(Clone)]
pub(in crate::agent) struct Ui {
    pub(in crate::agent) hub: LogHub,
}

impl Ui {
    /// `==> text`; nothing but a line end for an empty text. Errors look the same.
    pub(in crate::agent) fn output(&self, text: &str) {
        let text = list(text);
        self.hub.print(&if text.is_empty() { text } else { format!("==> {text}") });
    }

    /// What is wrong with the configuration, whose lines are the operator's own.
    pub(in crate::agent) fn mistake(&self, error: &AgentError) {
        self.hub.print(&format!("==> {error}"));
    }

    /// Four spaces, then the text.
    pub(in crate::agent) fn info(&self, text: &str) {
        let text = list(text);
        self.hub.print(&if text.is_empty() { text } else { format!("    {text}") });
    }
}
