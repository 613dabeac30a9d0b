//! What handles and the engine's task share.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::subscribers::Hub;
use crate::serf::{Member, SerfState};

/// Where a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Addresses {
    /// What others are given.
    pub advertised: SocketAddr,
    /// What the sockets are bound to.
    pub bound: SocketAddr,
}

/// What handles may look at without asking the engine.
pub(super) struct Shared {
    pub(super) hub: Arc<Hub>,
    pub(super) state: watch::Sender<SerfState>,
    pub(super) name: Arc<str>,
    pub(super) addresses: Addresses,
    /// Our record at the start, and then at the end.
    local: Mutex<Arc<Member>>,
}

impl Shared {
    pub(super) fn new(hub: Arc<Hub>, addresses: Addresses, local: Arc<Member>) -> Self {
        let (state, _) = watch::channel(SerfState::Alive);
        let name = Arc::clone(&local.name);
        Self { hub, name, state, addresses, local: Mutex::new(local) }
    }

    pub(super) fn set_state(&self, state: SerfState) {
        self.state.send_if_modified(|old| std::mem::replace(old, state) != state);
    }

    pub(super) fn local(&self) -> MutexGuard<'_, Arc<Member>> {
        self.local.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
