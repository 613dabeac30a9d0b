//! The life cycle of an agent: start, signals, reload, end.

use std::{io::Write as _, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind},
    task::JoinHandle,
};
use tracing::{info, warn};

use super::{
    AgentError, FileConfig, Notices, Settings,
    access::Authenticator,
    beacons::{self, is_hidden_name},
    check,
    descriptors::Descriptors,
    handlers, http, invoke, ipc,
    log::{LogHub, Syslog, Ui, install},
    mdns,
    notify::Notify,
    operations::Agent,
    reload::reload,
    retry::retry_join,
    sandbox,
    seeds::Trust,
    settings::{RpcAddr, host_name},
    signals::{Caught, Signals, listen},
    telemetry::{Scraped, Telemetry},
    tls::ServerTls,
};
use crate::{
    driver::{EventStream, HeardStream, Serf, StopReason},
    wire::Compression,
};

/// Runs an agent until a signal or an RPC client ends it; returns the exit code. `read` reads the
/// configuration, at the start and at each reload, from `files`.
pub fn run(read: impl Fn() -> Result<FileConfig, AgentError>, files: &[PathBuf]) -> u8 {
    let mut notices = Notices::default();
    let built = read().and_then(|written| Settings::build(written, &mut notices));
    // While there is no other thread.
    let built = built.and_then(|settings| {
        sandbox::enter(&settings, files, &mut notices)?;
        Ok(settings)
    });
    let settings = match built {
        Ok(settings) => settings,
        Err(error) => return refuse(&notices, &error),
    };
    let hub = LogHub::start(settings.log_level, settings.log_json);
    install(&hub);
    let ui = Ui { hub: hub.clone() };
    for warning in &notices.warnings {
        ui.output(warning);
    }
    if let Some(facility) = settings.syslog {
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
            for line in notices.interface.as_deref().into_iter().chain([STARTING]) {
                ui.output(line);
            }
            let code =
                runtime.block_on(Box::pin(live(settings, &ui, &read))).unwrap_or_else(|error| {
                    ui.output(&error.to_string());
                    1
                });
            // Running handlers are left alone, as in Go. With a `handler_timeout` they are killed
            // with their process groups, since their timeout could not be enforced later.
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

/// Prints why the agent does not start, after the lines that Go prints before it detects the error.
fn refuse(notices: &Notices, error: &AgentError) -> u8 {
    let mut lines: Vec<&str> = notices.warnings.iter().map(String::as_str).collect();
    lines.extend(notices.interface.as_deref());
    if matches!(error, AgentError::Setup(_) | AgentError::Start(_)) {
        lines.push(STARTING);
    }
    let error = error.to_string();
    lines.push(&error);
    let text: String = lines.iter().map(|line| format!("==> {line}\n")).collect();
    // There is no log yet, and a closed standard output cannot be handled.
    let _ = std::io::stdout().write_all(text.as_bytes());
    1
}

async fn live(
    settings: Settings,
    ui: &Ui,
    read: &impl Fn() -> Result<FileConfig, AgentError>,
) -> Result<u8, AgentError> {
    let mut signals = Signals::listen()?;
    let (statsite, statsd) = (settings.statsite_addr.as_deref(), settings.statsd_addr.as_deref());
    let has_http = settings.http_addr != RpcAddr::Off;
    let scraped = has_http.then(|| Scraped::new(settings.metrics_label.clone()));
    let telemetry = Telemetry::start(statsite, statsd, &host_name(), scraped.clone());
    telemetry.install();
    tokio::spawn(dump_on_signal(listen(SignalKind::user_defined1())?, telemetry));
    let descriptors = Descriptors::raise();
    let auth = Authenticator::open(&settings)?;
    let (serf, handlers, heard) = start(&settings, descriptors).await?;
    let agent = Arc::new(Agent::new(serf, settings, auth, ui.hub.clone(), descriptors));
    if let Some(events) = handlers {
        agent.handlers.begin(events);
    }
    tokio::spawn(invoke::run_handlers(Arc::clone(&agent)));
    tokio::spawn(log_received(Arc::clone(&agent), heard));
    if let Some(interval) = agent.settings.beacon_interval {
        tokio::spawn(beacons::run(Arc::clone(&agent), interval));
    }
    let discovery = match &agent.settings.mdns {
        None => None,
        Some(settings) => match mdns::start(Arc::clone(&agent), settings, &host_name()).await {
            Ok(discovery) => Some(discovery),
            Err(error) => {
                agent.serf.shutdown().await;
                return Err(error);
            }
        },
    };
    let servers = match serve_clients(&agent, ui, scraped).await {
        Ok(servers) => servers,
        Err(error) => {
            agent.serf.shutdown().await;
            return Err(error);
        }
    };
    let notify = Notify::from_env();
    tokio::spawn(look_around(Arc::clone(&agent)));
    tokio::spawn(watchdog(Arc::clone(&agent), notify.clone()));
    let code = serve(&agent, ui, &mut signals, &notify, read).await;
    notify.stopping();
    for server in servers {
        server.abort();
        // The listener is dropped together with the task.
        let _ = server.await;
    }
    if let Some(discovery) = discovery {
        discovery.abort();
    }
    agent.shutdown().await;
    code
}

/// Serves RPC clients and, if metrics totals are kept, HTTP clients.
async fn serve_clients(
    agent: &Arc<Agent>,
    ui: &Ui,
    scraped: Option<Scraped>,
) -> Result<Vec<JoinHandle<()>>, AgentError> {
    let listener = ipc::Listener::bind(&agent.settings.rpc_addr).await.map_err(AgentError::Rpc)?;
    let shared = ipc::Shared::start(agent);
    let mut servers = Vec::new();
    if let Some(scraped) = scraped {
        let addr = &agent.settings.http_addr;
        let listener = ipc::Listener::bind(addr).await.map_err(AgentError::Http)?;
        warn_of_readers(agent, &listener);
        info!(target: "agent", "HTTP listens on {addr}");
        let site = http::Site::new(Arc::clone(agent), Arc::clone(&shared), scraped, &listener);
        servers.push(tokio::spawn(http::serve(site, listener)));
    }
    warn_of_exposure(agent, &listener).await;
    ui.output("Starting Serf agent RPC...");
    servers.push(tokio::spawn(ipc::serve(Arc::clone(agent), shared, listener)));
    Ok(servers)
}

/// Reads files again when they change: tokens and certificates. Reports what the audit left out.
async fn look_around(agent: Arc<Agent>) {
    while agent.auth.has_files() || agent.audit.is_on() {
        tokio::time::sleep(LOOK_PERIOD).await;
        agent.audit.report();
        let agent = Arc::clone(&agent);
        // It ends early only if the program ends.
        let _ = tokio::task::spawn_blocking(move || agent.auth.reread_if_changed()).await;
    }
}

/// Reports to the watchdog as long as the engine answers.
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
        // Go installs its handlers later, so signals end the agent at once at this stage.
        caught = signals.end() => {
            ui.output(&format!("Caught signal: {}", caught.name()));
            return Ok(1);
        }
    }
    ui.info("");
    ui.output("Log data will now stream in as it occurs:\n");
    ui.hub.open_gate();
    notify.ready();
    let mut current = agent.settings.reloadable.clone();
    let retry = retry_join(agent, current.retry.clone());
    tokio::pin!(retry);
    let mut retrying = true;
    loop {
        let caught = tokio::select! {
            caught = signals.next() => caught,
            () = agent.left.notified() => return Ok(0),
            code = node_ended(agent) => return Ok(code),
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
                let before = current.retry.clone();
                reload(agent, ui, &mut current, read).await;
                if current.retry != before && (retrying || current.retry.adds_to(&before)) {
                    retry.set(retry_join(agent, current.retry.clone()));
                    retrying = true;
                }
                notify.ready();
                continue;
            }
            Caught::Interrupt => !current.skip_leave_on_interrupt,
            Caught::Terminate => current.leave_on_terminate,
        };
        notify.stopping();
        if !graceful {
            return Ok(1);
        }
        ui.output("Gracefully shutting down agent...");
        return Ok(leave(agent, ui, signals).await);
    }
}

