//! What configuration files and flags say, before it is validated.
//! Go: `cmd/serf/command/agent/config.go`.

mod field;
mod file;
mod mistakes;
mod table;

pub use field::parse_tags;
pub use table::{FileConfig, KEYS, Key, Origin, Shape};
