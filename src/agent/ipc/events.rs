//! The node's events for all streams of all clients: one subscription and one ring, so that
//! neither the engine's work nor memory grows with the number of streams.

use std::sync::Arc;

use tokio::sync::{
    OwnedSemaphorePermit, Semaphore,
    broadcast::{Receiver, Sender},
    mpsc, oneshot,
};

use crate::{
    agent::{beacons::is_hidden, operations::Agent},
    driver::{Event, EventStream, LagPolicy, Subscribe},
    rpc::protocol::STREAM_QUEUE,
};

/// Starts streams of events for clients.
pub(in crate::agent) struct Events {
    beginning: mpsc::Sender<oneshot::Sender<Receiver<Arc<Event>>>>,
    /// Limits the streams of clients beyond their first one.
    further: Arc<Semaphore>,
}

impl Events {
    /// Starts to forward the node's events to streams; ends when this value is dropped.
    pub(super) fn start(agent: &Arc<Agent>) -> Self {
        let (beginning, streams) = mpsc::channel(1);
        tokio::spawn(forward(Arc::clone(agent), streams));
        Self { beginning, further: Arc::new(Semaphore::new(FURTHER_STREAMS_MAX)) }
    }

    /// A stream of the events from now on; `None` after the end of the node.
    pub(in crate::agent) async fn begin(&self) -> Option<Receiver<Arc<Event>>> {
        let (begin, started) = oneshot::channel();
        self.beginning.send(begin).await.ok()?;
        started.await.ok()
    }

    /// A permit for a further stream of a client that has one already, if any is left.
    pub(super) fn further(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.further).try_acquire_owned().ok()
    }
}

async fn forward(
    agent: Arc<Agent>,
    mut streams: mpsc::Receiver<oneshot::Sender<Receiver<Arc<Event>>>>,
) {
    // Without streams there is no subscription, so events cost nothing.
    while let Some(first) = streams.recv().await {
        let options = Subscribe { capacity: NODE_QUEUE, policy: LagPolicy::DropNewest };
        let events = agent.serf.subscribe(options);
        if !forward_to(first, &agent, events, &mut streams).await {
            return;
        }
    }
}

/// Forwards to streams until none is left; false after the end of the node or of this server.
async fn forward_to(
    first: oneshot::Sender<Receiver<Arc<Event>>>,
    agent: &Agent,
    mut events: EventStream,
    streams: &mut mpsc::Receiver<oneshot::Sender<Receiver<Arc<Event>>>>,
) -> bool {
    let ring = Sender::new(RING_EVENTS);
    let begin = |stream: oneshot::Sender<_>| {
        // The client may have disconnected.
        drop(stream.send(ring.subscribe()));
    };
    begin(first);
    let mut in_a_row = 0;
    loop {
        tokio::select! {
            biased;
            // Events published before a stream was requested must not reach it: they come first.
            event = events.recv(), if in_a_row < NODE_QUEUE => match event.inspect(count_lost) {
                Some(event) if is_hidden(agent, &event) => {}
                Some(event) => if ring.send(Arc::new(event)).is_err() {
                    return true;
                },
                None => return false,
            },
            stream = streams.recv() => match stream {
                Some(stream) => begin(stream),
                None => return false,
            },
            () = std::future::ready(()), if in_a_row >= NODE_QUEUE => {}
        }
        in_a_row = (in_a_row + 1) % (NODE_QUEUE + 1);
    }
}

fn count_lost(event: &Event) {
    if let Event::Lagged(lost) = event {
        metrics::counter!("agent.events.dropped", "subscriber" => "clients").increment(*lost);
    }
}

/// Events kept for all streams; a stream that is further behind loses the oldest.
pub(in crate::agent) const RING_EVENTS: usize = 2 * STREAM_QUEUE;
/// Most events of the node waiting to be put into the ring.
const NODE_QUEUE: usize = 4_096;
/// Most streams of all clients, not counting the first of each.
const FURTHER_STREAMS_MAX: usize = 2_048;

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::RecvError;

    use std::time::Duration;

    use super::*;
    use crate::agent::testing::{agent, agent_with};

    fn name(event: &Event) -> &str {
        let Event::User(event) = event else { return "" };
        &event.name
    }

    #[tokio::test]
    async fn a_stream_has_the_events_from_its_beginning_on_and_counts_those_it_lost() {
        // Otherwise the node's own join, which is held back for a second, comes amid the events.
        let agent = agent_with("{}", |config| config.timing.coalesce_period = Duration::ZERO).await;
        let events = Events::start(&agent);
        let mut published = agent.serf.events();
        agent.serf.user_event("before", "").await.unwrap();
        while name(&published.recv().await.unwrap()) != "before" {}
        let mut stream = events.begin().await.unwrap();
        let mut idle = events.begin().await.unwrap();
        for i in 0..2 * RING_EVENTS {
            agent.serf.user_event(&format!("event-{i}"), "").await.unwrap();
            assert_eq!(name(&stream.recv().await.unwrap()), format!("event-{i}"));
        }
        assert_eq!(idle.recv().await, Err(RecvError::Lagged(RING_EVENTS as u64)));
        let next = idle.recv().await.unwrap();
        assert_eq!(name(&next), format!("event-{RING_EVENTS}"));
        agent.serf.shutdown().await;
        while stream.recv().await.is_ok() {}
        assert!(events.begin().await.is_none());
    }

    #[tokio::test]
    async fn streams_of_all_clients_are_bounded() {
        let agent = agent("{}").await;
        let events = Events::start(&agent);
        let taken: Vec<_> = (0..FURTHER_STREAMS_MAX).map_while(|_| events.further()).collect();
        assert_eq!(taken.len(), FURTHER_STREAMS_MAX);
        assert!(events.further().is_none());
        drop(taken);
        assert!(events.further().is_some());
    }
}
