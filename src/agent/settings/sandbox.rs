//! Whether the agent restricts itself to its files.

use crate::agent::AgentError;

/// What `sandbox` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// It does not.
    Off,
    /// It does where the kernel can.
    Try,
    /// It does, or does not start.
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
