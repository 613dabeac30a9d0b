//! Joining until somebody answers.

use std::time::Duration;

use tracing::{error, info, warn};

use super::{Settings, core::Agent};
use crate::base::go_duration::GoDuration;

/// Whom to join, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Retry {
    addrs: Vec<String>,
    interval: Duration,
    /// Retries before giving up; 0: never.
    max: u64,
    replay: bool,
}

impl Retry {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            addrs: settings.retry_join.clone(),
            interval: settings.retry_interval,
            max: settings.retry_max,
            replay: settings.replay,
        }
    }

    /// Whether somebody is to be joined whom `before` did not name.
    pub(super) fn adds_to(&self, before: &Self) -> bool {
        self.addrs.iter().any(|addr| !before.addrs.contains(addr))
    }
}

/// Tries until an address answers; false: gave up.
pub(super) async fn retry_join(agent: &Agent, retry: Retry) -> bool {
    if retry.addrs.is_empty() {
        return true;
    }
    let mut attempt = 0;
    loop {
        info!(target: "agent", "Joining cluster...(replay: {})", retry.replay);
        let error = match agent.join(&retry.addrs, retry.replay).await {
            Ok(count) => {
                info!(target: "agent", "Join completed. Synced with {count} initial agents");
                return true;
            }
            Err(error) => error.go_text(),
        };
        attempt += 1;
        if retry.max > 0 && attempt > retry.max {
            error!(target: "agent", "maximum retry join attempts made, exiting");
            return false;
        }
        let tail = format!(", retrying in {}", GoDuration::from(retry.interval));
        warn!(target: "agent", list = error.as_str(), tail, "Join failed: ");
        tokio::time::sleep(retry.interval).await;
    }
}
