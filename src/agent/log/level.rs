//! Go's log levels.

/// Levels of log lines, the most detailed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every message.
    Trace,
    /// Dropped and unusual messages.
    Debug,
    /// Membership and lifecycle.
    Info,
    /// Degraded operation that recovers by itself.
    Warn,
    /// Requires action by an operator.
    Err,
}

/// The list of levels in error messages.
pub(in crate::agent) const VALID_LEVELS: &str = "[TRACE DEBUG INFO WARN ERR]";

impl Level {
    /// The level with this upper-case name.
    pub(in crate::agent) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "TRACE" => Self::Trace,
            "DEBUG" => Self::Debug,
            "INFO" => Self::Info,
            "WARN" => Self::Warn,
            "ERR" => Self::Err,
            _ => return None,
        })
    }

    /// The level with this discriminant.
    pub(super) fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Trace,
            1 => Self::Debug,
            2 => Self::Info,
            3 => Self::Warn,
            _ => Self::Err,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Err => "ERR",
        }
    }
}

impl From<tracing::Level> for Level {
    fn from(level: tracing::Level) -> Self {
        match level {
            tracing::Level::TRACE => Self::Trace,
            tracing::Level::DEBUG => Self::Debug,
            tracing::Level::INFO => Self::Info,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::ERROR => Self::Err,
        }
    }
}
