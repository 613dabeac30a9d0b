//! What SIGHUP changes.

use std::{collections::BTreeMap, sync::Arc};

use super::{AgentError, FileConfig, Settings, core::Agent, log::Ui, retry::Retry};

/// What a reload may change and the agent does not keep itself.
pub(super) struct Reloadable {
    pub(super) leave_on_terminate: bool,
    pub(super) skip_leave_on_interrupt: bool,
    /// The tags that were configured last and are set.
    pub(super) tags: BTreeMap<String, String>,
    pub(super) retry: Retry,
}

impl Reloadable {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            leave_on_terminate: settings.leave_on_terminate,
            skip_leave_on_interrupt: settings.skip_leave_on_interrupt,
            tags: settings.tags.clone(),
            retry: Retry::new(settings),
        }
    }
}

/// Reads the configuration again. What is wrong with it leaves everything as it was.
pub(super) async fn reload(
    agent: &Arc<Agent>,
    ui: &Ui,
    flags: &mut Reloadable,
    read: &impl Fn() -> Result<FileConfig, AgentError>,
) {
    let mut written = match read() {
        Ok(written) => written,
        Err(error) => return failed_reload(ui, &error),
    };
    // A wrong level keeps the old one, and the rest of the reload goes on.
    let mut bad_level = false;
    let mut built = Settings::build(written.clone());
    if let Err(error @ AgentError::LogLevel(_)) = &built {
        ui.output(&error.to_string());
        bad_level = true;
        written.set_text("log_level", "INFO");
        built = Settings::build(written);
    }
    let settings = match built {
        Ok((settings, _)) => settings,
        Err(error) => return failed_reload(ui, &error),
    };
    if !bad_level {
        ui.hub.set_level(settings.log_level);
    }
    let retry = Retry::new(&settings);
    agent.set_scripts(settings.scripts);
    flags.leave_on_terminate = settings.leave_on_terminate;
    flags.skip_leave_on_interrupt = settings.skip_leave_on_interrupt;
    flags.retry = retry;
    if let Err(error) = reload_tags(agent, &flags.tags, &settings.tags).await {
        // What is to be deleted is still known at the next reload.
        ui.output(&format!("Failed to update tags: {error}"));
        return;
    }
    flags.tags = settings.tags;
}

/// Only what changed in the configuration: tags set at run time stay, as do those of the file.
async fn reload_tags(
    agent: &Arc<Agent>,
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
) -> Result<(), AgentError> {
    let deleted: Vec<String> = old.keys().filter(|tag| !new.contains_key(*tag)).cloned().collect();
    let changed = |(tag, value): &(&String, &String)| old.get(*tag) != Some(*value);
    let set: BTreeMap<String, String> =
        new.iter().filter(changed).map(|(tag, value)| (tag.clone(), value.clone())).collect();
    if set.is_empty() && deleted.is_empty() {
        return Ok(());
    }
    agent.update_tags(set, deleted).await
}

fn failed_reload(ui: &Ui, error: &AgentError) {
    ui.output(&error.to_string());
    ui.output("Failed to reload configs");
}

#[cfg(test)]
mod tests;
