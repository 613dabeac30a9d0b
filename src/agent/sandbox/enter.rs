//! Entering the sandbox.

use std::path::PathBuf;

use super::{
    restrict,
    rules::{Rules, runs_programs},
};
use crate::agent::{AgentError, Notices, Settings, settings::Sandbox};

/// Restricts the process to what the agent needs. Only this thread and those that it makes are
/// restricted, so that it has to be the only one.
///
/// # Errors
/// It cannot be restricted, and must be.
pub(in crate::agent) fn enter(
    settings: &Settings,
    config: &[PathBuf],
    notices: &mut Notices,
) -> Result<(), AgentError> {
    if settings.sandbox == Sandbox::Off {
        return Ok(());
    }
    match (restrict(&Rules::of(settings, config)), settings.sandbox) {
        (Ok(()), _) => {
            let programs = if runs_programs(settings) { "; programs read everything" } else { "" };
            notices.warnings.push(format!("Sandbox: own files only{programs}"));
            Ok(())
        }
        (Err(reason), Sandbox::Require) => {
            Err(AgentError::Invalid(format!("The sandbox cannot be entered: {reason}")))
        }
        (Err(reason), _) => {
            notices.warnings.push(format!("Warning: no sandbox: {reason}"));
            Ok(())
        }
    }
}
