//! One RPC client: its requests one after the other, answers in their order.
//! Go: `cmd/serf/command/agent/ipc.go`.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use ctutils::CtEq as _;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tracing::{error, info, warn};

use super::{
    Filter,
    core::Agent,
    log::Level,
    stream::{self, Outbox, PendingQueries},
};
use crate::{
    driver::{self, LagPolicy, Subscribe},
    msgpack::{Dialect, Writer},
    rpc::{
        FrameReader, RpcError, decode, encode, encode_members,
        protocol::{
            Auth, Command, Coordinate, CoordinateResponse, EventRequest, ForceLeave, GetCoordinate,
            Handshake, IPC_VERSION, Join, JoinResponse, Key, KeyResponse, MembersFiltered, Monitor,
            Query, REQUEST_BYTES_MAX, REQUEST_UNAUTHENTICATED_BYTES_MAX, Respond, ResponseHeader,
            STREAM_QUEUE, STREAMS_PER_CLIENT_MAX, Stop, Stream, Tags, errors,
        },
    },
    serf::{self, KeyOp, Member, QueryParams, RegexCache},
};

/// Writes that wait for a slow client before its own requests do.
const OUTBOX_MAX: usize = 64;
/// Bytes of answers that are put together for one write.
const ANSWERS_BYTES_MAX: usize = 64 << 10;
/// User events sent in one go.
const EVENTS_AT_ONCE_MAX: usize = 256;
/// How long the last answers may take to reach a client that was refused or has gone.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Serves one client until it goes or misbehaves.
pub(super) async fn run(
    agent: Arc<Agent>,
    client: Arc<str>,
    input: Box<dyn AsyncRead + Send + Unpin>,
    output: Box<dyn AsyncWrite + Send + Unpin>,
) {
    let (out, frames) = mpsc::channel(OUTBOX_MAX);
    let mut writer = tokio::spawn(write(output, frames));
    let mut session = Session {
        agent,
        client,
        version: None,
        authenticated: false,
        answers: Vec::new(),
        events: Vec::new(),
        out,
        streams: HashMap::new(),
        monitor: None,
        queries: Vec::new(),
        pending: Arc::default(),
        leaving: None,
    };
    let ended = tokio::select! {
        ended = session.serve(FrameReader::new(input)) => ended,
        // The socket is broken: nobody would read an answer.
        _ = &mut writer => return,
    };
    // The agent may end once the last answer is out.
    let _leaving = session.leaving.take();
    match ended {
        Ok(()) | Err(End::Refused | End::Left) => {}
        Err(End::Header(reason)) => {
            error!(target: "agent.ipc", "failed to decode request header: {reason}");
        }
        Err(End::Request(reason)) => {
            error!(target: "agent.ipc", "Failed to evaluate request: {reason}");
        }
    }
    session.send_events().await;
    session.flush().await;
    drop(session);
    // A client that does not read loses the rest.
    let _ = tokio::time::timeout(DRAIN_MAX, writer).await;
}

/// Everything that is ready goes out in one write.
async fn write(
    mut output: Box<dyn AsyncWrite + Send + Unpin>,
    mut frames: mpsc::Receiver<Vec<u8>>,
) {
    while let Some(mut batch) = frames.recv().await {
        while batch.len() < 256 << 10 {
            let Ok(more) = frames.try_recv() else { break };
            batch.extend_from_slice(&more);
        }
        if output.write_all(&batch).await.is_err() {
            return;
        }
    }
    // Closing is all that is left to do with it.
    let _ = output.shutdown().await;
}

/// Why a connection is closed by us.
enum End {
    /// No header.
    Header(RpcError),
    /// A request that cannot be answered.
    Request(String),
    /// Told the client.
    Refused,
    /// The node has left, and the client is to hear it before the agent ends.
    Left,
}

struct Session {
    agent: Arc<Agent>,
    client: Arc<str>,
    version: Option<i32>,
    authenticated: bool,
    /// Answers to requests that arrived together.
    answers: Vec<u8>,
    /// User events that arrived one after the other; they are sent in one go.
    events: Vec<(u64, EventRequest)>,
    out: Outbox,
    streams: HashMap<u64, Task>,
    monitor: Option<(u64, Task)>,
    queries: Vec<Task>,
    pending: Arc<PendingQueries>,
    /// Dropped when the client has heard that the node has left.
    leaving: Option<oneshot::Sender<()>>,
}

/// A task that ends with the session.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Task {
    /// Nothing is delivered after this.
    async fn stop(mut self) {
        self.0.abort();
        let _ = (&mut self.0).await;
    }
}

