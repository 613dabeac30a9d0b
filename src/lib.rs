//! A wire-compatible, drop-in implementation of HashiCorp Serf.

pub mod base;
pub mod msgpack;

pub mod serf;
pub mod swim;
pub mod wire;

#[cfg(not(target_family = "wasm"))]
pub mod driver;
#[cfg(not(target_family = "wasm"))]
pub mod transport;

#[cfg(all(feature = "sim", not(target_family = "wasm")))]
pub mod sim;

#[cfg(all(feature = "agent", not(target_family = "wasm")))]
pub mod agent;
#[cfg(all(feature = "agent", not(target_family = "wasm")))]
pub mod cli;
#[cfg(all(feature = "agent", not(target_family = "wasm")))]
pub mod client;
#[cfg(all(feature = "agent", not(target_family = "wasm")))]
pub mod rpc;
