//! The agent's log: lines in Go's format to the console, to syslog, to monitors and to a ring of the
//! last ones.

mod console;
mod hub;
mod layer;
mod level;
mod line;
mod syslog;
mod ui;

pub(super) use hub::LogHub;
pub(super) use level::{Level, VALID_LEVELS};
pub(super) use syslog::{Facility, Syslog};
pub(super) use ui::Ui;
