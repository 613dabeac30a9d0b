//! Lines for the operator at the terminal.

use super::{LogHub, line::list};
use crate::agent::AgentError;

/// Prints with Go's prefixes. Text from the network cannot start a line of its own.
#[derive(Clone)]
pub(in crate::agent) struct Ui {
    pub(in crate::agent) hub: LogHub,
}

impl Ui {
    /// Prints `==> text`; an empty text is just a line break. Errors have the same form.
    pub(in crate::agent) fn output(&self, text: &str) {
        let text = list(text);
        self.hub.print(&if text.is_empty() { text } else { format!("==> {text}") });
    }

    /// Prints an error of the configuration, whose line breaks are kept as they are the operator's
    /// own.
    pub(in crate::agent) fn mistake(&self, error: &AgentError) {
        self.hub.print(&format!("==> {error}"));
    }

    /// Prints a text after four spaces.
    pub(in crate::agent) fn info(&self, text: &str) {
        let text = list(text);
        self.hub.print(&if text.is_empty() { text } else { format!("    {text}") });
    }
}
