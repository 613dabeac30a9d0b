//! Builds and starts a node.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use tokio::sync::{mpsc, watch};

#[cfg(feature = "agent")]
use super::heard::HeardStream;
use super::{
    Addresses, Config, Error, EventStream, Serf, Subscribe, advertise, callers::Callers, clock,
    inbox::Inbox, node::Node, sending::Sending, shared::Shared, subscribers::Hub, task,
    tasks::Tasks, writer::Writer,
};
use crate::{
    base::Rng,
    runtime::{self, Runtime, Task, blocking},
    serf::{self, Engine, MergeDelegate, check_config},
    transport::{Address, NetTransport, Resolver, SystemResolver, Transport},
    wire::Keyring,
};

/// Starts a node. Created by [`Serf::builder`]. The settings of the node are in its [`Config`]; the
/// builder has those of its environment: addresses, files, a resolver.
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    pub(super) config: Config,
    pub(super) bind: Address,
    advertise: Option<Address>,
    pub(super) snapshot: Option<PathBuf>,
    pub(super) keyring_file: Option<PathBuf>,
    pub(super) resolver: Arc<dyn Resolver>,
    runtime: Option<Arc<dyn Runtime>>,
    /// Whether the engine and its datagrams run on a thread of their own.
    pub(super) own_thread: bool,
    /// Most inbound streams open at a time.
    streams_max: usize,
    hub: Arc<Hub>,
}

