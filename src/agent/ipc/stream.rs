//! Streams to an RPC client: events, log lines and the progress of queries.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::mpsc;
use tracing::{info, warn};

use super::{
    Filter,
    outbox::{OWN_BYTES_MAX, Outbox},
};
use crate::{
    base::{printable, short_list},
    driver::{Event, EventStream, Query, QueryHandle},
    msgpack::{Dialect, Writer},
    rpc::{
        encode, encode_members, members_bytes_max,
        protocol::{
            Blob, LogRecord, PENDING_QUERIES_MAX, QueryEventRecord, QueryRecord, ResponseHeader,
            STREAM_QUEUE, UserEventRecord,
        },
    },
    serf::{Member, MemberEvent, QueryUpdate},
};

/// Delivered queries that one connection may still answer.
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
    /// Remembers a query under a new id. Expired queries, then the oldest, are evicted.
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

    /// A query that has not expired.
    pub(super) fn get(&self, id: u64) -> Option<Query> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.queries.get(&id).filter(|query| !query.time_left().is_zero()).cloned()
    }

    pub(super) fn remove(&self, id: u64) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).queries.remove(&id);
    }
}

/// Delivers events that match one of `filters` until the client disconnects or the node stops. A
/// client that does not read loses the newest; this is logged once each time it falls behind.
pub(super) async fn events(
    mut events: EventStream,
    filters: Vec<Filter>,
    seq: u64,
    out: Outbox,
    pending: Arc<PendingQueries>,
    client: Arc<str>,
) {
    let mut waiting = Waiting { events: VecDeque::new(), sent: 0, lost: 0, client };
    loop {
        let next = waiting.next();
        let room = next.map_or(0, |part| part.bytes);
        tokio::select! {
            // While the client reads, the queue is served first, so that a flood loses nothing.
            biased;
            place = out.place(room), if next.is_some() => {
                let frame = waiting.take(next.unwrap_or_default(), seq, &pending);
                if !out.record(place, frame) {
                    return;
                }
            }
            event = events.recv() => match event {
                Some(Event::Lagged(lost)) => waiting.lose(lost),
                // The node answers internal queries.
                Some(Event::Query(query)) if query.name().starts_with("_serf_") => {}
                // One record for the stream, however many filters match.
                Some(event) if filters.iter().any(|filter| filter.matches(&event)) => {
                    waiting.push(event);
                }
                Some(_) => {}
                None => break,
            },
        }
    }
    while let Some(part) = waiting.next() {
        let place = out.place(part.bytes).await;
        if !out.record(place, waiting.take(part, seq, &pending)) {
            return;
        }
    }
}

/// Events queued for a client.
struct Waiting {
    events: VecDeque<Event>,
    /// Members of the first event that are sent already.
    sent: usize,
    /// Since the client last kept up.
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

    /// What the next record holds: an event, or as many of its members as a client may leave
    /// unread.
    fn next(&self) -> Option<Part> {
        let (bytes, members) = match self.events.front()? {
            Event::Member(MemberEvent { members, .. }) => {
                let (mut bytes, mut count) = (0, 0);
                for member in members.get(self.sent..).unwrap_or_default() {
                    let more = members_bytes_max(std::iter::once(&**member));
                    if count > 0 && bytes + more > OWN_BYTES_MAX - RECORD_BYTES {
                        break;
                    }
                    (bytes, count) = (bytes + more, count + 1);
                }
                (bytes, count)
            }
            Event::User(event) => (event.name.len() + event.payload.len(), 0),
            Event::Query(query) => (query.name().len() + query.payload_bytes().len(), 0),
            Event::Lagged(_) => (0, 0),
        };
        Some(Part { bytes: bytes + RECORD_BYTES, members })
    }

    /// Encodes that part as a record.
    fn take(&mut self, part: Part, seq: u64, pending: &PendingQueries) -> Vec<u8> {
        let mut out = record(seq);
        let Some(event) = self.events.front() else { return out };
        let end = self.sent + part.members;
        let (whole, members) = match event {
            Event::Member(MemberEvent { members, .. }) => {
                (end >= members.len(), members.get(self.sent..end).unwrap_or_default())
            }
            Event::User(_) | Event::Query(_) | Event::Lagged(_) => (true, Default::default()),
        };
        encode_event(event, members, pending, &mut out);
        self.sent = end;
        if whole {
            self.sent = 0;
            self.events.pop_front();
        }
        if self.events.is_empty() && self.lost > 0 {
            let (client, lost) = (&self.client, std::mem::take(&mut self.lost));
            warn!(target: "agent.ipc", "Dropped {lost} events to ipc.client: {client}");
        }
        out
    }
}

