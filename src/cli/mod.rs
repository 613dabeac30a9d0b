//! Layer 7: the command line, with Go's flag syntax, streams and exit codes.
//!
//! Everything that a command prints goes to stdout, including errors; stderr receives only errors
//! of the flag parser, requested help, and the list of commands.

mod commands;
mod complete;
mod decode;
mod dispatch;
mod event_text;
mod failure;
mod flags;
mod help;
mod non_utf8;
mod output;
mod settings_page;
mod similar;
mod tls;
mod top;

pub use decode::{CaptureError, Filter, Format, Options, decode};
pub use dispatch::run;
pub use failure::Failure;
pub use flags::{Flag, Kind, ParseError, Parsed};
pub use help::CommandSpec;