impl Builder {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            bind: SocketAddr::from(([0, 0, 0, 0], PORT)).into(),
            advertise: None,
            snapshot: None,
            keyring_file: None,
            resolver: Arc::new(SystemResolver),
            runtime: None,
            own_thread: true,
            streams_max: task::STREAMS_MAX,
            hub: Arc::new(Hub::default()),
        }
    }

    /// Address to bind, for UDP and TCP alike; `0.0.0.0:7946`. With port 0 the system picks one;
    /// without a port it is 7946.
    #[doc(alias = "BindAddr")]
    pub fn bind(mut self, address: impl Into<Address>) -> Self {
        self.bind = address.into();
        self
    }

    /// Address to announce; port 0 means the bound one. By default it is selected as in Go:
    /// from the interfaces if the bound address is unspecified.
    #[doc(alias = "AdvertiseAddr")]
    pub fn advertise(mut self, address: impl Into<Address>) -> Self {
        self.advertise = Some(address.into());
        self
    }

    /// Snapshot file, which keeps state across restarts. Created if it does not exist.
    #[doc(alias = "SnapshotPath")]
    pub fn snapshot(mut self, path: impl Into<PathBuf>) -> Self {
        self.snapshot = Some(path.into());
        self
    }

    /// Keyring file: read at the start, and written whenever the keys change. If it exists, its
    /// keys replace those of [`Config::keyring`]; otherwise that must have the first keys.
    #[doc(alias = "KeyringFile")]
    pub fn keyring_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.keyring_file = Some(path.into());
        self
    }

    /// Resolves the names in joins; by default the system's resolver.
    pub fn resolver(mut self, resolver: impl Resolver + 'static) -> Self {
        self.resolver = Arc::new(resolver);
        self
    }

    /// Runtime for the node's streams. By default the tokio runtime in which the node is started
    /// (feature `tokio`), else smol's (feature `smol`).
    pub fn runtime(mut self, runtime: impl Runtime) -> Self {
        self.runtime = Some(Arc::new(runtime));
        self
    }

    /// Sets the delegate that may veto joins; like [`Config::merge_delegate`].
    pub fn merge_delegate(mut self, delegate: impl MergeDelegate + 'static) -> Self {
        self.config = self.config.merge_delegate(delegate);
        self
    }

    /// Most inbound streams open at a time; 1,024. Lower it if file descriptors are scarce.
    pub fn streams_max(mut self, streams: usize) -> Self {
        self.streams_max = streams;
        self
    }

    /// Whether the engine and its datagrams run on a thread of their own; true. A busy runtime then
    /// does not delay them, nor do they delay the runtime, and delegates are called on that thread.
    /// Otherwise they are a task of the runtime, e.g. to use a paused clock.
    pub fn own_thread(mut self, own: bool) -> Self {
        self.own_thread = own;
        self
    }

    /// Changes settings of the node.
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Subscribes before the start, so that no event is missed, not even the node's own join.
    pub fn subscribe(&self, options: Subscribe) -> EventStream {
        self.hub.subscribe(options)
    }

    /// Subscribes to the names of events before the start.
    #[cfg(feature = "agent")]
    pub(crate) fn hear(&self) -> HeardStream {
        self.hub.hear()
    }

    /// Subscribes to all events before the start, with the default queue of [`Subscribe`].
    pub fn events(&self) -> EventStream {
        self.subscribe(Subscribe::default())
    }

    /// Binds the sockets, replays the snapshot and starts the node in its
    /// [runtime](Builder::runtime); the node ends with the runtime.
    ///
    /// # Errors
    /// An invalid configuration, an address in use, an unreadable snapshot or keyring file, no
    /// runtime.
    pub async fn start(mut self) -> Result<Serf, Error> {
        let bind = resolve(&self.bind, PORT).await?;
        self.bind = bind.into();
        let bind_on = move |runtime| Ok(NetTransport::bind_on(bind, runtime)?);
        self.launch(bind_on).await
    }

    /// Starts the node on a transport. The bind address is then only used to decide whether the
    /// address to announce must be selected.
    ///
    /// # Errors
    /// An invalid configuration, an unreadable snapshot or keyring file, no runtime.
    pub async fn start_on<T: Transport>(self, transport: T) -> Result<Serf, Error> {
        self.launch(|_| Ok(transport)).await
    }

    /// Runs the node, on a thread of its own if so configured. That thread also binds the sockets,
    /// as they belong to the runtime in which they are bound.
    async fn launch<T: Transport>(
        self,
        transport: impl FnOnce(Arc<dyn Runtime>) -> Result<T, Error> + Send + 'static,
    ) -> Result<Serf, Error> {
        let home = self.runtime.clone().or_else(runtime::current).ok_or(Error::NoRuntime)?;
        if !self.own_thread {
            let (serf, node) = self.build_on(transport, home.clone()).await?;
            home.spawn(node);
            return Ok(serf);
        }
        let thread_error = |source| Error::Io { context: "no thread for the node".into(), source };
        let (started, mut result) = mpsc::channel(1);
        let not_started = started.clone();
        let (runtime, node_runtime) = (home.clone(), home);
        // Boxed before it is moved: each move of a large value takes as much stack again, and a
        // stack that has grown does not shrink.
        let engine: Task = Box::pin(async move {
            let (built, node) = match Box::pin(self.build_on(transport, node_runtime)).await {
                Ok((serf, node)) => (Ok(serf), Some(node)),
                Err(error) => (Err(error), None),
            };
            // If the caller is gone, the handle is dropped, which ends the node.
            let _ = started.try_send(built);
            drop(started);
            if let Some(node) = node {
                node.await;
            }
        });
        let run = move || {
            if let Err(error) = runtime.block_on(engine) {
                drop(not_started.try_send(Err(thread_error(error))));
            }
        };
        let thread = thread::Builder::new().name("serf-engine".to_owned());
        thread.spawn(run).map_err(thread_error)?;
        // The channel is closed without a result: a delegate panicked while the engine was created.
        result.recv().await.unwrap_or(Err(Error::Shutdown))
    }

    /// What is wrong with the configuration or with a file is reported before an address that
    /// cannot be bound. Go: `serf/serf.go:Create`.
    async fn build_on<T: Transport>(
        mut self,
        transport: impl FnOnce(Arc<dyn Runtime>) -> Result<T, Error>,
        home: Arc<dyn Runtime>,
    ) -> Result<(Serf, Task), Error> {
        self.load_keyring().await?;
        let config = self.config.clone().into_engine();
        check_config(&config)?;
        let snapshot = match &self.snapshot {
            Some(path) => Some(read_snapshot(path).await?),
            None => None,
        };
        let writer = self.writer()?;
        let transport = transport(home.clone())?;
        Box::pin(self.build(transport, home, Prepared { config, snapshot, writer })).await
    }

    /// Creates the handle, and the future that runs the node.
    async fn build<T: Transport>(
        self,
        transport: T,
        home: Arc<dyn Runtime>,
        prepared: Prepared,
    ) -> Result<(Serf, Task), Error> {
        let Prepared { mut config, snapshot, writer } = prepared;
        let bound = transport.local_addr();
        let bind = resolve(&self.bind, PORT).await?;
        let advertise = match &self.advertise {
            Some(address) => Some(resolve(address, 0).await?),
            None => None,
        };
        let announced = advertise::announced(bind.ip(), bound, advertise).ok_or_else(no_address)?;
        let mut rng = Rng::from_seed(entropy()?);
        let swim = &mut config.swim;
        swim.advertise_addr = announced.bytes;
        swim.advertise_port = announced.addr.port();
        swim.bind_port = bound.port();
        rng.fill(&mut swim.seed);
        let tcp_timeout = swim.tcp_timeout;

        let streams_max = self.streams_max;
        config.keyring_stored = self.keyring_file.is_some();
        let engine = Engine::build(config, clock::now(), snapshot.as_deref())?;
        let local = Arc::clone(engine.local_member());
        let shared =
            Arc::new(Shared::new(self.hub, Addresses { advertised: announced.addr, bound }, local));
        let (stop, stopped) = watch::channel(None);
        let (changes, members) = watch::channel(0);
        let (commands, command_queue) = mpsc::channel(COMMANDS_MAX);
        let (internal, internal_queue) = mpsc::channel(INTERNAL_MAX);
        let mut node = Box::new(Node {
            engine,
            stop: None,
            tasks: Tasks::new(home),
            tcp_timeout,
            shared: Arc::clone(&shared),
            stopped: stop,
            members: changes,
            internal: internal.clone(),
            commands: commands.downgrade(),
            resolver: self.resolver,
            writer,
            callers: Callers::default(),
            queries: BTreeMap::new(),
            events: Vec::new(),
            sending: Sending::default(),
        });
        node.engine.start_rejoin(clock::now());
        let inbox = Inbox { commands: command_queue, internal: internal_queue };
        let node = Box::pin(task::run(node, inbox, internal, transport, rng, streams_max));
        Ok((Serf { commands, shared, stopped, members }, node))
    }

    /// Reads the keyring file, if it exists.
    async fn load_keyring(&mut self) -> Result<(), Error> {
        let Some(path) = self.keyring_file.clone() else { return Ok(()) };
        let loaded = blocking(move || Keyring::load(path)).await;
        match loaded.map_err(|_| Error::Shutdown)? {
            Ok(keyring) => self.config.keyring = keyring,
            Err(error) if error.is_not_found() && !self.config.keyring.is_empty() => {}
            Err(error) => return Err(Error::Keyring(error)),
        }
        Ok(())
    }

    fn writer(&self) -> Result<Option<Writer>, Error> {
        if self.snapshot.is_none() && self.keyring_file.is_none() {
            return Ok(None);
        }
        let writer = Writer::start(self.snapshot.clone(), self.keyring_file.clone());
        writer.map(Some).map_err(Error::Snapshot)
    }
}

