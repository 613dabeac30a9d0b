//! The setting `sandbox`.

use crate::agent::AgentError;

/// Whether the agent restricts itself to its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// No restriction.
    Off,
    /// Restrict if the kernel supports it.
    Try,
    /// Restrict, or fail to start.
    Require,
}

impl Sandbox {
    pub(super) fn build(written: Option<&str>) -> Result<Self, AgentError> {
        match written {
            None | Some("off") => Ok(Self::Off),
            Some("try") => Ok(Self::Try),
            Some("require") => Ok(Self::Require),
            Some(other) => Err(AgentError::Invalid(format!(
                "Invalid sandbox: '{other}' is none of off, try and require"
            ))),
        }
    }
}
