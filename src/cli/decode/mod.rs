//! `serf decode`: the gossip of Serf, Consul and Nomad in a capture, layer by layer.
//!
//! A packet's way: `capture` (pcap, pcapng), `frame` (link, IP, UDP, TCP; `assembly` puts fragments
//! and segments in order), `gossip` for datagrams and `streams` for connections, which use the
//! wire's own codecs, `describe`, then `filter`, `stats` and `print` for each record. Everything
//! that is kept from packet to packet has a bound.

mod assembly;
mod capture;
mod describe;
mod field;
mod filter;
mod frame;
mod gossip;
mod print;
mod recent;
mod record;
mod run;
mod stats;
mod streams;

pub use capture::CaptureError;
pub use filter::Filter;
pub use run::{Format, Options, decode};

#[cfg(test)]
mod tests;