/// What is ready before the sockets are bound.
struct Prepared {
    config: serf::Config,
    snapshot: Option<Vec<u8>>,
    writer: Option<Writer>,
}

impl Serf {
    /// Creates a builder with defaults: bind `0.0.0.0:7946`, no snapshot, no keyring file. Go:
    /// `serf/serf.go:Create`.
    #[doc(alias = "Create")]
    pub fn builder(config: Config) -> Builder {
        Builder::new(config)
    }
}

/// Resolves an address given by the user.
async fn resolve(address: &Address, port: u16) -> Result<SocketAddr, Error> {
    let failed = |source| Error::Io { context: format!("lookup {address}"), source };
    address.resolve(port).await.map_err(failed)
}

fn no_address() -> Error {
    Error::Io {
        context: "Failed to create memberlist: failed to get final advertise address".to_owned(),
        source: io::Error::other("no private IP address found, and explicit IP not provided"),
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("config", &self.config)
            .field("bind", &self.bind)
            .field("advertise", &self.advertise)
            .field("snapshot", &self.snapshot)
            .field("keyring_file", &self.keyring_file)
            .finish_non_exhaustive()
    }
}

/// Reads the whole file; a missing file is empty.
async fn read_snapshot(path: &Path) -> Result<Vec<u8>, Error> {
    let path = path.to_owned();
    match blocking(move || std::fs::read(path)).await.and_then(|read| read) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::Snapshot(error)),
    }
}

/// A seed from the system's random source.
fn entropy() -> Result<[u8; 32], Error> {
    use rand::TryRng as _;
    let mut seed = [0; 32];
    rand::rngs::SysRng.try_fill_bytes(&mut seed).map_err(|error| Error::Io {
        context: "no entropy".to_owned(),
        source: io::Error::other(error.to_string()),
    })?;
    Ok(seed)
}

/// Go's default port.
const PORT: u16 = 7946;
/// Most commands of handles waiting for the engine's task.
const COMMANDS_MAX: usize = 1_024;
/// Most messages of the node's own tasks waiting for the engine's task.
const INTERNAL_MAX: usize = 256;
