//! Configuration files and flags, before validation.
//! Go: `cmd/serf/command/agent/config.go`.

mod field;
mod file;
mod key;
mod mistakes;
mod table;

pub use field::parse_tags;
pub use key::{Key, Origin, Shape};
pub use table::{FileConfig, KEYS};
