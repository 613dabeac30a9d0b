//! Operations of the agent, for its RPC server and its own start.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::Notify;
use tracing::{debug, error, info, warn};

use super::{
    AgentError, Settings,
    access::Authenticator,
    audit::Audit,
    descriptors::Descriptors,
    files,
    handlers::Handlers,
    log::LogHub,
    seeds::{self, Trust},
};
use crate::{
    base::{printable, printable_text},
    driver::{Error, QueryHandle, Serf, UserEventSpec},
    rpc::protocol::errors,
    serf::{KeyOp, KeyResponse, MsgpackTransform, Oversize, QueryParams, TransformDelegate as _},
    wire::limits::META_BYTES_MAX,
};

/// A running agent.
pub(super) struct Agent {
    pub(super) serf: Serf,
    pub(super) settings: Settings,
    pub(super) auth: Authenticator,
    pub(super) audit: Audit,
    pub(super) hub: LogHub,
    pub(super) descriptors: Descriptors,
    /// Notified when an RPC client has made the node leave, so that the agent exits.
    pub(super) left: Notify,
    /// Whether the end of the node was logged.
    end_logged: AtomicBool,
    /// Scripts that events run.
    pub(super) handlers: Handlers,
    /// Serializes changes of tags, so that the file and the node see the same order.
    tags: tokio::sync::Mutex<()>,
}

impl Agent {
    pub(super) fn new(
        serf: Serf,
        settings: Settings,
        auth: Authenticator,
        hub: LogHub,
        descriptors: Descriptors,
    ) -> Self {
        let handlers = Handlers::new(settings.reloadable.scripts.clone());
        let tags = tokio::sync::Mutex::default();
        let (left, end_logged) = (Notify::new(), AtomicBool::new(false));
        let audit = Audit::new(settings.audit);
        Self { serf, settings, auth, audit, hub, descriptors, left, end_logged, handlers, tags }
    }

    pub(super) async fn join(&self, addrs: &[String], replay: bool) -> Result<usize, Error> {
        info!(target: "agent", "joining: [{}] replay: {replay}", addrs.join(" "));
        let joined = match replay {
            true => self.serf.join_with_replay(addrs).await,
            false => self.serf.join(addrs).await,
        };
        match &joined {
            Ok(count) => info!(target: "agent", "joined: {count} nodes"),
            Err(error) => {
                let text = error.go_text();
                warn!(target: "agent", list = text.as_str(), "error joining: ");
            }
        }
        joined
    }

    /// Joins the addresses that the seeds currently resolve to. Seeds without an address are
    /// logged.
    pub(super) async fn join_seeds(
        &self,
        texts: &[String],
        replay: bool,
        trust: Trust,
    ) -> Result<usize, AgentError> {
        let found = seeds::find(texts, trust).await;
        for error in &found.errors {
            let error = printable_text(error, ERROR_BYTES_MAX);
            warn!(target: "agent", "Failed to look up seeds: {error}");
        }
        if found.addrs.is_empty() && !texts.is_empty() {
            return Err(AgentError::Seeds(found.error()));
        }
        Ok(self.join(&found.addrs, replay).await?)
    }

    /// Leaves the cluster.
    pub(super) async fn leave(&self) -> Result<(), Error> {
        info!(target: "agent", "requesting graceful leave from Serf");
        self.serf.leave().await
    }

    /// Stops the node.
    pub(super) async fn shutdown(&self) {
        info!(target: "agent", "requesting serf shutdown");
        // Go's agent sees the end that it asked for only if the node still has a snapshot to close.
        if self.settings.snapshot_path.is_none() {
            self.end_logged.store(true, Ordering::Relaxed);
        }
        self.serf.shutdown().await;
        self.log_end();
        info!(target: "agent", "shutdown complete");
    }

    /// Logs the end of the node once, whether it was requested or not.
    pub(super) fn log_end(&self) {
        if !self.end_logged.swap(true, Ordering::Relaxed) {
            warn!(target: "agent", "Serf shutdown detected, quitting");
        }
    }

    /// Changes or lists the keys of all members.
    pub(super) async fn keys(&self, op: KeyOp) -> Result<KeyResponse, Error> {
        let operation = match &op {
            KeyOp::Install(_) => "installation",
            KeyOp::Use(_) => "primary key change",
            KeyOp::Remove(_) => "removal",
            KeyOp::List => "listing",
        };
        let key = if matches!(op, KeyOp::Use(_)) { "" } else { "key " };
        info!(target: "agent", "Initiating {key}{operation}");
        self.serf.key_manager().run(op).await
    }