/// Upper bound of the size of a record.
#[derive(Clone, Copy, Default)]
struct Part {
    bytes: usize,
    members: usize,
}

/// Appends an event; of a member event only these members.
fn encode_event(
    event: &Event,
    members: &[Arc<Member>],
    pending: &PendingQueries,
    out: &mut Vec<u8>,
) {
    match event {
        Event::Member(MemberEvent { kind, .. }) => {
            let mut writer = Writer::with_dialect(out, Dialect::Rpc);
            writer.map(2);
            writer.str("Event");
            writer.str(kind.to_string());
            writer.str("Members");
            encode_members(members.iter().map(|member| &**member), out);
        }
        Event::User(event) => encode(
            &UserEventRecord {
                event: "user".to_owned(),
                l_time: event.ltime.0,
                name: event.name.as_bytes().into(),
                payload: Blob(event.payload.to_vec()),
                coalesce: event.coalesce,
            },
            out,
        ),
        Event::Query(query) => encode(
            &QueryEventRecord {
                event: "query".to_owned(),
                id: pending.add(query),
                l_time: query.ltime().0,
                name: query.name_bytes().into(),
                payload: Blob(query.payload_bytes().to_vec()),
            },
            out,
        ),
        Event::Lagged(_) => {}
    }
}

/// Delivers the log.
pub(super) async fn log(
    backlog: Vec<Arc<str>>,
    mut lines: mpsc::Receiver<Arc<str>>,
    seq: u64,
    out: Outbox,
) {
    let mut backlog = backlog.into_iter();
    loop {
        let Some(line) = (match backlog.next() {
            Some(line) => Some(line),
            None => lines.recv().await,
        }) else {
            return;
        };
        let place = out.place(line.len() + RECORD_BYTES).await;
        if !out.record(place, log_frame(&line, seq)) {
            return;
        }
    }
}

fn log_frame(line: &str, seq: u64) -> Vec<u8> {
    let mut out = record(seq);
    encode(&LogRecord { log: line.to_owned() }, &mut out);
    out
}

/// Delivers acks and responses, and `done` at the deadline.
///
/// `acked` is the name of a query that all members should acknowledge.
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
        let place = out.place(from.len() + payload.len() + RECORD_BYTES).await;
        let mut frame = record(seq);
        encode(&QueryRecord { r#type: kind.to_owned(), from, payload: Blob(payload) }, &mut frame);
        if !out.record(place, frame) {
            return;
        }
    }
    let place = out.place(RECORD_BYTES).await;
    let mut frame = record(seq);
    encode(&QueryRecord { r#type: "done".to_owned(), ..QueryRecord::default() }, &mut frame);
    // The client may have disconnected.
    let _ = out.record(place, frame);
}

fn record(seq: u64) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&ResponseHeader { seq, error: String::new() }, &mut out);
    out
}

/// Bytes of a record without names, payload and members.
const RECORD_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serf::{MemberEventKind, MemberStatus};

    /// A change of many members comes in records that a client may leave unread, each encoded when
    /// there is room for it.
    #[test]
    fn change_of_many_members_goes_out_in_parts() {
        const MEMBERS: usize = 1_000;
        let member = |i| {
            Arc::new(Member {
                name: format!("member-{i}").into(),
                addr: [127, 0, 0, 4].into(),
                port: 7946,
                tags: [("tag", "v".repeat(200))].into_iter().collect(),
                status: MemberStatus::Alive,
                vsn: crate::wire::Vsn([1, 5, 2, 2, 5, 5]),
            })
        };
        let members = (0..MEMBERS).map(member).collect();
        let mut waiting = Waiting { events: VecDeque::new(), sent: 0, lost: 0, client: "c".into() };
        waiting.push(Event::Member(MemberEvent { kind: MemberEventKind::Join, members }));
        let (mut count, mut records) = (0, 0);
        while let Some(part) = waiting.next() {
            count += part.members;
            records += 1;
            let record = waiting.take(part, 7, &PendingQueries::default());
            assert!(record.len() <= part.bytes && part.bytes <= OWN_BYTES_MAX, "{}", record.len());
        }
        assert_eq!(count, MEMBERS);
        assert!((10..200).contains(&records), "{records}");
    }
}
