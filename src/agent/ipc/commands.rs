//! Performs the commands of RPC clients. Go: `cmd/serf/command/agent/ipc.go`.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::{
    Filter, Holder, Level,
    member_filter::MemberFilter,
    member_list::Listing,
    outbox::OWN_BYTES_MAX,
    session::{End, Session, Task},
    stream,
};
use crate::{
    agent::Trust,
    driver,
    rpc::protocol::{
        Auth, Coordinate, CoordinateResponse, ForceLeave, GetCoordinate, Handshake, IPC_VERSION,
        Join, JoinResponse, KeyResponse, MembersFiltered, Monitor, Query, Respond,
        STREAMS_PER_CLIENT_MAX, Stop, Stream, Tags, errors,
    },
    serf::{KeyOp, QueryParams},
};

impl Session {
    pub(super) fn handshake(&mut self, seq: u64, request: Handshake) {
        let error = if request.version != IPC_VERSION {
            errors::UNSUPPORTED_IPC_VERSION
        } else if self.version.is_some() {
            errors::DUPLICATE_HANDSHAKE
        } else {
            self.version = Some(request.version);
            ""
        };
        self.respond(seq, error);
    }

    pub(super) async fn auth(&mut self, seq: u64, request: &Auth) {
        // A client with limited rights is delayed as strangers are: it could guess a token with
        // more rights.
        let (may_guess, is_known) = match &*self.holder.borrow() {
            Some(Holder::Full) => (false, true),
            holder => (true, holder.is_some()),
        };
        if may_guess && let Some(price) = self.pass.price(is_known, Instant::now()) {
            self.flush().await;
            price.pay().await;
        }
        if let Some(holder) = self.agent.auth.authenticate(request.auth_key.expose().as_bytes()) {
            self.holder.send_replace(Some(holder));
            return self.respond(seq, "");
        }
        if may_guess {
            let count = self.pass.wrong_token(Instant::now());
            // Logged at each doubling.
            if count.is_power_of_two() {
                let client = &self.client;
                warn!(target: "agent.ipc", "Wrong auth token of client: {client} ({count} times)");
            }
        }
        self.respond(seq, errors::INVALID_AUTH_TOKEN);
    }

    /// Sends the collected user events, and answers their requests.
    pub(super) async fn send_events(&mut self) {
        self.begin_events().await;
        self.finish_events().await;
    }

    /// Passes the collected user events to the engine, which processes them while the session reads
    /// further requests.
    pub(super) async fn begin_events(&mut self) {
        if self.events.is_empty() {
            return;
        }
        self.finish_events().await;
        self.take_turn().await;
        let requests = std::mem::take(&mut self.events);
        self.event_bytes = 0;
        let (seqs, events): (Vec<u64>, Vec<_>) = requests
            .into_iter()
            .map(|(seq, request)| {
                (seq, (request.name.0, request.payload.0.into(), request.coalesce))
            })
            .unzip();
        let agent = Arc::clone(&self.agent);
        let sent = tokio::spawn(async move { agent.user_events(events).await });
        self.sent_events = Some((seqs, sent));
    }

    /// Waits for the engine's results and answers the requests of those events.
    async fn finish_events(&mut self) {
        let Some((seqs, sent)) = self.sent_events.take() else { return };
        match sent.await.unwrap_or(Err(driver::Error::Shutdown)) {
            Ok(results) => {
                for (seq, sent) in seqs.into_iter().zip(results) {
                    self.respond_result(seq, sent);
                }
            }
            Err(error) => {
                let error = error.to_string();
                for seq in seqs {
                    self.respond(seq, &error);
                }
            }
        }
    }

    pub(super) async fn force_leave(&mut self, seq: u64, request: ForceLeave) {
        self.flush().await;
        let left = self.agent.force_leave(&request.node, request.prune).await;
        self.respond_result(seq, left);
    }

    pub(super) async fn join(&mut self, seq: u64, request: Join) {
        self.flush().await;
        let addrs = request.existing.unwrap_or_default();
        let (num, error) = match self.agent.join_seeds(&addrs, request.replay, Trust::Remote).await
        {
            Ok(num) => (num, String::new()),
            Err(error) => (0, error.to_string()),
        };
        let num = i32::try_from(num).unwrap_or(i32::MAX);
        self.respond_with(seq, &error, &JoinResponse { num });
    }

