//! Changes the gossip key of a running cluster, with no node ever unable to read another.
//!
//! The order is what makes it safe: first every node learns the new key, then every node seals
//! with it, and only then is the old one forgotten. Each step asks all nodes and goes on only when
//! all have done it; a step may be repeated at any time, since installing a known key, using the
//! primary and removing an unknown key change nothing.
//!
//! Run it: `cargo run --example rotate_keys`

use std::{error::Error, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ruserf::{Config, KeyManager, KeyResponse, Keyring, Serf};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Real keys come from `serf keygen` or a random generator: 16, 24 or 32 bytes.
    let (old, new) = (STANDARD.encode([1; 32]), STANDARD.encode([2; 32]));
    let nodes = start_cluster(&["a", "b", "c"], &STANDARD.decode(&old)?).await?;
    let keys = nodes[0].key_manager();
    show(&keys).await?;

    // Too early: the old key still seals, and each node says so itself.
    println!("remove the old key too early:");
    let refused = step(keys.remove(&old)).await;
    println!("  error: {}", refused.err().ok_or("a primary key was removed")?);

    println!("install the new key:");
    step(keys.install(&new)).await?;
    println!("use the new key:");
    step(keys.use_key(&new)).await?;
    println!("remove the old key:");
    step(keys.remove(&old)).await?;
    show(&keys).await?;

    for node in nodes {
        node.leave().await?;
        node.shutdown().await;
    }
    Ok(())
}

/// One step on all nodes. An error means: repeat it, or stop here; what has been done is harmless.
async fn step(answered: impl Future<Output = ruserf::Result<KeyResponse>>) -> Result<(), String> {
    let (response, failed) = match answered.await {
        Ok(response) => (response, None),
        // Not only refusals: also when a node has not answered in time.
        Err(ruserf::Error::Keys(failure)) => (failure.response, Some(failure.summary)),
        Err(error) => return Err(error.to_string()),
    };
    println!(
        "  {} of {} nodes answered, {} refused",
        response.num_resp, response.num_nodes, response.num_err
    );
    for (node, message) in &response.messages {
        println!("  {node}: {message}");
    }
    for node in &response.missing {
        println!("  {node}: no answer");
    }
    failed.map_or(Ok(()), Err)
}

/// How many nodes have which key, and which one they seal with.
async fn show(keys: &KeyManager) -> Result<(), Box<dyn Error>> {
    let listed = keys.list().await?;
    println!("keys:");
    for (key, nodes) in &listed.keys {
        let primary = listed.primary_keys.get(key).copied().unwrap_or_default();
        println!("  {key} on {nodes} nodes, primary on {primary}");
    }
    Ok(())
}

/// Nodes on 127.0.0.1 that know each other.
async fn start_cluster(names: &[&str], key: &[u8]) -> Result<Vec<Serf>, Box<dyn Error>> {
    let mut nodes: Vec<Serf> = Vec::new();
    for name in names {
        let mut config = Config::local(*name).keyring(Keyring::build(&[], key)?);
        // The local preset sends each message to few nodes only; here every one should arrive.
        config.timing.retransmit_mult = 10;
        // Patience for answers: 10 s. A step ends earlier, as soon as all have come.
        config.timing.query_timeout_mult = 100;
        // A real service also sets `keyring_file`: the keys then survive a restart.
        let node = Serf::builder(config).bind("127.0.0.1:0").start().await?;
        if let Some(first) = nodes.first() {
            node.join([first.addresses().advertised.to_string()]).await?;
        }
        nodes.push(node);
    }
    // A step asks the members that the asking node knows.
    while nodes[0].members().await.len() < names.len() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(nodes)
}
