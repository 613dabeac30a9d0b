//! `serf decode`: decodes the gossip of Serf, Consul and Nomad in a capture, layer by layer.
//!
//! The path of a packet: `capture` (pcap, pcapng), `frame` (link, IP, UDP, TCP; `assembly` reorders
//! fragments and segments), `gossip` for datagrams and `streams` for connections, which use the
//! wire layer's codecs, `describe`, then `filter`, `stats` and `print` for each record. All state
//! kept from packet to packet is bounded.

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
