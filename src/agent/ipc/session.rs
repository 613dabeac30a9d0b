//! One RPC client: requests are processed one after the other, and answered in order.
//! Go: `cmd/serf/command/agent/ipc.go`.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::AsyncRead,
    sync::{OwnedSemaphorePermit, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};
use tracing::{error, warn};
use zeroize::Zeroizing;

use super::{
    Agent, Holder,
    accepted::Accepted,
    admission::Pass,
    answers::Answers,
    events::Events,
    outbox::{OWN_BYTES_MAX, Outbox, Turn, write},
    stream::PendingQueries,
};
use crate::{
    agent::{audit::Audited, tls::Identity},
    driver,
    rpc::{
        FrameReader, RpcError, decode, encode,
        protocol::{
            Command, EventRequest, Key, REQUEST_BYTES_MAX, REQUEST_UNAUTHENTICATED_BYTES_MAX,
            RequestHeader, ResponseHeader, errors,
        },
    },
    serf::KeyOp,
};

/// Serves one client until it disconnects or misbehaves.
pub(super) async fn run(agent: Arc<Agent>, events: Arc<Events>, pass: Pass, client: Accepted) {
    let Accepted { name, uid, certificate, input, output, .. } = client;
    let (out, frames) = Outbox::new(pass.answers());
    let auth = &agent.auth;
    let holder = certificate.as_ref().and_then(|identity| auth.authenticate_certificate(identity));
    let mut writer = Task(tokio::spawn(write(output, frames)));
    let mut session = Session {
        agent,
        node_events: events,
        client: name.into(),
        uid,
        certificate,
        audited: VecDeque::new(),
        pass,
        commands: metrics::counter!("agent.ipc.command"),
        version: None,
        holder: watch::Sender::new(holder),
        refused: 0,
        large_request: None,
        answers: Vec::new(),
        turn: None,
        body_at: 0,
        events: Vec::new(),
        event_bytes: 0,
        sent_events: None,
        out,
        streams: HashMap::new(),
        monitor: None,
        queries: Vec::new(),
        pending: Arc::default(),
        leaving: None,
    };
    let ended = tokio::select! {
        ended = session.live(FrameReader::new(input)) => ended,
        // The socket failed or a large response was not read in time; further responses would be
        // lost, too.
        _ = &mut writer.0 => return,
    };
    // The agent may exit once the last response is written.
    let _leaving = session.leaving.take();
    match ended {
        Ok(()) | Err(End::Refused | End::Left) => {}
        // No one is left to read the remaining responses.
        Err(End::Gone) => return,
        Err(End::Header(RpcError::Decode(reason))) => {
            error!(target: "agent.ipc", "failed to decode request header: {reason}");
        }
        Err(End::Body(reason)) => {
            let reason = reason.after(session.body_at);
            error!(target: "agent.ipc", "Failed to evaluate request: {reason}");
        }
        Err(End::Header(reason)) => {
            error!(target: "agent.ipc", "failed to decode request header: {reason}");
        }
        Err(End::Request(reason)) => {
            error!(target: "agent.ipc", "Failed to evaluate request: {reason}");
        }
    }
    let drained = async {
        session.send_events().await;
        session.flush().await;
        drop(session);
        let _ = (&mut writer.0).await;
    };
    // A client that does not read in time loses the remaining responses.
    let _ = tokio::time::timeout(DRAIN_MAX, drained).await;
}

/// Why the agent closes a connection.
pub(super) enum End {
    /// A request header could not be decoded.
    Header(RpcError),
    /// The body of a request could not be decoded; positions count from its beginning.
    Body(RpcError),
    /// A request is incomplete, or its command is unknown.
    Request(String),
    /// The client was refused, evicted or timed out, or its token was revoked.
    Refused,
    /// The client disconnected while other clients wait for room for their responses.
    Gone,
    /// The node has left; the client must get the response before the agent exits.
    Left,
}

