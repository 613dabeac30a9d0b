//! Codecs and engines without a network: beside Go's on the same input, and in the simulator.

mod differential_serf;
mod differential_swim;
mod sim_bugs;
mod sim_cluster;
mod sim_detection;
mod sim_swarm;
mod small_clusters;
mod wire_go;