    pub(super) async fn members(&mut self, seq: u64, filter: Option<MemberFilter>) {
        let filter = filter.map(Arc::new);
        let listing = self.list(filter.clone()).await;
        if listing.bytes() <= OWN_BYTES_MAX {
            self.respond(seq, "");
            listing.encode(&mut self.answers);
            return;
        }
        let (room, listing) = match self.out.try_whole_room().filter(|_| self.answers.is_empty()) {
            Some(room) => (room, listing),
            // A list occupies memory: it is dropped while the client has earlier responses to read,
            // and requested again afterwards.
            None => {
                drop(listing);
                self.flush().await;
                (self.out.whole_room().await, self.list(filter).await)
            }
        };
        self.respond(seq, "");
        let head = std::mem::take(&mut self.answers);
        // Fails only when the socket is broken, which ends the session anyway.
        self.out.listing(room, head, listing);
    }

    async fn list(&self, filter: Option<Arc<MemberFilter>>) -> Listing {
        self.pass.member_lists().get(&self.agent.serf, filter).await
    }

    pub(super) async fn members_filtered(
        &mut self,
        seq: u64,
        request: MembersFiltered,
    ) -> Result<(), End> {
        let filter = MemberFilter::compile(&request).map_err(End::Request)?;
        self.members(seq, Some(filter)).await;
        Ok(())
    }

    pub(super) async fn stream(&mut self, seq: u64, request: &Stream) {
        let few = request.r#type.split(',').count() <= FILTERS_MAX;
        if !few || request.r#type.len() > FILTER_BYTES_MAX {
            return self.respond(seq, "Too many filters");
        }
        let filters = Filter::parse_list(&request.r#type);
        if !filters.iter().all(Filter::is_valid) {
            return self.respond(seq, errors::INVALID_FILTER);
        }
        if self.streams.contains_key(&seq) {
            return self.respond(seq, errors::STREAM_EXISTS);
        }
        let further = (!self.streams.is_empty()).then(|| self.node_events.further());
        if self.streams.len() >= STREAMS_PER_CLIENT_MAX || matches!(further, Some(None)) {
            return self.respond(seq, "Too many streams");
        }
        let Some(events) = self.node_events.begin().await else {
            return self.respond(seq, &driver::Error::Shutdown.to_string());
        };
        // The response must precede the first record.
        self.respond(seq, "");
        self.flush().await;
        let (out, pending) = (self.out.clone(), Arc::clone(&self.pending));
        let client = Arc::clone(&self.client);
        let task = tokio::spawn(async move {
            stream::events(events, filters, seq, out, pending, client).await;
            drop(further);
        });
        self.streams.insert(seq, Task(task));
    }

    pub(super) async fn monitor(&mut self, seq: u64, request: &Monitor) {
        let name = request.log_level.to_uppercase();
        let Some(level) = Level::from_name(&name) else {
            return self.respond(seq, &format!("Unknown log level: {name}"));
        };
        if self.monitor.is_some() {
            return self.respond(seq, errors::MONITOR_EXISTS);
        }
        self.respond(seq, "");
        self.flush().await;
        let (backlog, lines) = self.agent.hub.monitor(level, Arc::clone(&self.client));
        let task = tokio::spawn(stream::log(backlog, lines, seq, self.out.clone()));
        self.monitor = Some((seq, Task(task)));
    }

    pub(super) async fn stop(&mut self, seq: u64, request: &Stop) {
        if let Some((_, task)) = self.monitor.take_if(|(seq, _)| *seq == request.stop) {
            task.stop().await;
        }
        if let Some(task) = self.streams.remove(&request.stop) {
            task.stop().await;
        }
        self.respond(seq, "");
    }

    pub(super) async fn leave(&mut self, seq: u64) -> Result<(), End> {
        info!(target: "agent.ipc", "Graceful leave triggered");
        self.flush().await;
        let (ending, ended) = oneshot::channel();
        self.leaving = Some(ending);
        let agent = Arc::clone(&self.agent);
        // In a task, so that the leave continues if the client disconnects.
        let left = tokio::spawn(async move {
            let left = agent.leave().await;
            if let Err(error) = &left {
                error!(target: "agent.ipc", "leave failed: {error}");
            }
            tokio::spawn(async move {
                let _ = ended.await;
                agent.left.notify_one();
            });
            left
        });
        let left = left.await.map_err(|error| End::Request(error.to_string()))?;
        self.respond_result(seq, left);
        Err(End::Left)
    }