/// Waits until the node ends without a request; returns the exit code.
async fn node_ended(agent: &Agent) -> u8 {
    let reason = agent.serf.stopped().await;
    agent.log_end();
    // With a nonzero code a service manager restarts it; a requested shutdown has zero.
    u8::from(reason != StopReason::Shutdown)
}

/// Warns about listeners that other hosts can reach without a secret.
async fn warn_of_exposure(agent: &Agent, listener: &ipc::Listener) {
    let token = agent.auth.is_required();
    let certificates = agent.auth.rpc_tls.as_ref().is_some_and(ServerTls::wants_certificates);
    let is_open = !token && !certificates;
    if let Some(addr) = listener.tcp_addr().filter(|addr| is_open && !addr.ip().is_loopback()) {
        warn!(
            target: "agent",
            "The RPC listens on {addr} without rpc_auth: anyone who reaches it controls the agent"
        );
    }
    let announced = agent.serf.addresses().advertised.ip();
    if is_public(announced) && !agent.serf.encryption_enabled().await {
        warn!(
            target: "memberlist",
            "Binding to public address without encryption! {announced} takes gossip of anybody: \
             set encrypt_key or keyring_file"
        );
    }
}

/// Warns about an HTTP listener that other hosts can reach without a secret.
fn warn_of_readers(agent: &Agent, listener: &ipc::Listener) {
    let token = agent.auth.is_required();
    let certificates = agent.auth.http_tls.as_ref().is_some_and(ServerTls::wants_certificates);
    let is_open = !token && !certificates;
    if let Some(addr) = listener.tcp_addr().filter(|addr| is_open && !addr.ip().is_loopback()) {
        warn!(
            target: "agent",
            "HTTP listens on {addr} without rpc_auth: anyone who reaches it reads members, events \
             and metrics"
        );
    }
}