/// A header tells which of its keys were there: what has neither is a stray body.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Header {
    command: Option<String>,
    seq: Option<u64>,
}

type Frames = FrameReader<Box<dyn AsyncRead + Send + Unpin>>;

impl Session {
    async fn serve(&mut self, mut frames: Frames) -> Result<(), End> {
        while let Some(header) = self.next_header(&mut frames).await? {
            let seq = header.seq.unwrap_or(0);
            let name = header.command.unwrap_or_default();
            let command = Command::from_name(&name);
            metrics::counter!("agent.ipc.command").increment(1);
            if command != Some(Command::Event) {
                self.send_events().await;
            }
            if self.version.is_none() && command != Some(Command::Handshake) {
                self.respond(seq, errors::HANDSHAKE_REQUIRED);
                return Err(End::Refused);
            }
            let gate_open = self.authenticated
                || self.agent.settings.rpc_auth.is_empty()
                || matches!(command, Some(Command::Auth | Command::Handshake));
            if !gate_open {
                warn!(
                    target: "agent.ipc",
                    "Client sending commands before auth: {}", self.client
                );
                self.respond(seq, errors::AUTH_REQUIRED);
                continue;
            }
            let Some(command) = command else {
                self.respond(seq, errors::UNSUPPORTED_COMMAND);
                return Err(End::Request(format!("command '{name}' not recognized")));
            };
            let body = match command.has_body() {
                true => {
                    let body = self.next_body(&mut frames).await?;
                    Some(body)
                }
                false => None,
            };
            self.dispatch(command, seq, body.as_deref().unwrap_or_default()).await?;
        }
        Ok(())
    }

    /// The next header; answers go out before waiting for one, and when there are many.
    async fn next_header(&mut self, frames: &mut Frames) -> Result<Option<Header>, End> {
        let max = self.request_bytes_max();
        loop {
            if frames.is_next_missing(max).map_err(End::Header)? {
                self.send_events().await;
                self.flush().await;
            } else if self.answers.len() >= ANSWERS_BYTES_MAX {
                self.flush().await;
            }
            let value = match frames.next(max).await {
                Ok(Some(value)) => value,
                Ok(None) | Err(RpcError::Io(_) | RpcError::Truncated) => return Ok(None),
                Err(error) => return Err(End::Header(error)),
            };
            let header: Header = decode(value).map_err(End::Header)?;
            if header.command.is_some() || header.seq.is_some() || self.version.is_none() {
                return Ok(Some(header));
            }
        }
    }

    async fn next_body(&mut self, frames: &mut Frames) -> Result<Vec<u8>, End> {
        let max = self.request_bytes_max();
        if frames.is_next_missing(max).unwrap_or(true) {
            self.send_events().await;
            self.flush().await;
        }
        let body = frames.next(max).await;
        let body = body.map_err(|error| End::Request(error.to_string()))?;
        Ok(body.ok_or_else(|| End::Request("decode failed: EOF".to_owned()))?.to_vec())
    }

    fn request_bytes_max(&self) -> usize {
        let open = self.authenticated || self.agent.settings.rpc_auth.is_empty();
        if open { REQUEST_BYTES_MAX } else { REQUEST_UNAUTHENTICATED_BYTES_MAX }
    }

    async fn dispatch(&mut self, command: Command, seq: u64, body: &[u8]) -> Result<(), End> {
        match command {
            Command::Handshake => self.handshake(seq, parse(body)?),
            Command::Auth => self.auth(seq, &parse(body)?),
            Command::Event => {
                self.events.push((seq, parse(body)?));
                if self.events.len() >= EVENTS_AT_ONCE_MAX {
                    self.send_events().await;
                }
            }
            Command::ForceLeave => self.force_leave(seq, parse(body)?).await,
            Command::Join => self.join(seq, parse(body)?).await,
            Command::Members => {
                let members = self.agent.serf.members().await;
                self.respond_members(seq, &members);
            }
            Command::MembersFiltered => self.members_filtered(seq, parse(body)?).await?,
            Command::Stream => self.stream(seq, &parse(body)?).await,
            Command::Monitor => self.monitor(seq, &parse(body)?).await,
            Command::Stop => self.stop(seq, &parse(body)?).await,
            Command::Leave => return self.leave(seq).await,
            Command::Query => self.query(seq, parse(body)?).await,
            Command::Respond => self.answer(seq, parse(body)?).await,
            Command::InstallKey => {
                self.keys(seq, KeyOp::Install(parse::<Key>(body)?.key)).await;
            }
            Command::UseKey => self.keys(seq, KeyOp::Use(parse::<Key>(body)?.key)).await,
            Command::RemoveKey => self.keys(seq, KeyOp::Remove(parse::<Key>(body)?.key)).await,
            Command::ListKeys => self.keys(seq, KeyOp::List).await,
            Command::Tags => self.tags(seq, parse(body)?).await,
            Command::Stats => {
                let stats = self.agent.stats().await;
                self.respond_with(seq, "", &stats);
            }
            Command::GetCoordinate => self.coordinate(seq, &parse(body)?).await,
        }
        Ok(())
    }

