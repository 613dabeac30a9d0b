//! The agent's life: start, signals, reload, end.

use std::{collections::BTreeMap, io::Write as _, sync::Arc, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use super::{
    AgentError, FileConfig, Settings,
    core::Agent,
    descriptors::Descriptors,
    files, invoke, ipc,
    log::{LogHub, Syslog, Ui},
    mdns,
    notify::Notify,
    settings::host_name,
    telemetry::Telemetry,
};
use crate::{
    base::{go_duration::GoDuration, go_net},
    driver::{LagPolicy, Serf, Subscribe},
    serf::Event,
    wire::Keyring,
};

/// Longest leave after a signal.
const LEAVE_MAX: Duration = Duration::from_secs(3);
/// Events held for handlers that are slower than the cluster.
const HANDLER_QUEUE: usize = 4096;

/// Runs an agent until it is told to end; gives the exit code. `read` reads the configuration, at
/// the start and at each reload.
pub fn run(read: impl Fn() -> Result<FileConfig, AgentError>) -> u8 {
    let built = read().and_then(Settings::build);
    let (settings, warnings) = match built {
        Ok(built) => built,
        Err(error) => {
            // There is no log yet; a closed standard output is nobody to tell.
            let _ = writeln!(std::io::stdout(), "==> {error}");
            return 1;
        }
    };
    let hub = LogHub::start(settings.log_level, settings.log_json);
    hub.install();
    let ui = Ui { hub: hub.clone() };
    for warning in warnings {
        ui.output(&warning);
    }
    if let Some(facility) = &settings.syslog {
        match Syslog::open(facility) {
            Ok(syslog) => hub.set_syslog(syslog),
            Err(error) => {
                ui.output(&format!("Syslog setup failed: {error}"));
                hub.flush();
                return 1;
            }
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let code = match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(live(settings, &ui, &read)).unwrap_or_else(|error| {
                ui.output(&error.to_string());
                1
            });
            // Handlers that still run are left alone, as in Go. With a `handler_timeout` they are
            // ended with their process groups: nobody would end them in time later.
            runtime.shutdown_timeout(Duration::from_millis(100));
            code
        }
        Err(error) => {
            ui.output(&error.to_string());
            1
        }
    };
    hub.flush();
    code
}

async fn live(
    settings: Settings,
    ui: &Ui,
    read: &impl Fn() -> Result<FileConfig, AgentError>,
) -> Result<u8, AgentError> {
    if let Some(interface) = &settings.bind_from_interface {
        ui.output(&format!("Using interface '{interface}' address '{}'", settings.bind.ip()));
    }
    ui.output("Starting Serf agent...");
    let mut signals = Signals::listen()?;
    let (statsite, statsd) = (settings.statsite_addr.as_deref(), settings.statsd_addr.as_deref());
    let telemetry = Telemetry::start(statsite, statsd, &host_name().unwrap_or_default());
    telemetry.install();
    tokio::spawn(dump_on_signal(listen(SignalKind::user_defined1())?, telemetry));
    let descriptors = Descriptors::raise();
    let (serf, handlers, log_events) = start(&settings, descriptors).await?;
    let agent = Arc::new(Agent::new(serf, settings, ui.hub.clone(), descriptors));
    info!(target: "agent", "Serf agent starting");
    tokio::spawn(invoke::run_handlers(Arc::clone(&agent), handlers));
    tokio::spawn(log_received(log_events));
    let discovery = match &agent.settings.mdns {
        None => None,
        Some(settings) => {
            let host = host_name().unwrap_or_default();
            match mdns::start(Arc::clone(&agent), settings, &host).await {
                Ok(discovery) => Some(discovery),
                Err(error) => {
                    agent.serf.shutdown().await;
                    return Err(error);
                }
            }
        }
    };
    let listener = match ipc::Listener::bind(&agent.settings.rpc_addr).await {
        Ok(listener) => listener,
        Err(error) => {
            agent.serf.shutdown().await;
            return Err(error);
        }
    };
    ui.output("Starting Serf agent RPC...");
    let server = tokio::spawn(ipc::serve(Arc::clone(&agent), listener));
    let notify = Notify::from_env();
    tokio::spawn(watchdog(Arc::clone(&agent), notify.clone()));
    let code = serve(&agent, ui, &mut signals, &notify, read).await;
    notify.stopping();
    server.abort();
    // The listener is dropped with it.
    let _ = server.await;
    if let Some(discovery) = discovery {
        discovery.abort();
    }
    agent.serf.shutdown().await;
    info!(target: "agent", "shutdown complete");
    code
}

/// Tells that the engine answers, as long as it does.
async fn watchdog(agent: Arc<Agent>, notify: Notify) {
    let Some(interval) = notify.watchdog_interval() else { return };
    loop {
        drop(agent.serf.local_member().await);
        notify.alive();
        tokio::time::sleep(interval).await;
    }
}

async fn serve(
    agent: &Arc<Agent>,
    ui: &Ui,
    signals: &mut Signals,
    notify: &Notify,
    read: &impl Fn() -> Result<FileConfig, AgentError>,
) -> Result<u8, AgentError> {
    banner(agent, ui).await;
    tokio::select! {
        joined = start_join(agent, ui) => joined?,
        // Go listens to signals later, so that they end it at once.
        caught = signals.end() => {
            ui.output(&format!("Caught signal: {}", caught.name()));
            return Ok(1);
        }
    }
    ui.info("");
    ui.output("Log data will now stream in as it occurs:\n");
    ui.hub.open_gate();
    notify.ready();
    let retry = retry_join(agent);
    tokio::pin!(retry);
    let mut retrying = true;
    let mut flags = Reloadable {
        leave_on_terminate: agent.settings.leave_on_terminate,
        skip_leave_on_interrupt: agent.settings.skip_leave_on_interrupt,
        tags: agent.settings.tags.clone(),
    };
    loop {
        let caught = tokio::select! {
            caught = signals.next() => caught,
            () = agent.left.notified() => return Ok(0),
            _ = agent.serf.stopped() => {
                warn!(target: "agent", "Serf shutdown detected, quitting");
                return Ok(0);
            }
            joined = &mut retry, if retrying => {
                retrying = false;
                if !joined {
                    return Ok(1);
                }
                continue;
            }
        };
        ui.output(&format!("Caught signal: {}", caught.name()));
        let graceful = match caught {
            Caught::Hangup => {
                ui.output("Reloading configuration...");
                notify.reloading();
                reload(agent, ui, &mut flags, read).await;
                notify.ready();
                continue;
            }
            Caught::Interrupt => !flags.skip_leave_on_interrupt,
            Caught::Terminate => flags.leave_on_terminate,
        };
        notify.stopping();
        if !graceful {
            return Ok(1);
        }
        ui.output("Gracefully shutting down agent...");
        return Ok(leave(agent, ui, signals).await);
    }
}

/// One of the addresses must answer.
async fn start_join(agent: &Agent, ui: &Ui) -> Result<(), AgentError> {
    if agent.settings.start_join.is_empty() {
        return Ok(());
    }
    let replay = agent.settings.replay;
    ui.output(&format!("Joining cluster...(replay: {replay})"));
    let count = match agent.join(&agent.settings.start_join, replay).await {
        Ok(count) => count,
        Err(error) if error.contacted > 0 => error.contacted,
        Err(error) => return Err(error.into()),
    };
    ui.info(&format!("Join completed. Synced with {count} initial agents"));
    Ok(())
}

/// What a reload may change and the agent does not keep itself.
struct Reloadable {
    leave_on_terminate: bool,
    skip_leave_on_interrupt: bool,
    /// The tags that were configured last and are set.
    tags: BTreeMap<String, String>,
}

async fn leave(agent: &Agent, ui: &Ui, signals: &mut Signals) -> u8 {
    let left = async {
        match agent.serf.leave().await {
            Ok(()) => 0,
            Err(error) => {
                ui.output(&format!("Error: {error}"));
                // Go waits for the end of its patience here.
                tokio::time::sleep(LEAVE_MAX).await;
                1
            }
        }
    };
    tokio::select! {
        code = left => code,
        _ = signals.next() => 1,
        () = tokio::time::sleep(LEAVE_MAX) => 1,
    }
}

type Started = (Serf, crate::driver::EventStream, crate::driver::EventStream);

async fn start(settings: &Settings, descriptors: Descriptors) -> Result<Started, AgentError> {
    let setup =
        |error: AgentError| AgentError::Invalid(format!("Failed to setup the Serf agent: {error}"));
    let mut config = settings.serf_config()?;
    config.tags = tags(settings).map_err(setup)?;
    config.swim.codec.keyring = keyring(settings).map_err(setup)?;
    let failed = |error: crate::driver::Error| {
        let reason = match (&error, &settings.snapshot_path) {
            (crate::driver::Error::Snapshot(source), Some(path)) => {
                let (path, source) = (path.display(), go_net::error_text(source));
                format!("Failed to setup snapshot: failed to open snapshot: open {path}: {source}")
            }
            _ => error.to_string(),
        };
        AgentError::Invalid(format!(
            "Failed to start the Serf agent: Error creating Serf: {reason}"
        ))
    };
    if let Some(key) = &settings.encrypt_key {
        // The size is the node's business, and its error comes when it is made.
        config.swim.codec.keyring = Keyring::build(&[], key).map_err(|error| {
            AgentError::Invalid(format!(
                "Failed to start the Serf agent: Error creating Serf: Failed to create \
                 memberlist: {error}"
            ))
        })?;
    }
    let mut builder = Serf::builder(config);
    builder.bind = settings.bind;
    builder.advertise = settings.advertise;
    builder.snapshot_path = settings.snapshot_path.clone();
    builder.keyring_file = settings.keyring_file.clone();
    builder.streams_max = descriptors.streams();
    let queue = Subscribe { capacity: HANDLER_QUEUE, policy: LagPolicy::DropNewest };
    let (handlers, log_events) = (builder.subscribe(queue), builder.subscribe(queue));
    let serf = builder.start().await.map_err(failed)?;
    Ok((serf, handlers, log_events))
}

fn tags(settings: &Settings) -> Result<BTreeMap<String, String>, AgentError> {
    let Some(path) = &settings.tags_file else { return Ok(settings.tags.clone()) };
    if !settings.tags.is_empty() {
        let text = "Tags config not allowed while using tag files";
        return Err(AgentError::File(text.to_owned()));
    }
    let Some(tags) = files::read_tags(path)? else { return Ok(BTreeMap::new()) };
    info!(target: "agent", "Restored {} tag(s) from {}", tags.len(), path.display());
    Ok(tags)
}

fn keyring(settings: &Settings) -> Result<Keyring, AgentError> {
    let Some(path) = &settings.keyring_file else { return Ok(Keyring::default()) };
    if settings.encrypt_key.is_some() {
        let text = "Encryption key not allowed while using a keyring";
        return Err(AgentError::File(text.to_owned()));
    }
    let keyring = files::read_keyring(path)?;
    let count = keyring.keys().count();
    info!(target: "agent", "Restored keyring with {count} keys from {}", path.display());
    Ok(keyring)
}

async fn banner(agent: &Agent, ui: &Ui) {
    let settings = &agent.settings;
    let encrypted = agent.serf.encryption_enabled().await;
    ui.output("Serf agent running!");
    ui.info(&format!("                  Node name: '{}'", settings.node_name));
    ui.info(&format!("                  Bind addr: '{}'", settings.bind));
    if let Some(advertise) = settings.advertise {
        // Go's line is out of line, and is matched like this.
        ui.info(&format!("Advertise addr: '{advertise}'"));
    }
    ui.info(&format!("                   RPC addr: '{}'", settings.rpc_addr));
    ui.info(&format!("                  Encrypted: {encrypted}"));
    ui.info(&format!("                   Snapshot: {}", settings.snapshot_path.is_some()));
    ui.info(&format!("                    Profile: {}", settings.profile.name()));
    ui.info(&format!("Message Compression Enabled: {}", settings.compression));
    if let Some(cluster) = settings.written.text("discover") {
        ui.info(&format!("               mDNS cluster: {cluster}"));
    }
}

/// Tries until an address answers; false: gave up.
async fn retry_join(agent: &Agent) -> bool {
    let settings = &agent.settings;
    if settings.retry_join.is_empty() {
        return true;
    }
    let mut attempt = 0;
    loop {
        info!(target: "agent", "Joining cluster...(replay: {})", settings.replay);
        let error = match agent.join(&settings.retry_join, settings.replay).await {
            Ok(count) => {
                info!(target: "agent", "Join completed. Synced with {count} initial agents");
                return true;
            }
            Err(error) if error.contacted > 0 => {
                let count = error.contacted;
                info!(target: "agent", "Join completed. Synced with {count} initial agents");
                return true;
            }
            Err(error) => error,
        };
        attempt += 1;
        if settings.retry_max > 0 && attempt > settings.retry_max {
            error!(target: "agent", "maximum retry join attempts made, exiting");
            return false;
        }
        let interval = GoDuration::from(settings.retry_interval);
        warn!(target: "agent", "Join failed: {error}, retrying in {interval}");
        tokio::time::sleep(settings.retry_interval).await;
    }
}

/// Logs each event when it comes, however long handlers take.
async fn log_received(mut events: crate::driver::EventStream) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Member(event) => {
                info!(target: "agent", "Received event: {}", event.kind);
            }
            Event::User(event) => {
                info!(target: "agent", "Received event: user-event: {}", event.name);
            }
            Event::Query(query) => {
                info!(target: "agent", "Received event: query: {}", query.name);
            }
            Event::Lagged(_) => {}
        }
    }
}

