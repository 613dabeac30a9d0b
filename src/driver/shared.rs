//! State shared by handles and the engine's task.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::subscribers::Hub;
use crate::serf::{Member, SerfState};

/// Addresses of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Addresses {
    /// Address announced to other nodes.
    pub advertised: SocketAddr,
    /// Address to which the sockets are bound.
    pub bound: SocketAddr,
}

/// State that handles read without asking the engine's task.
pub(super) struct Shared {
    pub(super) hub: Arc<Hub>,
    pub(super) state: watch::Sender<SerfState>,
    pub(super) name: Arc<str>,
    pub(super) addresses: Addresses,
    /// Our record as of the start; replaced at the end.
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
