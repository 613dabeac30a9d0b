//! Key management for the whole cluster: requests for changes, and their execution. Go:
//! `serf/keymanager.go`, `serf/internal_query.go`.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tracing::{error, info, warn};

use super::{
    Completion, Error, KeyOp, KeyResponse, Message, Output, QueryId, QueryParams,
    asked::Asker,
    context::Context,
    effects::Timer,
    internal_query::{InternalQuery, KeyVerb},
    message,
    query::encode_response,
    query_parts::QueryParts,
};
use crate::{
    base::{PRINTABLE_BYTES_MAX, go_base64, printable_text, short_list},
    swim::OpId,
    wire::{Keyring, KeyringError},
};

/// Pending key operations: the first one runs, the others wait for it.
#[derive(Default)]
pub(crate) struct KeyOps {
    waiting: VecDeque<Waiting>,
    running: BTreeMap<OpId, Running>,
    /// Requests of other nodes, answered once the keyring is stored.
    storing: BTreeMap<OpId, QueryId>,
}

struct Waiting {
    op: OpId,
    verb: KeyVerb,
    key: Vec<u8>,
    relay_factor: u8,
}

#[derive(Default)]
struct Running {
    response: KeyResponse,
    query: Option<QueryId>,
}

impl KeyOps {
    /// Queues an operation.
    ///
    /// # Errors
    /// The key is not base64; Go's text.
    pub(crate) fn queue(&mut self, op: OpId, what: &KeyOp, relay_factor: u8) -> Result<(), Error> {
        let (verb, key) = match what {
            KeyOp::Install(key) => (KeyVerb::Install, decode_key(key)?),
            KeyOp::Use(key) => (KeyVerb::Use, decode_key(key)?),
            KeyOp::Remove(key) => (KeyVerb::Remove, decode_key(key)?),
            KeyOp::List => (KeyVerb::List, Vec::new()),
        };
        self.waiting.push_back(Waiting { op, verb, key, relay_factor });
        Ok(())
    }

    /// Starts the next operation if none is running; `nodes` is the number of alive nodes. Returns
    /// whether it started one.
    pub(crate) fn start_next(&mut self, parts: &mut QueryParts<'_>, nodes: usize) -> bool {
        if !self.running.is_empty() {
            return false;
        }
        let Some(waiting) = self.waiting.pop_front() else { return false };
        self.start_query(parts, nodes, waiting);
        true
    }

    fn start_query(&mut self, parts: &mut QueryParts<'_>, nodes: usize, waiting: Waiting) {
        let Waiting { op, verb, key, relay_factor } = waiting;
        let request = message::KeyRequest { key: key.as_slice().into() };
        let payload = parts.cx.encode(&Message::KeyRequest(request));
        let params = QueryParams { relay_factor, ..QueryParams::default() };
        let response = KeyResponse { num_nodes: nodes, ..KeyResponse::default() };
        self.running.insert(op, Running { response, query: None });
        let name = InternalQuery::Key(verb).name();
        let asker = Asker::Keys(op);
        match parts.ask(asker, nodes, name.as_bytes(), &payload, &params) {
            Ok(id) => {
                if let Some(running) = self.running.get_mut(&op) {
                    running.query = Some(id);
                }
            }
            Err(error) => {
                self.running.remove(&op);
                parts.cx.effects.complete(op, Err(error));
            }
        }
    }

