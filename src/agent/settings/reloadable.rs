//! Settings that SIGHUP changes.

use std::{collections::BTreeMap, time::Duration};

use super::{address::Interface, discovery::Mdns};
use crate::{
    agent::{AgentError, EventScript, FileConfig},
    base::go_duration::GoDuration,
};

/// Notices to print about a configuration, in this order, as far as it was validated.
#[derive(Clone, Debug, Default)]
pub struct Notices {
    /// Go's warnings.
    pub warnings: Vec<String>,
    /// The interface whose address is bound.
    pub interface: Option<String>,
}

/// Settings of a retried join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Addresses of which one must answer.
    pub addrs: Vec<String>,
    /// Time between attempts.
    pub interval: Duration,
    /// Retries before the agent exits; 0: no limit.
    pub max: u64,
    /// Deliver user events from before the join.
    pub replay: bool,
}

impl Retry {
    /// Whether it contains an address that `before` does not.
    pub(in crate::agent) fn adds_to(&self, before: &Self) -> bool {
        self.addrs.iter().any(|addr| !before.addrs.contains(addr))
    }
}

/// Settings that a reload changes, in addition to the log level.
#[derive(Clone, Debug)]
pub struct Reloadable {
    /// Event handlers, in order.
    pub scripts: Vec<EventScript>,
    /// Configured tags, including the role.
    pub tags: BTreeMap<String, String>,
    /// Whether SIGTERM leaves gracefully.
    pub leave_on_terminate: bool,
    /// Whether SIGINT does not leave gracefully.
    pub skip_leave_on_interrupt: bool,
    /// Members to join, retried until one answers.
    pub retry: Retry,
}

impl Reloadable {
    /// Validates the settings that Go validates at each reload. Go: `readConfig`.
    ///
    /// # Errors
    /// The first invalid setting.
    pub fn build(written: &FileConfig, notices: &mut Notices) -> Result<Self, AgentError> {
        let scripts = scripts(&written.event_handlers)?;
        written.interface.as_deref().map(Interface::find).transpose()?;
        Mdns::check(written)?;
        let mut tags = written.tags.clone();
        let mut warn = |text: &str| notices.warnings.push(text.to_owned());
        if let Some(role) = &written.role {
            warn("Deprecation warning: 'Role' has been replaced with 'Tags'");
            tags.insert("role".to_owned(), role.clone());
        }
        if is_too_low(written.retry_interval) {
            warn("Warning: 'RetryInterval' is too low. Setting to 1s");
        }
        if is_too_low(written.broadcast_timeout) {
            warn("Warning: 'BroadcastTimeout' is too low. Setting to 1s");
        }
        if written.rejoin_after_leave && written.snapshot_path.is_none() {
            warn("Warning: 'RejoinAfterLeave' enabled without snapshot file");
        }
        let interval = written.retry_interval.map_or(RETRY_INTERVAL, GoDuration::to_std);
        Ok(Self {
            scripts,
            tags,
            leave_on_terminate: written.leave_on_terminate,
            skip_leave_on_interrupt: written.skip_leave_on_interrupt,
            retry: Retry {
                addrs: written.retry_join.clone(),
                interval: interval.max(Duration::from_secs(1)),
                max: written.retry_max_attempts.and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
                replay: written.replay_on_join,
            },
        })
    }
}

fn is_too_low(written: Option<GoDuration>) -> bool {
    written.is_some_and(|time| time.to_std() < Duration::from_secs(1))
}

fn scripts(written: &[String]) -> Result<Vec<EventScript>, AgentError> {
    let scripts: Vec<_> = written.iter().flat_map(|spec| EventScript::parse(spec)).collect();
    match scripts.iter().find(|script| !script.filter.is_valid()) {
        Some(script) => Err(AgentError::Invalid(format!("Invalid event script: {script}"))),
        None => Ok(scripts),
    }
}

/// Go: `DefaultConfig`.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);