    pub(super) async fn query(&mut self, seq: u64, request: Query) {
        self.queries.retain(|task| !task.0.is_finished());
        if self.queries.len() >= STREAMS_PER_CLIENT_MAX {
            return self.respond(seq, "Too many queries");
        }
        let params = QueryParams {
            filter_nodes: request.filter_nodes.unwrap_or_default(),
            filter_tags: request.filter_tags.unwrap_or_default(),
            request_ack: request.request_ack,
            relay_factor: request.relay_factor,
            timeout: query_timeout(request.timeout),
        };
        // Without acks, a missing response does not indicate a problem.
        let acked = request.request_ack.then(|| request.name.lossy().into_owned());
        self.take_turn().await;
        match self.agent.query(&request.name.0, request.payload.0, params).await {
            Ok(query) => {
                self.respond(seq, "");
                self.flush().await;
                let task = tokio::spawn(stream::query(query, acked, seq, self.out.clone()));
                self.queries.push(Task(task));
            }
            Err(error) => self.respond(seq, &error),
        }
    }

    pub(super) async fn answer(&mut self, seq: u64, request: Respond) {
        let Some(query) = self.pending.get(request.id) else {
            return self.respond(seq, errors::INVALID_QUERY_ID);
        };
        self.take_turn().await;
        match query.respond(request.payload.0).await {
            Ok(()) => self.respond(seq, ""),
            Err(driver::Error::DeadlinePassed) => {
                self.pending.remove(request.id);
                self.respond(seq, errors::INVALID_QUERY_ID);
            }
            Err(error) => self.respond(seq, &error.go_text()),
        }
    }

    pub(super) async fn keys(&mut self, seq: u64, op: KeyOp) {
        self.flush().await;
        let list = op == KeyOp::List;
        let (response, error) = match self.agent.keys(op).await {
            Ok(response) => (response, String::new()),
            Err(driver::Error::Keys(failure)) => (failure.response, failure.summary),
            Err(error) => (Default::default(), error.to_string()),
        };
        let number = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        let keys: BTreeMap<_, _> =
            response.keys.into_iter().map(|(key, holders)| (key, number(holders))).collect();
        let body = KeyResponse {
            messages: response.messages,
            keys: list.then_some(keys),
            num_nodes: number(response.num_nodes),
            num_err: number(response.num_err),
            num_resp: number(response.num_resp),
            missing: response.missing.iter().map(|name| name.to_string()).collect(),
        };
        self.respond_with(seq, &error, &body);
    }

    pub(super) async fn tags(&mut self, seq: u64, request: Tags) {
        self.flush().await;
        let delete = request.delete_tags.unwrap_or_default();
        let updated = self.agent.update_tags(request.tags.unwrap_or_default(), delete).await;
        self.respond_result(seq, updated);
    }

    pub(super) async fn coordinate(&mut self, seq: u64, request: &GetCoordinate) {
        let body = match self.agent.serf.coordinate(&request.node).await {
            Some(found) => CoordinateResponse {
                coord: Coordinate {
                    vec: Some(found.vec.to_vec()),
                    error: found.error,
                    adjustment: found.adjustment,
                    height: found.height,
                },
                ok: true,
            },
            None => CoordinateResponse::default(),
        };
        self.respond_with(seq, "", &body);
    }
}

/// Zero means the default; a negative timeout ends the query at once, as in Go.
fn query_timeout(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(1))
}

/// Most filters of a stream, and most bytes of all of them.
const FILTERS_MAX: usize = 64;
const FILTER_BYTES_MAX: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_with_a_negative_timeout_ends_at_once() {
        assert_eq!(query_timeout(0), Duration::ZERO);
        assert_eq!(query_timeout(i64::MIN), Duration::from_nanos(1));
        assert_eq!(query_timeout(5), Duration::from_nanos(5));
    }
}
