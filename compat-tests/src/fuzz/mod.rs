//! What each fuzz target asserts. The targets under `fuzz/` feed these from libFuzzer, the test
//! `fuzz_corpus` replays the corpus and simple mutations of it on a stable toolchain.

mod capture;
mod codec;
mod engine;
pub mod laws;
mod outside;
mod serf;
mod targets;

pub use capture::capture;
pub use codec::{message, packet, stream, value};
pub use engine::engine;
pub use outside::{config, expression, mdns, rpc};
pub use serf::serf;
pub use targets::{Check, TARGETS, Target, run, run_named};