    /// Counts a node's answer; returns the query if that was the last answer. Go:
    /// `KeyManager.streamKeyResp`.
    pub(crate) fn handle_response(
        &mut self,
        cx: &mut Context,
        op: OpId,
        from: &str,
        payload: &[u8],
    ) -> Option<QueryId> {
        let decoded = match payload.first() {
            Some(&message::kind::KEY_RESPONSE) => match cx.admit(payload) {
                Ok(Message::KeyResponse(response)) => Ok(response),
                Ok(_) | Err(_) => Err("Failed to decode key query response"),
            },
            Some(_) | None => Err("Invalid key query response type"),
        };
        let running = self.running.get_mut(&op)?;
        let response = &mut running.response;
        response.num_resp += 1;
        match decoded {
            Ok(node) => {
                let text = printable_text(&lossy(node.message), usize::MAX).to_string();
                if !node.result {
                    response.messages.insert(from.to_owned(), text);
                    response.num_err += 1;
                } else if !text.is_empty() {
                    if cx.logs.keys.admit(cx.now) {
                        let shown = printable_text(&text, 4 * PRINTABLE_BYTES_MAX);
                        warn!(target: "serf", "{shown}");
                    }
                    response.messages.insert(from.to_owned(), text);
                }
                // Go counts the keys in failed answers, too, and the primary key "" of most
                // answers.
                for key in node.keys.0 {
                    *response.keys.entry(lossy(key)).or_default() += 1;
                }
                *response.primary_keys.entry(lossy(node.primary_key)).or_default() += 1;
            }
            Err(what) => {
                let bytes = payload.iter().take(PAYLOAD_BYTES_SHOWN);
                let bytes = bytes.map(u8::to_string).collect::<Vec<_>>().join(" ");
                response.messages.insert(from.to_owned(), format!("{what}: [{bytes}]"));
                response.num_err += 1;
            }
        }
        if response.num_resp != response.num_nodes {
            return None;
        }
        let query = running.query;
        self.finish(cx, op, Vec::new());
        query
    }

    /// Completes an operation: all nodes answered, or the deadline passed and some are missing.
    pub(crate) fn finish(&mut self, cx: &mut Context, op: OpId, missing: Vec<Arc<str>>) {
        let Some(Running { mut response, .. }) = self.running.remove(&op) else { return };
        if !missing.is_empty() {
            warn!(target: "serf", "No answer to key request from: {}", short_list(&missing));
        }
        response.missing = missing;
        let KeyResponse { num_nodes, num_resp, num_err, .. } = response;
        let error = if num_err != 0 {
            Some(format!("{num_err}/{num_nodes} nodes reported failure"))
        } else if num_resp != num_nodes {
            Some(format!("{num_resp}/{num_nodes} nodes reported success"))
        } else {
            None
        };
        cx.effects.complete(op, Ok(Completion::Keys { response, error }));
    }

    /// Answers a key query. If the keyring changed, returns the new one, and [`KeyOps::changed`]
    /// answers.
    pub(crate) fn answer(
        &mut self,
        parts: &mut QueryParts<'_>,
        id: QueryId,
        verb: KeyVerb,
        payload: &[u8],
        keyring: &Keyring,
    ) -> Option<Keyring> {
        let change = match verb {
            KeyVerb::List => {
                answer_list(parts, id, keyring);
                return None;
            }
            KeyVerb::Install => &INSTALL,
            KeyVerb::Use => &USE,
            KeyVerb::Remove => &REMOVE,
        };
        let made = self.change(parts.cx, change, payload, keyring);
        made.map_err(|text| answer_change(parts, id, Err(text))).ok()
    }

    /// The keyring after the requested change, or why it is refused.
    fn change(
        &self,
        cx: &mut Context,
        change: &Change,
        payload: &[u8],
        keyring: &Keyring,
    ) -> Result<Keyring, String> {
        let text = match cx.admit(payload) {
            Ok(Message::KeyRequest(_)) if keyring.is_empty() => {
                if cx.logs.key_failures.admit(cx.now) {
                    error!(target: "serf", "{NO_KEYRING}");
                }
                NO_KEYRING.to_owned()
            }
            Ok(Message::KeyRequest(_)) if self.storing.len() >= STORING_MAX => {
                if cx.logs.key_failures.admit(cx.now) {
                    error!(target: "serf", "{NOT_STORED}: too many changes wait for it");
                }
                format!("{NOT_STORED}: too many changes wait for it")
            }
            Ok(Message::KeyRequest(request)) => {
                if cx.logs.keys.admit(cx.now) {
                    let name = InternalQuery::Key(change.verb).rest();
                    info!(target: "serf", "Received {name} query");
                }
                let mut ring = keyring.clone();
                let Err(error) = (change.apply)(&mut ring, request.key.as_slice()) else {
                    return Ok(ring);
                };
                if cx.logs.key_failures.admit(cx.now) {
                    error!(target: "serf", "Failed to {}: {error}", change.text);
                }
                error.to_string()
            }
            Ok(_) | Err(_) => {
                if cx.logs.key_failures.admit(cx.now) {
                    error!(target: "serf", "Failed to decode key request");
                }
                String::new()
            }
        };
        Err(text)
    }

