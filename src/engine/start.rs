//! Creates an engine for owners that run it themselves.

use std::net::{IpAddr, SocketAddr};

use super::{Config, Counters};
use crate::{
    base::Instant,
    serf::{Engine, Error},
};

/// Properties of the machine that an engine runs on.
#[derive(Clone)]
#[must_use]
pub struct Machine {
    advertise: SocketAddr,
    bind_port: u16,
    seed: [u8; 32],
    snapshot: Option<Vec<u8>>,
}

impl Machine {
    /// `advertise` is the address to announce; `seed` determines every random choice and the
    /// nonces: 32 unpredictable bytes, new at each start.
    pub fn new(advertise: SocketAddr, seed: [u8; 32]) -> Self {
        Self { advertise, bind_port: advertise.port(), seed, snapshot: None }
    }

    /// Sets the port assumed for peers that are joined without one; by default that of the
    /// announced address.
    pub fn bind_port(mut self, port: u16) -> Self {
        self.bind_port = port;
        self
    }

    /// Sets the contents of the snapshot file of an earlier run, empty for none: with it, work for
    /// the file is returned as [`Output::Snapshot`](super::Output::Snapshot).
    pub fn snapshot(mut self, file: Vec<u8>) -> Self {
        self.snapshot = Some(file);
        self
    }
}

/// Omits the seed.
impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine")
            .field("advertise", &self.advertise)
            .field("bind_port", &self.bind_port)
            .field("snapshot", &self.snapshot.as_ref().map(Vec::len))
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Creates a member. It knows no other member; with a snapshot it knows the peers of the
    /// earlier run, which [`Engine::start_rejoin`] contacts.
    ///
    /// # Errors
    /// [`Error::Config`], or tags that are too large.
    #[doc(alias = "Create")]
    pub fn new(config: Config, machine: Machine, now: Instant) -> Result<Self, Error> {
        let mut engine = config.into_engine();
        let swim = &mut engine.swim;
        swim.advertise_addr = match machine.advertise.ip() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        swim.advertise_port = machine.advertise.port();
        swim.bind_port = machine.bind_port;
        swim.seed = machine.seed;
        Self::build(engine, now, machine.snapshot.as_deref())
    }

    /// Counters since the start.
    pub fn counters(&self) -> Counters {
        Counters { serf: self.serf_stats(), swim: self.swim_stats() }
    }
}
