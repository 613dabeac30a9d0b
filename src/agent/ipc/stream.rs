//! Streams to an RPC client: events, log lines and the progress of queries.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{
    broadcast::{Receiver, error::RecvError},
    mpsc,
};
use tracing::{info, warn};

use super::{
    Filter,
    events::RING_EVENTS,
    outbox::{OWN_BYTES_MAX, Outbox, Place},
};
use crate::{
    base::{printable, short_list},
    driver::{Event, Query, QueryHandle},
    msgpack::{Dialect, Writer},
    rpc::{
        encode, encode_members, members_bytes_max,
        protocol::{
            Blob, LogRecord, PENDING_QUERIES_MAX, QueryEventRecord, QueryRecord, ResponseHeader,
            UserEventRecord,
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

/// Delivers events that match one of `filters` until the client or the node is gone. A client that
/// does not read loses the oldest events, which is logged once each time it falls behind.
pub(super) async fn events(
    events: Receiver<Arc<Event>>,
    filters: Vec<Filter>,
    seq: u64,
    out: Outbox,
    pending: Arc<PendingQueries>,
    client: Arc<str>,
) {
    let mut waiting = Waiting { events, behind: false, lost: 0, counted: 0, client };
    while let Some(event) = waiting.next().await {
        // One record for the stream, even if several filters match. Serf's own queries are answered
        // by the node.
        let own = matches!(&*event, Event::Query(query) if query.name().starts_with("_serf_"));
        if own || !filters.iter().any(|filter| filter.matches(&event)) {
            continue;
        }
        let mut sent = 0;
        while let Some(part) = Part::of(&event, sent) {
            let place = waiting.place(&out, part.bytes).await;
            let mut frame = record(seq);
            encode_event(&event, part.members(&event, sent), &pending, &mut frame);
            if !out.record(place, frame) {
                return;
            }
            sent += part.count.max(1);
        }
    }
}

/// Events queued for a client.
struct Waiting {
    events: Receiver<Arc<Event>>,
    /// Whether events were lost since the stream last kept up, and how many, as far as known.
    behind: bool,
    lost: u64,
    /// Of those that the receiver does not know of yet, how many the metric has.
    counted: u64,
    client: Arc<str>,
}

impl Waiting {
    async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            match self.events.recv().await {
                Ok(event) => {
                    if let Event::Lagged(lost) = *event {
                        count_lost(lost);
                        self.lose(lost);
                        continue;
                    }
                    if self.behind && self.events.is_empty() {
                        self.behind = false;
                        let (client, lost) = (&self.client, std::mem::take(&mut self.lost));
                        warn!(target: "agent.ipc", "Dropped {lost} events to ipc.client: {client}");
                    }
                    return Some(event);
                }
                Err(RecvError::Lagged(lost)) => {
                    count_lost(lost.saturating_sub(std::mem::take(&mut self.counted)));
                    self.lose(lost);
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Waits for room. Events that the ring drops meanwhile are logged and counted as lost: the
    /// client may never read again.
    async fn place(&mut self, out: &Outbox, bytes: usize) -> Place {
        let mut place = pin!(out.place(bytes));
        loop {
            if let Ok(place) = tokio::time::timeout(LOOK_PERIOD, place.as_mut()).await {
                return place;
            }
            let lost = self.events.len().saturating_sub(RING_EVENTS) as u64;
            if lost > 0 {
                count_lost(lost - self.counted);
                self.counted = lost;
                self.lose(0);
            }
        }
    }

    fn lose(&mut self, count: u64) {
        if !std::mem::replace(&mut self.behind, true) {
            warn!(target: "agent.ipc", "Dropping event to ipc.client: {}", self.client);
        }
        self.lost = self.lost.saturating_add(count);
    }
}

fn count_lost(lost: u64) {
    metrics::counter!("agent.rpc.dropped").increment(lost);
}

/// The part of an event in one record: the whole event, or as many of its members as a client may
/// leave unread.
#[derive(Clone, Copy)]
struct Part {
    /// Upper bound of the encoded size.
    bytes: usize,
    /// Number of members.
    count: usize,
}

impl Part {
    /// The part that follows the first `sent` members; `None`: all members were sent.
    fn of(event: &Event, sent: usize) -> Option<Self> {
        let (bytes, count) = match event {
            Event::Member(MemberEvent { members, .. }) => {
                let (mut bytes, mut count) = (0, 0);
                for member in members.get(sent..).unwrap_or_default() {
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
            Event::Lagged(_) => return None,
        };
        let all = sent > 0 && count == 0;
        (!all).then_some(Self { bytes: bytes + RECORD_BYTES, count })
    }

    /// The members of this part, for a member event.
    fn members(self, event: &Event, sent: usize) -> &[Arc<Member>] {
        match event {
            Event::Member(MemberEvent { members, .. }) => {
                members.get(sent..sent + self.count).unwrap_or_default()
            }
            Event::User(_) | Event::Query(_) | Event::Lagged(_) => &[],
        }
    }
}

/// Appends an event; of a member event, only these members.
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

/// How often a stream whose client does not read checks for lost events.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// Bytes of a record without its names, payload or members.
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
        let event = Event::Member(MemberEvent { kind: MemberEventKind::Join, members });
        let (mut count, mut records) = (0, 0);
        while let Some(part) = Part::of(&event, count) {
            let mut frame = record(7);
            let members = part.members(&event, count);
            encode_event(&event, members, &PendingQueries::default(), &mut frame);
            assert!(frame.len() <= part.bytes && part.bytes <= OWN_BYTES_MAX, "{}", frame.len());
            count += part.count;
            records += 1;
        }
        assert_eq!(count, MEMBERS);
        assert!((10..200).contains(&records), "{records}");
    }
}
