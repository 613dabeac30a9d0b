//! Joins an encrypted cluster of Go agents, looks around, and leaves at an interrupt (Ctrl-C).
//!
//! ```text
//! serf agent -node go -bind 127.0.0.1:7946 -encrypt "$(serf keygen | tee key)"
//! cargo run --example join_go_encrypted -- rust "$(cat key)" 127.0.0.1:7946
//! ```

use std::{error::Error, sync::Arc};

use ruserf::{Config, Keyring, Member, MemberWatch, Serf};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, key, seed] = args.as_slice() else {
        return Err("usage: join_go_encrypted NAME KEY ADDRESS".into());
    };

    // The preset, the key and, if it has one, the label must be those of the cluster. Everything
    // that leaves this node is sealed with the key, and what is not sealed is dropped.
    let keyring = Keyring::from_base64([key])?;
    let mut config = Config::lan(name).keyring(keyring).tag("role", "guest");
    // Agents speak Serf protocol 5 by default; the library's default, as Go's, is 4.
    config.protocol = 5;
    let serf = Serf::builder(config).bind("127.0.0.1:0").start().await?;
    // From now on an interrupt does not kill the program, not even in the middle of the join.
    let interrupted = tokio::spawn(tokio::signal::ctrl_c());
    let watch = serf.watch_members();
    // With another key nobody answers, and this is an error that says why.
    serf.join([seed]).await?;
    print_members(&serf.members().await);

    tokio::select! {
        () = print_changes(watch) => {}
        interrupted = interrupted => interrupted??,
    }
    serf.leave_and_shutdown().await?;
    println!("left");
    Ok(())
}

/// Prints the members whenever they have changed, until the node stops.
async fn print_changes(mut watch: MemberWatch) {
    while let Some(members) = watch.changed().await {
        print_members(&members);
    }
}

fn print_members(members: &[Arc<Member>]) {
    for member in members {
        let protocol = member.vsn.delegate();
        println!("{} {} protocol {protocol}", member.name, member.status);
    }
}
