//! Entering the sandbox.

use std::path::PathBuf;

use super::{
    restrict,
    rules::{Rules, runs_programs},
};
use crate::agent::{AgentError, Notices, Settings, settings::Sandbox};

/// Restricts the process to the files that the agent needs. The kernel restricts only this thread
/// and threads started by it, so it must be the only one.
///
/// # Errors
/// The restriction is required and not possible.
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
            for path in settings.sandbox_paths.iter().filter(|path| !path.exists()) {
                let path = path.display();
                notices.warnings.push(format!("Warning: there is no {path} to be in the sandbox"));
            }
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
