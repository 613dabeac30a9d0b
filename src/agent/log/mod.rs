//! The agent's log: lines in Go's format on the console, in syslog, for monitors, and recent ones
//! in memory.

mod console;
mod hub;
mod layer;
mod level;
mod line;
mod recent;
mod syslog;
mod ui;

pub(super) use hub::LogHub;
pub(super) use layer::install;
pub(super) use level::{Level, VALID_LEVELS};
pub(super) use syslog::{Facility, Syslog};
pub(super) use ui::Ui;