pub(super) struct Session {
    pub(super) agent: Arc<Agent>,
    pub(super) node_events: Arc<Events>,
    pub(super) client: Arc<str>,
    pub(super) uid: Option<u32>,
    pub(super) certificate: Option<Identity>,
    /// Commands to audit that have not been answered yet.
    pub(super) audited: VecDeque<Audited>,
    pub(super) pass: Pass,
    /// Counts commands. Kept, because looking the counter up takes longer than most commands.
    commands: metrics::Counter,
    pub(super) version: Option<i32>,
    /// What the client's rights follow from: the last valid token, or else its certificate.
    pub(super) holder: watch::Sender<Option<Holder>>,
    /// Number of commands before authentication.
    pub(super) refused: u64,
    /// The permit to read and process a large request.
    pub(super) large_request: Option<OwnedSemaphorePermit>,
    /// Encoded responses that have not been flushed yet.
    pub(super) answers: Vec<u8>,
    /// Held from the start of an event or query until its response is queued, so that the records
    /// it causes are sent after the response.
    pub(super) turn: Option<Turn>,
    /// Where the last body begins, counted from the beginning of the connection.
    body_at: usize,
    /// Consecutive user events, which are passed to the engine together.
    pub(super) events: Vec<(u64, EventRequest)>,
    /// Bytes of their requests.
    pub(super) event_bytes: usize,
    /// The sequence numbers of events passed to the engine, and the task that waits for it.
    pub(super) sent_events: Option<(Vec<u64>, JoinHandle<SentEvents>)>,
    pub(super) out: Outbox,
    pub(super) streams: HashMap<u64, Task>,
    pub(super) monitor: Option<(u64, Task)>,
    pub(super) queries: Vec<Task>,
    pub(super) pending: Arc<PendingQueries>,
    /// Dropped when the response to `leave` has been written.
    pub(super) leaving: Option<oneshot::Sender<()>>,
}

/// The result of each event, or the error of the whole call.
type SentEvents = Result<Vec<Result<(), driver::Error>>, driver::Error>;

