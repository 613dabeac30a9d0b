//! `/v1/events`: the node's events as server-sent events.

use std::{collections::BTreeMap, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::timeout,
};

use super::{
    answer::{Body, answer, encoded, refusal},
    query::Parameters,
    site::Site,
};
use crate::{
    agent::{
        Filter,
        ipc::{Origin, RING_EVENTS},
    },
    driver::Event,
    rpc::{self, Raw},
    serf::{Member, MemberEvent},
};

/// Starts a stream of the events selected by the parameter `type`, as `serf monitor` does. If the
/// status is not 200, no stream was started.
pub(super) async fn begin(site: &Site, origin: Origin, all: Parameters) -> Response<Body> {
    let filters = match filters(all) {
        Ok(filters) => filters,
        Err(reason) => return refusal(StatusCode::BAD_REQUEST, &reason),
    };
    let unavailable = |reason| refusal(StatusCode::SERVICE_UNAVAILABLE, reason);
    let Some(place) = site.stream(origin) else { return unavailable("too many streams") };
    let Some(events) = site.shared.events.begin().await else {
        return unavailable("the node has stopped");
    };
    let (sender, body) = Channel::new(1);
    tokio::spawn(async move {
        // An error means that the client has disconnected.
        let _ = Stream { events, filters, sender, counted: 0 }.run().await;
        drop(place);
    });
    answer(StatusCode::OK, "text/event-stream", Body::Right(body))
}

fn filters(mut all: Parameters) -> Result<Vec<Filter>, String> {
    let types = all.take("type")?.unwrap_or_default();
    all.end()?;
    if types.split(',').count() > FILTERS_MAX {
        return Err("too many types".to_owned());
    }
    let filters = Filter::parse_list(&types);
    match filters.iter().all(Filter::is_valid) {
        true => Ok(filters),
        false => Err("invalid event filter".to_owned()),
    }
}

type Sent = Result<(), http_body_util::channel::SendError>;

/// A client's stream.
struct Stream {
    events: Receiver<Arc<Event>>,
    filters: Vec<Filter>,
    sender: Sender<Bytes>,
    /// Events that are lost and counted, but of which neither the receiver nor the client knows.
    counted: u64,
}

impl Stream {
    async fn run(mut self) -> Sent {
        self.put(Bytes::from_static(b": events\n\n")).await?;
        loop {
            let event = match timeout(HEARTBEAT, self.events.recv()).await {
                // Detects a client that has disconnected.
                Err(_) => {
                    self.put(Bytes::from_static(b":\n\n")).await?;
                    continue;
                }
                Ok(Ok(event)) => event,
                Ok(Err(RecvError::Lagged(lost))) => {
                    // Part of them was counted while the client did not read.
                    count_lost(lost.saturating_sub(std::mem::take(&mut self.counted)));
                    self.report_lost(lost).await?;
                    continue;
                }
                Ok(Err(RecvError::Closed)) => return Ok(()),
            };
            if let Event::Lagged(lost) = *event {
                count_lost(lost);
                self.report_lost(lost).await?;
            } else if self.filters.iter().any(|filter| filter.matches(&event)) {
                self.send(&event).await?;
            }
        }
    }

    async fn report_lost(&mut self, lost: u64) -> Sent {
        self.put(record("lost", &json!({ "event": "lost", "count": lost }))).await
    }

    /// Sends an event. An event of many members is split into several, to bound the size of each.
    async fn send(&mut self, event: &Event) -> Sent {
        let (name, value) = match event {
            Event::Member(MemberEvent { kind, members, .. }) => {
                let name = kind.to_string();
                for members in members.chunks(MEMBERS_MAX) {
                    let members: Vec<_> = members.iter().map(|member| row(member)).collect();
                    let value = json!({ "event": name, "members": members });
                    self.put(record(&name, &value)).await?;
                }
                return Ok(());
            }
            Event::User(event) => {
                let value = json!({
                    "event": "user",
                    "name": Raw(event.name.as_bytes()),
                    "ltime": event.ltime.0,
                    "coalesce": event.coalesce,
                    "payload": Raw(&event.payload),
                });
                ("user", value)
            }
            // Serf's own queries are answered by the node.
            Event::Query(query) if query.name().starts_with("_serf_") => return Ok(()),
            Event::Query(query) => {
                let value = json!({
                    "event": "query",
                    "name": Raw(query.name_bytes()),
                    "ltime": query.ltime().0,
                    "payload": Raw(query.payload_bytes()),
                });
                ("query", value)
            }
            Event::Lagged(_) => return Ok(()),
        };
        self.put(record(name, &value)).await
    }

    /// Waits until the client has room. Events that the ring drops meanwhile are counted as lost:
    /// the client may never read again.
    async fn put(&mut self, data: Bytes) -> Sent {
        let Self { events, sender, counted, .. } = self;
        let mut sending = pin!(sender.send_data(data));
        loop {
            if let Ok(sent) = timeout(LOOK_PERIOD, sending.as_mut()).await {
                return sent;
            }
            let lost = events.len().saturating_sub(RING_EVENTS) as u64;
            count_lost(lost - *counted);
            *counted = lost;
        }
    }
}

fn count_lost(lost: u64) {
    metrics::counter!("agent.http.dropped").increment(lost);
}

/// A member as `serf monitor -format json` shows it.
fn row(member: &Member) -> Value {
    let tags: BTreeMap<_, _> = member.tags.iter().collect();
    json!({
        "name": *member.name,
        "addr": rpc::address(&member.addr),
        "port": member.port,
        "status": member.status.to_string(),
        "tags": tags,
    })
}

/// A server-sent event. JSON contains no line breaks, which would end it early.
fn record(name: &str, value: &Value) -> Bytes {
    let mut out = format!("event: {name}\ndata: ").into_bytes();
    out.extend(encoded(value));
    out.extend_from_slice(b"\n\n");
    out.into()
}

/// Interval of heartbeats on a stream without events.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often a stream whose client does not read counts lost events.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// Most types of one stream.
const FILTERS_MAX: usize = 64;
/// Most members in one event of a stream.
const MEMBERS_MAX: usize = 16;
