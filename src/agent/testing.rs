//! An agent for tests of its parts.

use std::sync::Arc;

use super::{
    FileConfig, Settings,
    core::Agent,
    descriptors::Descriptors,
    log::{Level, LogHub},
};
use crate::driver::Serf;

/// A node on ports of the system's choice, without RPC and handlers.
pub(super) async fn agent(json: &str) -> Arc<Agent> {
    let mut config = FileConfig::decode(json.as_bytes()).unwrap();
    config.set_text("node_name", "n");
    let (settings, _) = Settings::build(config).unwrap();
    let mut config = settings.config().unwrap();
    config.tags = settings.tags.clone();
    let serf = Serf::builder(config).bind(([127, 0, 0, 1], 0)).start().await.unwrap();
    Arc::new(Agent::new(serf, settings, LogHub::start(Level::Err, false), Descriptors::raise()))
}
