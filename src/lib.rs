//! A wire-compatible, drop-in implementation of HashiCorp Serf.

pub mod base;
pub mod msgpack;

pub mod swim;
pub mod wire;
