//! What flows to an RPC client by itself: events, log lines and a query's progress.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::mpsc;
use tracing::{info, warn};

use super::{Filter, outbox::Outbox};
use crate::{
    base::{printable, short_list},
    driver::{Event, EventStream, Query, QueryHandle},
    msgpack::{Dialect, Writer},
    rpc::{
        encode, encode_members,
        protocol::{
            Blob, LogRecord, PENDING_QUERIES_MAX, QueryEventRecord, QueryRecord, ResponseHeader,
            STREAM_QUEUE, UserEventRecord,
        },
    },
    serf::{MemberEvent, QueryUpdate},
};

/// Queries delivered to one connection that it may still answer.
#[derive(Default)]
pub(super) struct PendingQueries {
    state: Mutex<Pending>,
}

#[derive(Default)]
struct Pending {
    last: u64,
    queries: BTreeMap<u64, Query>,
}

impl PendingQueries {
    /// Remembers a query under a number of its own. What is over and the oldest make room.
    fn add(&self, query: &Query) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.last += 1;
        let id = state.last;
        state.queries.insert(id, query.clone());
        while let Some(oldest) = state.queries.first_entry()
            && oldest.get().time_left().is_zero()
        {
            oldest.remove();
        }
        if state.queries.len() > PENDING_QUERIES_MAX {
            state.queries.pop_first();
        }
        id
    }

    /// A query that is not over yet.
    pub(super) fn get(&self, id: u64) -> Option<Query> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.queries.get(&id).filter(|query| !query.time_left().is_zero()).cloned()
    }

    pub(super) fn remove(&self, id: u64) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).queries.remove(&id);
    }
}

/// Delivers events that pass one of `filters` until the client or the node is gone. A client that
/// does not read loses the newest, which is told once for each time it falls behind.
pub(super) async fn events(
    mut events: EventStream,
    filters: Vec<Filter>,
    seq: u64,
    out: Outbox,
    pending: Arc<PendingQueries>,
    client: Arc<str>,
) {
    let mut waiting = Waiting { events: VecDeque::new(), lost: 0, client };
    let mut frame = Vec::new();
    loop {
        while frame.is_empty()
            && let Some(event) = waiting.pop()
        {
            frame = event_frame(&event, seq, &pending).unwrap_or_default();
        }
        tokio::select! {
            // While the client reads, what waits goes first, so that nothing is lost in a flood.
            biased;
            sent = out.record(&mut frame), if !frame.is_empty() => {
                if !sent {
                    return;
                }
            }
            event = events.recv() => match event {
                Some(Event::Lagged(lost)) => waiting.lose(lost),
                // One record for the stream, however many filters let the event through.
                Some(event) if filters.iter().any(|filter| filter.matches(&event)) => {
                    waiting.push(event);
                }
                Some(_) => {}
                None => break,
            },
        }
    }
    while !frame.is_empty() && out.record(&mut frame).await {
        frame = loop {
            let Some(event) = waiting.pop() else { return };
            if let Some(frame) = event_frame(&event, seq, &pending) {
                break frame;
            }
        };
    }
}

/// Events that a client has yet to take.
struct Waiting {
    events: VecDeque<Event>,
    /// Since all was well.
    lost: u64,
    client: Arc<str>,
}

impl Waiting {
    fn push(&mut self, event: Event) {
        if self.events.len() < STREAM_QUEUE {
            self.events.push_back(event);
        } else {
            self.lose(1);
        }
    }

    fn lose(&mut self, count: u64) {
        if self.lost == 0 {
            warn!(target: "agent.ipc", "Dropping event to ipc.client: {}", self.client);
        }
        self.lost = self.lost.saturating_add(count);
    }

    fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if self.events.is_empty() && self.lost > 0 {
            let (client, lost) = (&self.client, std::mem::take(&mut self.lost));
            warn!(target: "agent.ipc", "Dropped {lost} events to ipc.client: {client}");
        }
        event
    }
}

fn event_frame(event: &Event, seq: u64, pending: &PendingQueries) -> Option<Vec<u8>> {
    let mut out = record(seq);
    match event {
        Event::Member(MemberEvent { kind, members }) => {
            let mut writer = Writer::with_dialect(&mut out, Dialect::Rpc);
            writer.map(2);
            writer.str("Event");
            writer.str(kind.to_string());
            writer.str("Members");
            encode_members(members.iter().map(|member| &**member), &mut out);
        }
        Event::User(event) => encode(
            &UserEventRecord {
                event: "user".to_owned(),
                l_time: event.ltime.0,
                name: event.name.to_string(),
                payload: Blob(event.payload.to_vec()),
                coalesce: event.coalesce,
            },
            &mut out,
        ),
        // Serf's own queries are answered by the node.
        Event::Query(query) if query.name().starts_with("_serf_") => return None,
        Event::Query(query) => encode(
            &QueryEventRecord {
                event: "query".to_owned(),
                id: pending.add(query),
                l_time: query.ltime().0,
                name: query.name().to_owned(),
                payload: Blob(query.payload().to_vec()),
            },
            &mut out,
        ),
        Event::Lagged(_) => return None,
    }
    Some(out)
}

/// Delivers the log.
pub(super) async fn log(
    backlog: Vec<Arc<str>>,
    mut lines: mpsc::Receiver<Arc<str>>,
    seq: u64,
    out: Outbox,
) {
    for line in backlog {
        if !out.record(&mut log_frame(&line, seq)).await {
            return;
        }
    }
    while let Some(line) = lines.recv().await {
        if !out.record(&mut log_frame(&line, seq)).await {
            return;
        }
    }
}

fn log_frame(line: &str, seq: u64) -> Vec<u8> {
    let mut out = record(seq);
    encode(&LogRecord { log: line.to_owned() }, &mut out);
    out
}

/// Delivers acks and answers, and `done` at the deadline.
///
/// `acked` is the name of a query that all are to acknowledge.
pub(super) async fn query(mut query: QueryHandle, acked: Option<String>, seq: u64, out: Outbox) {
    while let Some(update) = query.recv().await {
        let (kind, from, payload) = match update {
            QueryUpdate::Ack { from } => ("ack", from.to_string(), Vec::new()),
            QueryUpdate::Response { from, payload } => {
                ("response", from.to_string(), payload.to_vec())
            }
            QueryUpdate::Finished { missing } => {
                if let Some(name) = acked.filter(|_| !missing.is_empty()) {
                    let (name, missing) = (printable(&name), short_list(&missing));
                    info!(target: "agent", "Query '{name}' was not acknowledged by: {missing}");
                }
                break;
            }
        };
        let mut frame = record(seq);
        encode(&QueryRecord { r#type: kind.to_owned(), from, payload: Blob(payload) }, &mut frame);
        if !out.record(&mut frame).await {
            return;
        }
    }
    let mut frame = record(seq);
    encode(&QueryRecord { r#type: "done".to_owned(), ..QueryRecord::default() }, &mut frame);
    // The client may be gone, and nobody else asked.
    let _ = out.record(&mut frame).await;
}

fn record(seq: u64) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&ResponseHeader { seq, error: String::new() }, &mut out);
    out
}
