//! Helpers shared by the compatibility tests.

pub mod alone;
pub mod bare;
pub mod browser;
pub mod fetched;
pub mod fuzz;
pub mod go;
mod in_time;
pub mod lines;
pub mod lossy;
pub mod matrix;
pub mod net;
pub mod node;
pub mod pcap;
pub mod peer;
pub mod process;
pub mod record;
pub mod rpc;
pub mod wait;