/// Whether an address is reachable from the public internet.
fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            // RFC 6598: behind a provider's NAT.
            let shared = a == 100 && (64..128).contains(&b);
            let near = ip.is_loopback() || ip.is_private() || ip.is_link_local() || shared;
            !near && !ip.is_unspecified()
        }
        IpAddr::V6(ip) => {
            let local = ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local();
            !local && !ip.is_unspecified()
        }
    }
}

/// Joins at the start; fails unless one of the addresses answers.
async fn start_join(agent: &Agent, ui: &Ui) -> Result<(), AgentError> {
    if agent.settings.start_join.is_empty() {
        return Ok(());
    }
    let replay = agent.settings.replay;
    ui.output(&format!("Joining cluster...(replay: {replay})"));
    let count = agent.join_seeds(&agent.settings.start_join, replay, Trust::Local).await?;
    ui.info(&format!("Join completed. Synced with {count} initial agents"));
    Ok(())
}

async fn leave(agent: &Agent, ui: &Ui, signals: &mut Signals) -> u8 {
    let left = async {
        match agent.leave().await {
            Ok(()) => 0,
            Err(error) => {
                ui.output(&format!("Error: {error}"));
                // Go waits here until its own timeout.
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

/// A node, the events for handlers if there are any, and the names of all events.
type Started = (Serf, Option<EventStream>, HeardStream);

async fn start(settings: &Settings, descriptors: Descriptors) -> Result<Started, AgentError> {
    let config = check::node_config(settings)?;
    let failed = |error: crate::driver::Error| match (&error, &settings.snapshot_path) {
        (crate::driver::Error::Snapshot(source), Some(path)) => {
            check::snapshot_failure(path, source)
        }
        _ => AgentError::Start(error.to_string()),
    };
    let mut builder =
        Serf::builder(config).bind(settings.bind.addr).streams_max(descriptors.streams());
    if let Some(address) = settings.advertise {
        builder = builder.advertise(address);
    }
    if let Some(path) = &settings.snapshot_path {
        builder = builder.snapshot(path);
    }
    if let Some(path) = &settings.keyring_file {
        builder = builder.keyring_file(path);
    }
    info!(target: "agent", "Serf agent starting");
    let has_scripts = !settings.reloadable.scripts.is_empty();
    let handlers = has_scripts.then(|| builder.subscribe(handlers::QUEUE));
    let heard = builder.hear();
    let serf = Box::pin(builder.start()).await.map_err(failed)?;
    Ok((serf, handlers, heard))
}

async fn banner(agent: &Agent, ui: &Ui) {
    let settings = &agent.settings;
    let encrypted = agent.serf.encryption_enabled().await;
    ui.output("Serf agent running!");
    ui.info(&format!("                  Node name: '{}'", settings.node.name));
    ui.info(&format!("                  Bind addr: '{}'", settings.bind.shown));
    if let Some(advertise) = settings.advertise {
        // Go does not align it either; scripts match the text.
        ui.info(&format!("Advertise addr: '{advertise}'"));
    }
    ui.info(&format!("                   RPC addr: '{}'", settings.rpc_addr));
    ui.info(&format!("                  Encrypted: {encrypted}"));
    ui.info(&format!("                   Snapshot: {}", settings.snapshot_path.is_some()));
    ui.info(&format!("                    Profile: {}", settings.profile.name()));
    ui.info(&format!(
        "Message Compression Enabled: {}",
        settings.node.compression != Compression::None
    ));
    if let Some(mdns) = &settings.mdns {
        ui.info(&format!("               mDNS cluster: {}", mdns.cluster));
    }
}

/// Logs each event when it arrives, independently of handlers.
async fn log_received(agent: Arc<Agent>, mut heard: HeardStream) {
    let mut names = Vec::new();
    while heard.recv_all(&mut names).await {
        names.retain(|name| !is_hidden_name(&agent, name));
        if !agent.hub.received(&mut names) {
            // In a flood the wake-ups would cost as much as the lines.
            tokio::time::sleep(UNREAD_PAUSE).await;
        }
    }
}

/// Prints the metrics of the last minute on each SIGUSR1. Go: `InmemSignal`.
async fn dump_on_signal(mut signals: Signal, telemetry: Telemetry) {
    while signals.recv().await.is_some() {
        let text = telemetry.dump();
        // A suspended terminal must not block the agent.
        let _ = tokio::task::spawn_blocking(move || {
            std::io::stderr().lock().write_all(text.as_bytes())
        })
        .await;
    }
}

/// Go's first line after it has read the configuration.
const STARTING: &str = "Starting Serf agent...";
/// Longest leave after a signal.
const LEAVE_MAX: Duration = Duration::from_secs(3);
/// How late events are noted while nobody reads lines about them.
const UNREAD_PAUSE: Duration = Duration::from_millis(20);
/// Between looks whether files have changed.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
