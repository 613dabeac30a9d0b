//! Clusters of Go nodes and ours: in each role, in every version, on bad networks, under change.

mod captures;
mod chaos;
mod decoded;
mod delivery;
mod go;
mod go_harness;
mod matrix;
mod migration;
mod mixed_cluster;
mod others;
mod snapshots;
mod tcpdump;
