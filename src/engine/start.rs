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
    stores_keyring: bool,
}

impl Machine {
    /// `advertise` is the address to announce; `seed` determines every random choice and the
    /// nonces: 32 unpredictable bytes, new at each start.
    pub fn new(advertise: SocketAddr, seed: [u8; 32]) -> Self {
        let bind_port = advertise.port();
        Self { advertise, bind_port, seed, snapshot: None, stores_keyring: false }
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

    /// Declares that there is a keyring file: a change of the keys succeeds only after the owner
    /// has written the file on [`Output::KeyringChanged`](super::Output::KeyringChanged) and
    /// reported it with [`Engine::handle_keyring_stored`]. It fails if that takes more than half of
    /// the query's time, or 10 s. By default it succeeds at once.
    pub fn stores_keyring(mut self) -> Self {
        self.stores_keyring = true;
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
            .field("stores_keyring", &self.stores_keyring)
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
        engine.keyring_stored = machine.stores_keyring;
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        engine::{Completion, KeyOp, Output},
        wire::Keyring,
    };

    /// A lonely node installs a key, and its owner reports `stored` for the keyring file: the
    /// summary of the failure.
    fn install(machine: Machine, stored: Option<Result<(), String>>) -> Option<String> {
        let config = Config::lan("a").keyring(Keyring::build(&[], &[1; 32]).unwrap());
        let mut now = Instant::ZERO;
        let mut engine = Engine::new(config, machine, now).unwrap();
        let key = "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=".to_owned();
        let op = engine.start_key_op(now, &KeyOp::Install(key), 0).unwrap();
        while now < Instant::ZERO + Duration::from_secs(30) {
            while let Some(output) = engine.poll_output() {
                match output {
                    Output::KeyringChanged { op } => {
                        if let Some(stored) = stored.clone() {
                            engine.handle_keyring_stored(now, op, stored);
                        }
                    }
                    Output::Done { op: done, result } if done == op => {
                        let Ok(Completion::Keys { error, .. }) = result else {
                            panic!("{result:?}");
                        };
                        return error;
                    }
                    _ => {}
                }
            }
            now = engine.poll_timeout().unwrap().max(now);
            engine.handle_timeout(now);
        }
        panic!("it does not end");
    }

    #[test]
    fn an_owner_with_a_keyring_file_has_the_last_word_on_a_key() {
        let machine = || Machine::new(([127, 0, 0, 1], 7946).into(), [7; 32]);
        assert_eq!(install(machine(), None), None);
        let refused = Some("1/1 nodes reported failure".to_owned());
        let full = Some(Err("disk full".to_owned()));
        assert_eq!(install(machine(), full.clone()), None, "nobody waits for it");
        assert_eq!(install(machine().stores_keyring(), full), refused);
        assert_eq!(install(machine().stores_keyring(), None), refused, "in time");
        assert_eq!(install(machine().stores_keyring(), Some(Ok(()))), None);
    }
}