/// A task that ends with the session.
pub(super) struct Task(pub(super) JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Task {
    /// Aborts the task and waits for its end, so that it sends no record afterwards.
    pub(super) async fn stop(mut self) {
        self.0.abort();
        let _ = (&mut self.0).await;
    }
}

type Frames = FrameReader<Box<dyn AsyncRead + Send + Unpin>>;

impl Session {
    async fn live(&mut self, mut frames: Frames) -> Result<(), End> {
        let evicted = self.pass.evicted();
        tokio::select! {
            ended = self.serve(&mut frames, true) => ended?,
            () = tokio::time::sleep(STRANGER_TIME) => return Err(End::Refused),
            () = evicted => return Err(End::Refused),
        }
        self.pass.known();
        if !self.agent.auth.has_file() {
            return self.serve(&mut frames, false).await;
        }
        let (agent, holder) = (Arc::clone(&self.agent), self.holder.subscribe());
        tokio::select! {
            ended = self.serve(&mut frames, false) => ended,
            () = agent.auth.revoked(holder) => Err(End::Refused),
        }
    }

    /// Processes requests until the client disconnects. With `stranger`, returns as soon as the
    /// client has finished the handshake and, if needed, authentication.
    async fn serve(&mut self, frames: &mut Frames, stranger: bool) -> Result<(), End> {
        while let Some(header) = self.next_header(frames).await? {
            self.request(frames, header).await?;
            if stranger && self.version.is_some() && self.is_open() {
                break;
            }
        }
        Ok(())
    }

    async fn request(&mut self, frames: &mut Frames, header: RequestHeader) -> Result<(), End> {
        let seq = header.seq.unwrap_or(0);
        let name = header.command.unwrap_or_default();
        let command = Command::from_name(&name);
        self.commands.increment(1);
        if command != Some(Command::Event) {
            self.send_events().await;
        }
        if self.version.is_none() && command != Some(Command::Handshake) {
            self.respond(seq, errors::HANDSHAKE_REQUIRED);
            return Err(End::Refused);
        }
        if !self.is_open() && !matches!(command, Some(Command::Auth | Command::Handshake)) {
            self.refused += 1;
            // Logged at each doubling, so that a client cannot fill the log.
            if self.refused.is_power_of_two() {
                let client = &self.client;
                warn!(target: "agent.ipc", "Client sending commands before auth: {client}");
            }
            self.respond(seq, errors::AUTH_REQUIRED);
            return Ok(());
        }
        let Some(command) = command else {
            self.respond(seq, errors::UNSUPPORTED_COMMAND);
            return Err(End::Request(format!("command '{name}' not recognized")));
        };
        // Wiped after use: it may contain a token or a key.
        let body = Zeroizing::new(match command.has_body() {
            true => self.next_body(frames).await?,
            false => Vec::new(),
        });
        if let Some(error) = self.not_allowed(command) {
            // Responses are sent in the order of the requests.
            self.send_events().await;
            self.audit(seq, command, &body, true);
            self.refuse(seq, command, &error);
            self.large_request = None;
            return Ok(());
        }
        self.audit(seq, command, &body, false);
        let done = match command {
            // Read-only, so they can be cancelled.
            Command::Members | Command::MembersFiltered => {
                let answers = self.pass.answers();
                unless_gone(frames, &answers, self.dispatch(command, seq, &body)).await?
            }
            _ => self.dispatch(command, seq, &body).await,
        };
        if self.large_request.is_some() {
            drop(body);
            self.large_request = None;
        }
        done
    }

    /// The error if the client's rights do not allow a command.
    fn not_allowed(&self, command: Command) -> Option<String> {
        let holder = self.holder.borrow();
        let (holder, lacks) = (holder.as_ref()?, holder.as_ref()?.lacks(command)?);
        let (denied, title) = (errors::NOT_ALLOWED, holder.title());
        let (command, lacks) = (command.name(), lacks.name());
        Some(format!("{denied}: {title} lacks '{lacks}', which '{command}' needs"))
    }

    /// Whether further events can be collected in the current batch.
    fn collects_events(&self) -> bool {
        (self.sent_events.is_some() || !self.events.is_empty())
            && self.events.len() < EVENTS_AT_ONCE_MAX
            && self.event_bytes < EVENT_BYTES_AT_ONCE_MAX
    }

    /// Whether the client may send commands.
    fn is_open(&self) -> bool {
        self.is_authenticated() || !self.agent.auth.is_required()
    }

    pub(super) fn is_authenticated(&self) -> bool {
        self.holder.borrow().is_some()
    }

    /// Reads the next request header. Flushes the responses before it waits, and when there are
    /// many.
    async fn next_header(&mut self, frames: &mut Frames) -> Result<Option<RequestHeader>, End> {
        let max = self.request_bytes_max();
        loop {
            let missing = frames.is_next_missing(max);
            if missing.map_err(|error| End::Header(frames.explain::<RequestHeader>(error)))? {
                if self.collects_events() && frames.read_ready().await {
                    continue;
                }
                self.send_events().await;
                self.flush_unless_gone(frames).await?;
            } else if self.answers.len() >= OWN_BYTES_MAX {
                self.flush_unless_gone(frames).await?;
            }
            let before = frames.position();
            let value = match self.next_value(frames, max).await {
                Ok(Some(value)) => value,
                Ok(None) | Err(RpcError::Io(_)) => return Ok(None),
                Err(error) => match frames.explain::<RequestHeader>(error) {
                    RpcError::Truncated => return Ok(None),
                    error => return Err(End::Header(error)),
                },
            };
            let header: RequestHeader =
                decode(value).map_err(|error| End::Header(error.after(before)))?;
            if header.command.is_some() || header.seq.is_some() || self.version.is_none() {
                return Ok(Some(header));
            }
        }
    }

    async fn next_body(&mut self, frames: &mut Frames) -> Result<Vec<u8>, End> {
        let max = self.request_bytes_max();
        while frames.is_next_missing(max).unwrap_or(true) {
            if self.collects_events() && frames.read_ready().await {
                continue;
            }
            self.send_events().await;
            self.flush_unless_gone(frames).await?;
            break;
        }
        self.body_at = frames.position();
        let body = self.next_value(frames, max).await.map_err(|error| match error {
            RpcError::Truncated => End::Request("decode failed: EOF".to_owned()),
            error => End::Body(error),
        })?;
        Ok(body.ok_or_else(|| End::Request("decode failed: EOF".to_owned()))?.to_vec())
    }

    /// Reads the next value. A large value of an authenticated client needs a permit and must then
    /// arrive in time, because its bytes are buffered.
    async fn next_value<'f>(
        &mut self,
        frames: &'f mut Frames,
        max: usize,
    ) -> Result<Option<&'f [u8]>, RpcError> {
        let small = if self.is_open() { max.min(SMALL_REQUEST_BYTES_MAX) } else { max };
        match frames.arrive(small).await {
            Err(RpcError::TooLarge { .. }) if small < max => {
                if self.large_request.is_none() {
                    self.large_request = Some(tokio::select! {
                        biased;
                        turn = self.pass.large_request() => turn,
                        () = frames.ended(READ_AHEAD_BYTES) => return Err(RpcError::Truncated),
                    });
                }
                let arrived = timeout(LARGE_REQUEST_TIME, frames.arrive(max)).await;
                arrived.unwrap_or(Err(RpcError::Truncated))?;
            }
            arrived => drop(arrived?),
        }
        frames.next(max).await
    }

    fn request_bytes_max(&self) -> usize {
        if self.is_open() { REQUEST_BYTES_MAX } else { REQUEST_UNAUTHENTICATED_BYTES_MAX }
    }

    async fn dispatch(&mut self, command: Command, seq: u64, body: &[u8]) -> Result<(), End> {
        match command {
            Command::Handshake => self.handshake(seq, parse(body)?),
            Command::Auth => self.auth(seq, &parse(body)?).await,
            Command::Event => {
                self.event_bytes += body.len();
                self.events.push((seq, parse(body)?));
                if !self.collects_events() {
                    self.begin_events().await;
                }
            }
            Command::ForceLeave => self.force_leave(seq, parse(body)?).await,
            Command::Join => self.join(seq, parse(body)?).await,
            Command::Members => self.members(seq, None).await,
            Command::MembersFiltered => self.members_filtered(seq, parse(body)?).await?,
            Command::Stream => self.stream(seq, &parse(body)?).await,
            Command::Monitor => self.monitor(seq, &parse(body)?).await,
            Command::Stop => self.stop(seq, &parse(body)?).await,
            Command::Leave => return self.leave(seq).await,
            Command::Query => self.query(seq, parse(body)?).await,
            Command::Respond => self.answer(seq, parse(body)?).await,
            Command::InstallKey => {
                self.keys(seq, KeyOp::Install(key(body)?)).await;
            }
            Command::UseKey => self.keys(seq, KeyOp::Use(key(body)?)).await,
            Command::RemoveKey => self.keys(seq, KeyOp::Remove(key(body)?)).await,
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

    pub(super) fn respond(&mut self, seq: u64, error: &str) {
        self.audit_answer(seq, error);
        encode(&ResponseHeader { seq, error: error.to_owned() }, &mut self.answers);
    }

    /// Refuses a command. If its response has a body, clients expect one after an error, too.
    fn refuse(&mut self, seq: u64, command: Command, error: &str) {
        match command.has_response_body() {
            true => self.respond_with(seq, error, &BTreeMap::<String, String>::new()),
            false => self.respond(seq, error),
        }
    }

    pub(super) fn respond_result<E: std::fmt::Display>(&mut self, seq: u64, result: Result<(), E>) {
        match result {
            Ok(()) => self.respond(seq, ""),
            Err(error) => self.respond(seq, &error.to_string()),
        }
    }

    pub(super) fn respond_with<T: Serialize>(&mut self, seq: u64, error: &str, body: &T) {
        self.respond(seq, error);
        encode(body, &mut self.answers);
    }

    /// Sends the responses, and then lets records be sent again.
    pub(super) async fn flush(&mut self) {
        if !self.answers.is_empty() {
            let answers = std::mem::take(&mut self.answers);
            // Fails only when the socket is broken, which ends the session anyway.
            self.out.answer(answers).await;
        }
        if self.sent_events.is_none() {
            self.turn = None;
        }
    }

    async fn flush_unless_gone(&mut self, frames: &mut Frames) -> Result<(), End> {
        let answers = self.pass.answers();
        unless_gone(frames, &answers, self.flush()).await
    }

    /// Delays records until the next responses are queued.
    pub(super) async fn take_turn(&mut self) {
        if self.turn.is_none() {
            self.turn = Some(self.out.turn().await);
        }
    }
}

/// The result of `work`, or `Err` if the client closes its connection while any client waits for
/// room. A half-closed connection looks the same as a closed one, so a client that has only shut
/// down its sending side gets its answers as long as no client waits.
async fn unless_gone<T>(
    frames: &mut Frames,
    answers: &Answers,
    work: impl Future<Output = T>,
) -> Result<T, End> {
    let gone = async {
        frames.ended(READ_AHEAD_BYTES).await;
        answers.crowded().await;
    };
    tokio::select! {
        biased;
        done = work => Ok(done),
        () = gone => Err(End::Gone),
    }
}

fn key(body: &[u8]) -> Result<String, End> {
    Ok(parse::<Key>(body)?.key.expose().to_owned())
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, End> {
    decode(body).map_err(End::Body)
}

/// Most user events passed to the engine together, and most bytes of their requests: a fraction of
/// the work that the engine does in one turn.
const EVENTS_AT_ONCE_MAX: usize = 512;
const EVENT_BYTES_AT_ONCE_MAX: usize = 64 << 10;
/// Requests up to this size are read without a permit.
const SMALL_REQUEST_BYTES_MAX: usize = 16 << 10;
/// Most bytes read ahead to detect that a waiting client has disconnected.
const READ_AHEAD_BYTES: usize = 2 * SMALL_REQUEST_BYTES_MAX;
/// Time limit for reading a larger request.
const LARGE_REQUEST_TIME: Duration = Duration::from_secs(10);
/// Time limit for the handshake and, if tokens are configured, for authentication.
const STRANGER_TIME: Duration = Duration::from_secs(10);
/// Longest wait for the last responses to a client that was refused or has disconnected.
const DRAIN_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