    /// The keyring was changed by the query `id`: requests that the file be written. The answer is
    /// encrypted with the new key, as in Go, and is sent once the file is written, if there is one.
    pub(crate) fn changed(&mut self, parts: &mut QueryParts<'_>, id: QueryId, op: OpId) {
        parts.cx.effects.output(Output::KeyringChanged { op });
        if !parts.cx.config.keyring_stored {
            return answer_change(parts, id, Ok(()));
        }
        // The other half is left for the query and the answer to travel.
        let end = parts.queries.received.get(id).map(|query| query.deadline);
        let left = end.map_or(Duration::ZERO, |end| end.since(parts.cx.now));
        self.storing.insert(op, id);
        parts.cx.start_timer((left / 2).min(STORING_TIME_MAX), Timer::Storing(op));
    }

    /// Answers a request after the keyring file was written, could not be written, or took too
    /// long.
    pub(crate) fn stored(
        &mut self,
        parts: &mut QueryParts<'_>,
        op: OpId,
        stored: Result<(), String>,
    ) {
        let Some(id) = self.storing.remove(&op) else { return };
        if let Err(error) = &stored
            && parts.cx.logs.key_failures.admit(parts.cx.now)
        {
            // The error has these words, too, as Go's.
            error!(target: "serf", "{NOT_STORED}: {error}");
        }
        answer_change(parts, id, stored);
    }

    /// The request's time limit for the keyring file has expired.
    pub(crate) fn storing_timeout(&mut self, parts: &mut QueryParts<'_>, op: OpId) {
        self.stored(parts, op, Err(format!("{NOT_STORED}: it takes too long")));
    }
}

fn answer_change(parts: &mut QueryParts<'_>, id: QueryId, done: Result<(), String>) {
    let text = done.as_ref().err().map_or("", String::as_str);
    // A path in the text may be longer than an answer.
    let text = text.get(..text.floor_char_boundary(ERROR_BYTES_MAX)).unwrap_or_default();
    let response = message::NodeKeyResponse {
        result: done.is_ok(),
        message: text.as_bytes(),
        ..message::NodeKeyResponse::default()
    };
    answer_with(parts, id, response);
}

/// Answers with as many keys as fit. Go: `keyListResponseWithCorrectSize`.
fn answer_list(parts: &mut QueryParts<'_>, id: QueryId, keyring: &Keyring) {
    if parts.cx.logs.keys.admit(parts.cx.now) {
        info!(target: "serf", "Received list-keys query");
    }
    let keys = keyring.keys().map(go_base64::encode).collect::<Vec<_>>();
    let Some(primary) = keys.first() else {
        if parts.cx.logs.key_failures.admit(parts.cx.now) {
            error!(target: "serf", "{EMPTY_KEYRING}");
        }
        let message = EMPTY_KEYRING.as_bytes();
        let response = message::NodeKeyResponse { message, ..message::NodeKeyResponse::default() };
        answer_with(parts, id, response);
        return;
    };
    let limit = parts.cx.config.query_response_size_limit;
    let total = keys.len();
    // Go counts down from `most` and encodes each; the first that fits is sent. The whole list is
    // tried first, then lists with a note that they are truncated.
    let most = (limit / KEY_TEXT_BYTES_MIN).min(total);
    let mut shown = total;
    let mut text = String::new();
    for count in (0..=most).rev() {
        let payload = {
            let keys = keys.iter().take(shown).map(String::as_bytes).collect();
            let response = message::NodeKeyResponse {
                result: true,
                message: text.as_bytes(),
                keys: message::Keys(keys),
                primary_key: primary.as_bytes(),
            };
            parts.cx.encode(&Message::KeyResponse(response))
        };
        if encode_response(parts.cx, id, &payload).len() <= limit {
            if let Err(error) = parts.respond(id, &payload)
                && parts.cx.logs.keys.admit(parts.cx.now)
            {
                error!(target: "serf", "Failed to respond to key query: {}", error.go_text());
            }
            return;
        }
        shown = count;
        text = format!("truncated key list response, showing first {count} of {total} keys");
    }
    if parts.cx.logs.keys.admit(parts.cx.now) {
        error!(target: "serf", "Failed to truncate response so that it fits into message");
    }
}