    fn handshake(&mut self, seq: u64, request: Handshake) {
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

    fn auth(&mut self, seq: u64, request: &Auth) {
        let (shown, token) = (&*request.auth_key, &*self.agent.settings.rpc_auth);
        // How long it takes tells nothing of where the two part.
        if shown.as_bytes().ct_eq(token.as_bytes()).to_bool() {
            self.authenticated = true;
            self.respond(seq, "");
        } else {
            self.respond(seq, errors::INVALID_AUTH_TOKEN);
        }
    }

    /// Sends the user events that were put together, and answers each.
    async fn send_events(&mut self) {
        if self.events.is_empty() {
            return;
        }
        let requests = std::mem::take(&mut self.events);
        let (seqs, events): (Vec<u64>, Vec<_>) = requests
            .into_iter()
            .map(|(seq, request)| (seq, (request.name, request.payload.0.into(), request.coalesce)))
            .unzip();
        match self.agent.user_events(events).await {
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

    async fn force_leave(&mut self, seq: u64, request: ForceLeave) {
        self.flush().await;
        let left = self.agent.force_leave(&request.node, request.prune).await;
        self.respond_result(seq, left);
    }

    async fn join(&mut self, seq: u64, request: Join) {
        self.flush().await;
        let addrs = request.existing.unwrap_or_default();
        let (num, error) = match self.agent.join(&addrs, request.replay).await {
            Ok(num) => (num, String::new()),
            // Go's agent keeps quiet about the rest if one was contacted.
            Err(error) if error.contacted > 0 => (error.contacted, String::new()),
            Err(error) => (0, error.message),
        };
        let num = i32::try_from(num).unwrap_or(i32::MAX);
        self.respond_with(seq, &error, &JoinResponse { num });
    }

    async fn members_filtered(&mut self, seq: u64, request: MembersFiltered) -> Result<(), End> {
        let filter = MemberFilter::compile(&request).map_err(End::Request)?;
        let mut members = self.agent.serf.members().await;
        members.retain(|member| filter.matches(member));
        self.respond_members(seq, &members);
        Ok(())
    }

    async fn stream(&mut self, seq: u64, request: &Stream) {
        let filters = Filter::parse_list(&request.r#type);
        if !filters.iter().all(Filter::is_valid) {
            return self.respond(seq, errors::INVALID_FILTER);
        }
        if self.streams.contains_key(&seq) {
            return self.respond(seq, errors::STREAM_EXISTS);
        }
        if self.streams.len() >= STREAMS_PER_CLIENT_MAX {
            return self.respond(seq, "Too many streams");
        }
        let options = Subscribe { capacity: STREAM_QUEUE, policy: LagPolicy::DropNewest };
        let events = self.agent.serf.subscribe(options);
        // The answer comes before any record.
        self.respond(seq, "");
        self.flush().await;
        let (out, pending) = (self.out.clone(), Arc::clone(&self.pending));
        let client = Arc::clone(&self.client);
        let task = tokio::spawn(stream::events(events, filters, seq, out, pending, client));
        self.streams.insert(seq, Task(task));
    }

    async fn monitor(&mut self, seq: u64, request: &Monitor) {
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

    async fn stop(&mut self, seq: u64, request: &Stop) {
        if let Some((_, task)) = self.monitor.take_if(|(seq, _)| *seq == request.stop) {
            task.stop().await;
        }
        if let Some(task) = self.streams.remove(&request.stop) {
            task.stop().await;
        }
        self.respond(seq, "");
    }

    async fn leave(&mut self, seq: u64) -> Result<(), End> {
        info!(target: "agent.ipc", "Graceful leave triggered");
        self.flush().await;
        let (ending, ended) = oneshot::channel();
        self.leaving = Some(ending);
        let agent = Arc::clone(&self.agent);
        // Goes on when the client does not wait for it.
        let left = tokio::spawn(async move {
            let left = agent.serf.leave().await;
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

    async fn query(&mut self, seq: u64, request: Query) {
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
        match self.agent.query(&request.name, request.payload.0, params).await {
            Ok(query) => {
                self.respond(seq, "");
                self.flush().await;
                let task = tokio::spawn(stream::query(query, seq, self.out.clone()));
                self.queries.push(Task(task));
            }
            Err(error) => self.respond(seq, &error),
        }
    }

    async fn answer(&mut self, seq: u64, request: Respond) {
        let Some(query) = self.pending.get(request.id) else {
            return self.respond(seq, errors::INVALID_QUERY_ID);
        };
        match self.agent.serf.respond(&query, request.payload.0).await {
            Ok(()) => self.respond(seq, ""),
            Err(driver::Error::Serf(serf::Error::PastDeadline)) => {
                self.pending.remove(request.id);
                self.respond(seq, errors::INVALID_QUERY_ID);
            }
            Err(error) => self.respond(seq, &error.to_string()),
        }
    }

    async fn keys(&mut self, seq: u64, op: KeyOp) {
        self.flush().await;
        let list = op == KeyOp::List;
        let (response, error) = match self.agent.serf.key_manager().run(op, 0).await {
            Ok(outcome) => (outcome.response, outcome.error.unwrap_or_default()),
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
        };
        self.respond_with(seq, &error, &body);
    }

    async fn tags(&mut self, seq: u64, request: Tags) {
        self.flush().await;
        let delete = request.delete_tags.unwrap_or_default();
        let updated = self.agent.update_tags(request.tags.unwrap_or_default(), delete).await;
        self.respond_result(seq, updated);
    }

    async fn coordinate(&mut self, seq: u64, request: &GetCoordinate) {
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

    fn respond(&mut self, seq: u64, error: &str) {
        encode(&ResponseHeader { seq, error: error.to_owned() }, &mut self.answers);
    }

    fn respond_result<E: std::fmt::Display>(&mut self, seq: u64, result: Result<(), E>) {
        match result {
            Ok(()) => self.respond(seq, ""),
            Err(error) => self.respond(seq, &error.to_string()),
        }
    }

    fn respond_with<T: Serialize>(&mut self, seq: u64, error: &str, body: &T) {
        self.respond(seq, error);
        encode(body, &mut self.answers);
    }

    fn respond_members(&mut self, seq: u64, members: &[Arc<Member>]) {
        self.respond(seq, "");
        let mut writer = Writer::with_dialect(&mut self.answers, Dialect::Rpc);
        writer.map(1);
        writer.str("Members");
        encode_members(members.iter().map(|member| &**member), &mut self.answers);
    }

    async fn flush(&mut self) {
        if self.answers.is_empty() {
            return;
        }
        let answers = std::mem::take(&mut self.answers);
        // Many bytes wait until all before them are out: little is held for who does not read.
        let slots = if answers.len() >= ANSWERS_BYTES_MAX { OUTBOX_MAX } else { 1 };
        // Fails only when the socket is broken, which ends the session anyway.
        if let Ok(mut permits) = self.out.reserve_many(slots).await
            && let Some(permit) = permits.next()
        {
            permit.send(answers);
        }
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, End> {
    decode(body).map_err(|error| End::Request(error.to_string()))
}

/// Expressions on members, anchored without grouping, as Go does.
struct MemberFilter {
    name: Option<regex::bytes::Regex>,
    status: Option<regex::bytes::Regex>,
    tags: Vec<(String, regex::bytes::Regex)>,
}

impl MemberFilter {
    fn compile(request: &MembersFiltered) -> Result<Self, String> {
        let mut cache = RegexCache::default();
        let mut compile = |expr: &str| {
            let compiled = cache.compile(format!("^{expr}$").as_bytes()).cloned();
            compiled.ok_or_else(|| format!("Failed to compile regex: {expr}"))
        };
        let mut optional = |expr: &str| {
            if expr.is_empty() { Ok(None) } else { compile(expr).map(Some) }
        };
        let (name, status) = (optional(&request.name)?, optional(&request.status)?);
        let mut tags = Vec::new();
        for (tag, expr) in request.tags.iter().flatten() {
            tags.push((tag.clone(), compile(expr)?));
        }
        Ok(Self { name, status, tags })
    }

    fn matches(&self, member: &Member) -> bool {
        let passes = |expr: &Option<regex::bytes::Regex>, text: &str| {
            expr.as_ref().is_none_or(|expr| expr.is_match(text.as_bytes()))
        };
        passes(&self.name, &member.name)
            && passes(&self.status, &member.status.to_string())
            && self.tags.iter().all(|(tag, expr)| {
                expr.is_match(member.tags.get(tag).unwrap_or_default().as_bytes())
            })
    }
}

/// Zero stands for the default; a query of less time than none is over at once, as with Go.
fn query_timeout(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(1))
}

#[cfg(test)]
mod tests;
