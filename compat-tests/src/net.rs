//! Allocates loopback addresses that no other test on this machine uses.

use std::{
    fmt,
    net::{Ipv4Addr, TcpListener},
    sync::{Mutex, PoisonError},
};

/// Addresses of one cluster: the first three bytes, in 127.0.0.0/8, reserved until this program
/// ends. Displayed with a dot at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net(pub(crate) [u8; 3]);

impl Net {
    /// Reserves addresses by a listener on the last one.
    ///
    /// # Panics
    /// When none is free.
    #[expect(clippy::new_without_default, reason = "each is another")]
    pub fn new() -> Self {
        static CLAIMED: Mutex<Vec<TcpListener>> = Mutex::new(Vec::new());
        // Each program starts at another place, so that they rarely collide.
        let first = std::process::id().wrapping_mul(8) % SUBNETS;
        for n in (first..SUBNETS).chain(0..first) {
            let byte = |number: u32| u8::try_from(number).expect("below 256");
            let net = Self([127, byte(FIRST + n / 250), byte(n % 250)]);
            let [a, b, c] = net.0;
            if let Ok(listener) = TcpListener::bind((Ipv4Addr::new(a, b, c, 254), LOCK_PORT)) {
                CLAIMED.lock().unwrap_or_else(PoisonError::into_inner).push(listener);
                return net;
            }
        }
        panic!("no loopback addresses are free");
    }

    /// The address with this last byte, which is not 254.
    pub fn ip(self, last: u8) -> String {
        format!("{self}{last}")
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([a, b, c]) = self;
        write!(f, "{a}.{b}.{c}.")
    }
}

/// The lowest second byte; those below are for tests in their own network namespaces.
const FIRST: u32 = 64;
const SUBNETS: u32 = 180 * 250;
const LOCK_PORT: u16 = 47_946;
