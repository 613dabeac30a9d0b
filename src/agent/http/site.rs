//! State shared by all HTTP requests, and the limits on streams.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{flaps::Flaps, watch::Watch};
use crate::agent::{
    ipc::{Admission, Listener, Origin, Shared},
    operations::Agent,
    telemetry::Scraped,
};

/// State shared by all requests.
pub(in crate::agent) struct Site {
    pub(super) agent: Arc<Agent>,
    pub(super) shared: Arc<Shared>,
    pub(super) scraped: Scraped,
    pub(super) flaps: Flaps,
    pub(super) watch: Watch,
    pub(super) admission: Arc<Admission>,
    /// Whether only requests to an address or to `localhost` are answered: without a token on a
    /// loopback address, DNS rebinding would give foreign web pages access through a browser.
    pub(super) names_refused: bool,
    streams: Streams,
}

impl Site {
    pub(in crate::agent) fn new(
        agent: Arc<Agent>,
        shared: Arc<Shared>,
        scraped: Scraped,
        listener: &Listener,
    ) -> Arc<Self> {
        let clients = agent.descriptors.http_clients().max(1);
        let admission = Admission::sharing(clients, &shared.lists);
        let local = listener.tcp_addr().is_some_and(|addr| addr.ip().is_loopback());
        let names_refused = local && !agent.auth.is_required();
        let streams = Streams::new((clients / 2).max(1));
        let flaps = Flaps::start(Arc::clone(&shared));
        let watch = Watch::start(Arc::clone(&agent));
        Arc::new(Self { agent, shared, scraped, flaps, watch, admission, names_refused, streams })
    }

    /// A permit for a stream of events; `None` if this origin or all clients have too many.
    pub(super) fn stream(&self, origin: Origin) -> Option<StreamPlace> {
        self.streams.place(origin)
    }
}

/// Counts streams of events, which last as long as their connections.
struct Streams {
    open: Arc<Mutex<HashMap<Origin, usize>>>,
    max: usize,
}

impl Streams {
    fn new(max: usize) -> Self {
        Self { open: Arc::default(), max }
    }

    fn place(&self, origin: Origin) -> Option<StreamPlace> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = open.values().sum();
        let of_origin = open.get(&origin).copied().unwrap_or_default();
        if all >= self.max || of_origin >= STREAMS_PER_ORIGIN_MAX {
            return None;
        }
        open.insert(origin, of_origin + 1);
        Some(StreamPlace { open: Arc::clone(&self.open), origin })
    }
}

/// The permit of a stream; released when dropped.
pub(super) struct StreamPlace {
    open: Arc<Mutex<HashMap<Origin, usize>>>,
    origin: Origin,
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = open.get_mut(&self.origin) else { return };
        *count -= 1;
        if *count == 0 {
            open.remove(&self.origin);
        }
    }
}

/// Most streams of one origin. All streams together may be half of the clients.
const STREAMS_PER_ORIGIN_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_origin_and_of_all_are_bounded() {
        let origin = |n: u8| Some([127, 0, 0, n].into());
        let streams = Streams::new(STREAMS_PER_ORIGIN_MAX + 1);
        let mut first: Vec<_> =
            (0..STREAMS_PER_ORIGIN_MAX).map_while(|_| streams.place(origin(1))).collect();
        assert_eq!(first.len(), STREAMS_PER_ORIGIN_MAX);
        assert!(streams.place(origin(1)).is_none());
        let other = streams.place(origin(2));
        assert!(other.is_some() && streams.place(origin(2)).is_none());
        first.pop();
        assert!(streams.place(origin(1)).is_some());
        drop((first, other));
        assert!(streams.open.lock().unwrap().is_empty());
    }
}
