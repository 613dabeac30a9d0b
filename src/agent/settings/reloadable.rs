//! What SIGHUP changes.

use std::{collections::BTreeMap, time::Duration};

use super::{address::Interface, build::Notices, build::duration, discovery::Mdns};
use crate::{
    agent::{AgentError, EventScript, FileConfig, retry::Retry},
    base::go_duration::GoDuration,
};

/// Settings that a reload changes, beside the log level.
#[derive(Clone, Debug)]
pub struct Reloadable {
    /// Event handlers, in order.
    pub scripts: Vec<EventScript>,
    /// Configured tags, the role among them.
    pub tags: BTreeMap<String, String>,
    /// SIGTERM leaves gracefully.
    pub leave_on_terminate: bool,
    /// SIGINT does not leave gracefully.
    pub skip_leave_on_interrupt: bool,
    /// Members to join, retried until one answers.
    pub retry: Retry,
}

impl Reloadable {
    /// Validates what Go validates at each reload. Go: `readConfig`.
    ///
    /// # Errors
    /// The first setting that cannot work.
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
        let interval = written.retry_interval.map_or(RETRY_INTERVAL, duration);
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
    written.is_some_and(|time| duration(time) < Duration::from_secs(1))
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