    pub(super) async fn force_leave(&self, name: &str, prune: bool) -> Result<(), Error> {
        let left = if prune {
            info!(target: "agent", "Force leaving node (prune): {name}");
            self.serf.force_leave_and_prune(name).await
        } else {
            info!(target: "agent", "Force leaving node: {name}");
            self.serf.force_leave(name).await
        };
        if let Err(error) = &left {
            let prune = if prune { " (prune)" } else { "" };
            warn!(target: "agent", "failed to remove node{prune}: {error}");
        }
        left
    }

    /// Sends user events (name, payload, coalesce) in this order; returns one result for each.
    pub(super) async fn user_events(
        &self,
        events: Vec<(Vec<u8>, Bytes, bool)>,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        for (name, payload, coalesce) in &events {
            debug!(
                target: "agent",
                "Requesting user event send: {}. Coalesced: {coalesce}. Payload: \"{}\"",
                printable(name),
                printable(payload)
            );
        }
        let specs = events
            .into_iter()
            .map(|(name, payload, coalesce)| UserEventSpec::new(&name, payload).coalesce(coalesce));
        let sent = self.serf.user_events(specs).await?;
        for error in sent.iter().filter_map(|sent| sent.as_ref().err()) {
            warn!(target: "agent", "failed to send user event: {error}");
        }
        Ok(sent)
    }

    pub(super) async fn query(
        &self,
        name: &[u8],
        payload: Vec<u8>,
        mut params: QueryParams,
    ) -> Result<QueryHandle, String> {
        // All nodes remember a query for its timeout.
        params.timeout = params.timeout.min(QUERY_TIMEOUT_MAX);
        // Reserved names are refused, except for the harmless ping of `serf reachability`.
        if name.starts_with(b"_serf_") && !(name == b"_serf_ping" && payload.is_empty()) {
            return Err(errors::QUERY_PREFIX.to_owned());
        }
        debug!(
            target: "agent",
            "Requesting query send: {}. Payload: \"{}\"", printable(name), printable(&payload)
        );
        self.serf.query(name, payload, params).await.map_err(|error| {
            warn!(target: "agent", "failed to start user query: {error}");
            error.to_string()
        })
    }

    /// Changes some tags. Completes even if the caller is dropped, so that file and node stay
    /// equal.
    pub(super) async fn update_tags(
        self: &Arc<Self>,
        set: BTreeMap<String, String>,
        delete: Vec<String>,
    ) -> Result<(), AgentError> {
        let agent = Arc::clone(self);
        let changed = tokio::spawn(async move {
            let _one = agent.tags.lock().await;
            let local = agent.serf.local_member().await;
            let mut tags: BTreeMap<String, String> = local
                .tags
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            tags.retain(|name, _| !delete.contains(name));
            tags.extend(set);
            agent.replace_tags(tags).await
        });
        // The task ends early only if the program ends.
        changed.await.unwrap_or(Err(AgentError::Driver(Error::Shutdown)))
    }

    async fn replace_tags(&self, tags: BTreeMap<String, String>) -> Result<(), AgentError> {
        if let Some(path) = self.settings.tags_file.clone() {
            // The file must not contain what the node would refuse at the next start.
            self.check_tags(&tags)?;
            let copy = tags.clone();
            let written = tokio::task::spawn_blocking(move || files::write_tags(&path, &copy));
            let written = written.await.unwrap_or_else(|error| {
                Err(AgentError::File(format!("Failed to write tags file: {error}")))
            });
            if let Err(error) = &written {
                error!(target: "agent", "{error}");
            }
            written?;
        }
        Ok(self.serf.set_tags(tags).await?)
    }

    /// Refuses tags that the node would refuse, with its error.
    fn check_tags(&self, tags: &BTreeMap<String, String>) -> Result<(), AgentError> {
        let mut meta = Vec::new();
        MsgpackTransform.encode_tags(self.settings.node.protocol, &tags.clone().into(), &mut meta);
        let (what, limit, len) = (Oversize::Tags, META_BYTES_MAX, meta.len());
        if len > limit { Err(Error::TooLarge { what, limit, len }.into()) } else { Ok(()) }
    }
}

/// Most bytes of a seed error in the log.
const ERROR_BYTES_MAX: usize = 512;
/// Longest timeout of a query that clients may request.
const QUERY_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests;
