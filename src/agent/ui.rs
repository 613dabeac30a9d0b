//! Lines for the person at the terminal.

use super::log::LogHub;

/// Prints with Go's prefixes.
#[derive(Clone)]
pub(super) struct Ui {
    pub(super) hub: LogHub,
}

impl Ui {
    /// `==> text`; nothing but a line end for an empty text. Errors look the same.
    pub(super) fn output(&self, text: &str) {
        self.hub.print(&if text.is_empty() { String::new() } else { format!("==> {text}") });
    }

    /// Four spaces, then the text.
    pub(super) fn info(&self, text: &str) {
        self.hub.print(&if text.is_empty() { String::new() } else { format!("    {text}") });
    }
}
