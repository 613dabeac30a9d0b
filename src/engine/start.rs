//! How an engine is made by those who run it themselves.

use std::net::{IpAddr, SocketAddr};

use super::{Config, Counters};
use crate::{
    base::Instant,
    serf::{Engine, Error},
};

/// What an engine takes from the machine it runs on.
#[derive(Clone)]
#[must_use]
pub struct Machine {
    advertise: SocketAddr,
    bind_port: u16,
    seed: [u8; 32],
    snapshot: Option<Vec<u8>>,
}

impl Machine {
    /// The address to announce to others, and the seed of every random choice and of the nonces: 32
    /// bytes that nobody can guess, new at each start.
    pub fn new(advertise: SocketAddr, seed: [u8; 32]) -> Self {
        Self { advertise, bind_port: advertise.port(), seed, snapshot: None }
    }

    /// The port assumed for peers that are joined without one; that of the announced address.
    pub fn bind_port(mut self, port: u16) -> Self {
        self.bind_port = port;
        self
    }

    /// The snapshot file of an earlier run, empty for none: with it, work for the file comes out as
    /// [`Output::Snapshot`](super::Output::Snapshot).
    pub fn snapshot(mut self, file: Vec<u8>) -> Self {
        self.snapshot = Some(file);
        self
    }
}

/// Without the seed.
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
    /// Makes a member. It knows nobody yet, or with a snapshot the peers of the earlier run, which
    /// [`Engine::start_rejoin`] goes back to.
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
