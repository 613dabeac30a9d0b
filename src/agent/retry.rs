//! Joining until a member answers.

use tracing::{error, info, warn};

use super::{core::Agent, settings::Retry};
use crate::base::go_duration::GoDuration;

/// Tries until an address answers; false: `max` retries failed.
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
