//! Starting a node.

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU8},
};

use tokio::sync::{mpsc, watch};

use super::{
    Error, Resolver, Serf, SystemResolver,
    advertise::advertise,
    core::{Clock, Core},
    files::FileWriter,
    handle::Shared,
    join::rejoin_previous,
    run::run,
    subscribe::Subscribers,
};
use crate::{
    serf::{self, Config, Engine},
    transport::{NetTransport, Transport},
};

/// Commands of handles waiting for the engine's task.
const COMMANDS_MAX: usize = 1024;

/// Starts a node. Made by [`Serf::builder`].
pub struct Builder {
    /// Engine settings. Address, port and seed are filled in at the start.
    pub config: Config,
    /// Address to bind; port 0: the system picks one. Default `0.0.0.0:7946`.
    pub bind: SocketAddr,
    /// Address to announce; `None`: chosen as Go does.
    pub advertise: Option<SocketAddr>,
    /// Snapshot file: what is known is written there and recovered from there.
    pub snapshot_path: Option<PathBuf>,
    /// File that receives the keys whenever they change.
    pub keyring_file: Option<PathBuf>,
    /// Finds addresses of host names in joins.
    pub resolver: Arc<dyn Resolver>,
}

impl Builder {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            bind: SocketAddr::from(([0, 0, 0, 0], 7946)),
            advertise: None,
            snapshot_path: None,
            keyring_file: None,
            resolver: Arc::new(SystemResolver),
        }
    }

    /// Binds UDP and TCP sockets, replays the snapshot and starts the node.
    ///
    /// # Errors
    /// A bad configuration, an address in use, an unreadable snapshot.
    pub async fn start(self) -> Result<Serf, Error> {
        let transport = NetTransport::bind(self.bind).map_err(|source| Error::Io {
            context: format!("Failed to create memberlist: could not bind {}", self.bind),
            source,
        })?;
        self.start_on(transport).await
    }

    /// Starts the node on a transport that is already bound.
    ///
    /// # Errors
    /// A bad configuration, an unreadable snapshot.
    pub async fn start_on<T: Transport>(mut self, transport: T) -> Result<Serf, Error> {
        let bound = transport.local_addr();
        let (addr, port) = advertise(self.advertise, bound).map_err(|reason| {
            serf::Error::Config(format!("Failed to create memberlist: {reason}"))
        })?;
        let swim = &mut self.config.swim;
        swim.advertise_addr = addr;
        swim.advertise_port = port;
        swim.bind_port = bound.port();
        if swim.seed == [0; 32] {
            swim.seed =
                entropy().map_err(|source| Error::Io { context: "no entropy".into(), source })?;
        }

        let snapshot = self.read_snapshot().await?;
        let files =
            FileWriter::start(self.snapshot_path.as_deref()).map_err(|source| Error::Io {
                context: "Failed to setup snapshot: failed to open snapshot".into(),
                source,
            })?;
        let clock = Clock::start();
        let mut engine = Engine::build(self.config, clock.now(), snapshot.as_deref())?;
        let previous = engine.previous_peers();
        let local = Arc::clone(engine.local_member());
        let advertised = local.socket_addr().unwrap_or(bound);

        let (commands, queue) = mpsc::channel(COMMANDS_MAX);
        let (end, ended) = watch::channel(false);
        let events = Arc::new(Subscribers::default());
        let shared = Arc::new(Shared {
            commands,
            events: Arc::clone(&events),
            state: AtomicU8::new(0),
            ended,
            bound,
            advertised,
            name: Arc::clone(&local.name),
            resolver: self.resolver,
            join_lock: tokio::sync::Mutex::new(()),
            key_lock: tokio::sync::Mutex::new(()),
            seeds: std::sync::Mutex::default(),
        });
        let weak = Arc::downgrade(&shared);
        let core = Core::new(engine, weak.clone(), events, files, self.keyring_file);
        tokio::spawn(run(core, transport, clock, queue, end));
        if !previous.is_empty() {
            tokio::spawn(rejoin_previous(weak, previous));
        }
        Ok(Serf { shared })
    }

    /// The whole snapshot file; empty if there is none yet, `None` if none is kept.
    async fn read_snapshot(&self) -> Result<Option<Vec<u8>>, Error> {
        let Some(path) = self.snapshot_path.clone() else { return Ok(None) };
        let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
        match read.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some(Vec::new())),
            Err(source) => Err(Error::Io {
                context: "Failed to setup snapshot: failed to open snapshot".into(),
                source,
            }),
        }
    }
}

/// 32 bytes that nobody can guess.
pub(super) fn entropy() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(seed)
}
