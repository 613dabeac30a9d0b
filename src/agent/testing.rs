//! An agent for unit tests of its parts.

use std::sync::Arc;

use super::{
    FileConfig, Notices, Settings,
    access::Authenticator,
    descriptors::Descriptors,
    log::{Level, LogHub},
    operations::Agent,
};
use crate::driver::{Config, Serf};

/// Starts a node on ports chosen by the system, without RPC and handlers.
pub(super) async fn agent(json: &str) -> Arc<Agent> {
    agent_with(json, |_| {}).await
}

/// The same; `change` modifies the node's configuration before the start.
pub(super) async fn agent_with(json: &str, change: impl FnOnce(&mut Config)) -> Arc<Agent> {
    let mut config = FileConfig::decode(json.as_bytes()).unwrap();
    config.node_name = Some("n".to_owned());
    let settings = Settings::build(config, &mut Notices::default()).unwrap();
    let auth = Authenticator::open(&settings).unwrap();
    let mut config = settings.node.clone();
    change(&mut config);
    let serf = Serf::builder(config).bind(([127, 0, 0, 1], 0)).start().await.unwrap();
    Arc::new(Agent::new(
        serf,
        settings,
        auth,
        LogHub::start(Level::Err, false),
        Descriptors::raise(),
    ))
}