async fn reload(
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
    agent.set_scripts(settings.scripts);
    flags.leave_on_terminate = settings.leave_on_terminate;
    flags.skip_leave_on_interrupt = settings.skip_leave_on_interrupt;
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

#[derive(Clone, Copy)]
enum Caught {
    Interrupt,
    Terminate,
    Hangup,
}

impl Caught {
    fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "interrupt",
            Self::Terminate => "terminated",
            Self::Hangup => "hangup",
        }
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

fn listen(kind: SignalKind) -> Result<Signal, AgentError> {
    signal(kind).map_err(|error| AgentError::Invalid(format!("signal handler: {error}")))
}

/// Prints the measures of the last minute for each SIGUSR1. Go: `InmemSignal`.
async fn dump_on_signal(mut signals: Signal, telemetry: Telemetry) {
    while signals.recv().await.is_some() {
        let text = telemetry.dump();
        // A terminal that stands still must not hold the agent up.
        let _ = tokio::task::spawn_blocking(move || {
            std::io::stderr().lock().write_all(text.as_bytes())
        })
        .await;
    }
}

impl Signals {
    fn listen() -> Result<Self, AgentError> {
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Caught {
        tokio::select! {
            _ = self.interrupt.recv() => Caught::Interrupt,
            _ = self.terminate.recv() => Caught::Terminate,
            _ = self.hangup.recv() => Caught::Hangup,
        }
    }

    /// Those that end the agent.
    async fn end(&mut self) -> Caught {
        tokio::select! {
            _ = self.interrupt.recv() => Caught::Interrupt,
            _ = self.terminate.recv() => Caught::Terminate,
        }
    }
}

#[cfg(test)]
mod tests;
