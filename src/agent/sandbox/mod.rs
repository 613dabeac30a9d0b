//! The files that the process may open, enforced by the kernel.

#[cfg(not(target_os = "linux"))]
mod absent;
mod enter;
#[cfg(target_os = "linux")]
mod kernel;
mod rules;

#[cfg(not(target_os = "linux"))]
use absent::restrict;
pub(super) use enter::enter;
#[cfg(target_os = "linux")]
use kernel::restrict;
pub(super) use rules::runs_programs;
