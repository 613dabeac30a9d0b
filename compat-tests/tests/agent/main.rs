//! The program `serf` beside Go's: the same command lines, configurations, RPC and moments.

mod addresses;
mod book;
mod cli;
mod cli_cross;
mod cli_words;
mod config;
mod config_differential;
mod decode;
mod descriptors;
mod doctor;
mod files;
mod handlers;
mod http;
mod kubernetes;
mod life;
mod log_words;
mod mdns;
mod moments;
mod odd_numbers;
mod page;
mod prometheus;
mod rotation;
mod rpc_abuse;
mod rpc_server;
mod seeds;
mod third_party_clients;
