//! Reloads the configuration on SIGHUP.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    AgentError, FileConfig, Notices, Settings,
    log::Ui,
    operations::Agent,
    sandbox::runs_programs,
    secrets,
    settings::{Reloadable, Sandbox, level},
};

/// Reads the configuration again. If it is invalid, nothing changes, as in Go; if only the log
/// level is invalid, the level is kept.
pub(super) async fn reload(
    agent: &Arc<Agent>,
    ui: &Ui,
    current: &mut Reloadable,
    read: &impl Fn() -> Result<FileConfig, AgentError>,
) {
    let failed = |error: AgentError| {
        ui.mistake(&error);
        ui.output("Failed to reload configs");
    };
    let written = match read() {
        Ok(written) => written,
        Err(error) => return failed(error),
    };
    let mut notices = Notices::default();
    let new = Reloadable::build(&written, &mut notices);
    for warning in &notices.warnings {
        ui.output(warning);
    }
    let mut new = match new {
        Ok(new) => new,
        Err(error) => return failed(error),
    };
    match level(&written) {
        Ok(level) => ui.hub.set_level(level),
        Err(error) => ui.output(&error.to_string()),
    }
    if changes_token(&written, &agent.settings) {
        ui.output("Warning: 'rpc_auth' has changed: the old token counts until a restart");
    }
    let rereading = Arc::clone(agent);
    let reread = tokio::task::spawn_blocking(move || rereading.auth.reread()).await;
    for error in reread.unwrap_or_default() {
        ui.output(&format!("Failed to reload a file: {error}"));
    }
    let shut_in = agent.settings.sandbox != Sandbox::Off && !runs_programs(&agent.settings);
    if shut_in && !new.scripts.is_empty() {
        ui.output("Warning: the sandbox was entered without event handlers: restart the agent");
    }
    agent.handlers.set(new.scripts.clone(), &agent.serf);
    if let Err(error) = reload_tags(agent, &current.tags, &new.tags).await {
        ui.output(&format!("Failed to update tags: {error}"));
        // The next reload must still know which tags to delete.
        new.tags = std::mem::take(&mut current.tags);
    }
    *current = new;
}

/// Whether the configuration has another token than at the start, which is kept, as in Go.
fn changes_token(written: &FileConfig, settings: &Settings) -> bool {
    let text = written.rpc_auth.as_ref().map_or("", |token| token.expose());
    secrets::resolve("rpc_auth", text).is_ok_and(|token| token != settings.rpc_auth)
}

/// Applies the difference between the tags of two configurations: tags set at run time and those of
/// the tags file are preserved.
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

#[cfg(test)]
mod tests;