fn answer_with(parts: &mut QueryParts<'_>, id: QueryId, response: message::NodeKeyResponse<'_>) {
    let payload = parts.cx.encode(&Message::KeyResponse(response));
    if let Err(error) = parts.respond(id, &payload)
        && parts.cx.logs.keys.admit(parts.cx.now)
    {
        error!(target: "serf", "Failed to respond to key query: {}", error.go_text());
    }
}

/// A change of a keyring.
struct Change {
    verb: KeyVerb,
    /// The operation's name in the log.
    text: &'static str,
    apply: fn(&mut Keyring, &[u8]) -> Result<(), KeyringError>,
}

/// Why a node refused a key operation; derived from the text it sent, Go's and ours alike.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyRefusal {
    /// The node has no keyring or an empty one: it does not encrypt.
    NoKeyring,
    /// The key that was to become the primary is not in the ring.
    NotInKeyring,
    /// The key to be removed is the primary.
    RemovingPrimary,
    /// The key does not have 16, 24 or 32 bytes.
    KeySize,
    /// The keyring is full.
    Full,
    /// The keyring file could not be written.
    NotStored,
    /// Another reason, as sent by the node.
    Other(String),
}

impl KeyRefusal {
    /// Parses the text sent by a node.
    #[cfg(all(feature = "driver", not(target_family = "wasm")))]
    pub(crate) fn of(text: &str) -> Self {
        let known = [
            (NO_KEYRING.to_owned(), Self::NoKeyring),
            (EMPTY_KEYRING.to_owned(), Self::NoKeyring),
            (NOT_STORED.to_owned(), Self::NotStored),
            (KeyringError::NotInKeyring.to_string(), Self::NotInKeyring),
            (KeyringError::RemovingPrimary.to_string(), Self::RemovingPrimary),
            (KeyringError::KeySize.to_string(), Self::KeySize),
            (KeyringError::Full.to_string(), Self::Full),
        ];
        let mut known = known.into_iter();
        let found = known.find(|(prefix, _)| text.starts_with(prefix.as_str()));
        found.map_or_else(|| Self::Other(text.to_owned()), |(_, refusal)| refusal)
    }
}

fn decode_key(text: &str) -> Result<Vec<u8>, Error> {
    go_base64::decode(text).map_err(Error::InvalidKey)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const INSTALL: Change =
    Change { verb: KeyVerb::Install, text: "install key", apply: Keyring::add_key };
const USE: Change =
    Change { verb: KeyVerb::Use, text: "change primary key", apply: Keyring::use_key };
const REMOVE: Change =
    Change { verb: KeyVerb::Remove, text: "remove key", apply: Keyring::remove_key };
/// Go: `writeKeyringFile`.
const NOT_STORED: &str = "Failed to write keyring file";
/// Most requests waiting for the keyring file, and the longest time of each.
const STORING_MAX: usize = 64;
const STORING_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest text of a failure in an answer.
const ERROR_BYTES_MAX: usize = 512;
/// Bytes of a malformed answer that are reported; Go's answers contain at most these.
const PAYLOAD_BYTES_SHOWN: usize = 1_024;
const NO_KEYRING: &str = "No keyring to modify (encryption not enabled)";
const EMPTY_KEYRING: &str = "Keyring is empty (encryption not enabled)";
/// Go: `minEncodedKeyLength`.
const KEY_TEXT_BYTES_MIN: usize = 25;
