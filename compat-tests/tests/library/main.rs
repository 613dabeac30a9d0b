//! The library as programs use it: examples, metrics, streams of events, transports.

mod examples;
mod metrics;
mod payloads;
mod runtimes;
mod streams;
mod transports;
