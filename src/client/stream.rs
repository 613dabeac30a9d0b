//! Streams of events, log lines and query responses.

use std::sync::atomic::Ordering;

use super::{Error, connection::Records};
use crate::rpc::{
    decode,
    protocol::{LogRecord, MemberEventRecord, QueryEventRecord, QueryRecord, UserEventRecord},
};

/// An event of the agent.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum EventRecord {
    /// Members joined, left, failed, changed or were reaped.
    Member(MemberEventRecord),
    /// A user event.
    User(UserEventRecord),
    /// A query; answer with [`Client::respond`](super::Client::respond).
    Query(QueryEventRecord),
}

/// Progress of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueryEvent {
    /// A node acknowledged the query.
    Ack(String),
    /// A node responded.
    Response {
        /// Name of the node.
        from: String,
        /// The response.
        payload: Vec<u8>,
    },
}

macro_rules! streams {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        #[must_use = "a stream that is dropped receives nothing"]
        pub struct $name {
            pub(super) seq: u64,
            pub(super) records: Records,
        }

        impl $name {
            /// Sequence number of the request that opened the stream, for
            /// [`Client::stop`](super::Client::stop).
            pub fn seq(&self) -> u64 {
                self.seq
            }

            /// Number of records dropped because the stream was not read in time.
            pub fn lost(&self) -> u64 {
                self.records.lost.load(Ordering::Relaxed)
            }
        }
    )*};
}

streams! {
    /// Events; returned by [`Client::stream`](super::Client::stream). Dropping it does not stop the
    /// agent from sending; [`Client::stop`](super::Client::stop) or the end of the connection does.
    EventStream
    /// Log lines; returned by [`Client::monitor`](super::Client::monitor). Dropping it does not
    /// stop the agent from sending, as with events.
    LogStream
    /// Acks and responses; returned by [`Client::query`](super::Client::query).
    QueryStream
}

impl EventStream {
    /// The next event; `None` once the connection is closed. Cancel-safe.
    ///
    /// # Errors
    /// The agent sent something that is not an event.
    pub async fn recv(&mut self) -> Result<Option<EventRecord>, Error> {
        let Some(record) = self.records.recv().await else { return Ok(None) };
        event(&record).map(Some).map_err(|error| Error::Decode(error.to_string()))
    }
}

impl LogStream {
    /// The next line; `None` once the connection is closed. Cancel-safe.
    ///
    /// # Errors
    /// The agent sent something that is not a log line.
    pub async fn recv(&mut self) -> Result<Option<String>, Error> {
        let Some(record) = self.records.recv().await else { return Ok(None) };
        let LogRecord { log } =
            decode(&record).map_err(|error| Error::Decode(error.to_string()))?;
        Ok(Some(log))
    }
}

impl QueryStream {
    /// The next ack or response; `None` at the deadline. Cancel-safe.
    ///
    /// # Errors
    /// The connection was closed, or the agent sent something that is not a query record.
    pub async fn recv(&mut self) -> Result<Option<QueryEvent>, Error> {
        let record = self.records.recv().await.ok_or(Error::Closed)?;
        let QueryRecord { r#type: kind, from, payload } =
            decode(&record).map_err(|error| Error::Decode(error.to_string()))?;
        // Go's agent may send any number of acks and responses with an empty `From` after the
        // deadline; Go's clients stop at the first one.
        match kind.as_str() {
            "ack" | "response" if from.is_empty() => Ok(None),
            "ack" => Ok(Some(QueryEvent::Ack(from))),
            "response" => Ok(Some(QueryEvent::Response { from, payload: payload.0 })),
            "done" => Ok(None),
            _ => Err(Error::Decode(format!("unexpected query record {kind}"))),
        }
    }
}

/// Whether this is the last record of a query.
pub(super) fn is_done(record: &[u8]) -> bool {
    decode::<QueryRecord>(record).is_ok_and(|record| record.r#type == "done")
}

fn event(record: &[u8]) -> Result<EventRecord, crate::rpc::RpcError> {
    #[derive(Default, serde::Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    struct Kind {
        event: String,
    }
    Ok(match decode::<Kind>(record)?.event.as_str() {
        "user" => EventRecord::User(decode(record)?),
        "query" => EventRecord::Query(decode(record)?),
        _ => EventRecord::Member(decode(record)?),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::mpsc;

    use super::*;
    use crate::rpc::encode;

    #[tokio::test]
    async fn query_ends_at_the_first_ack_or_response_without_a_name() {
        for last in ["ack", "response", "done"] {
            let (sender, records) = mpsc::channel(8);
            let (waiting, lost) = (Arc::default(), Arc::default());
            let records = Records { records, waiting, lost };
            let mut stream = QueryStream { seq: 1, records };
            for (kind, from) in [("ack", "one"), ("response", "one"), (last, "")] {
                let (r#type, from) = (kind.to_owned(), from.to_owned());
                let mut record = Vec::new();
                encode(&QueryRecord { r#type, from, ..QueryRecord::default() }, &mut record);
                sender.try_send(record).unwrap();
            }
            let from = || "one".to_owned();
            assert_eq!(stream.recv().await.unwrap(), Some(QueryEvent::Ack(from())));
            let answer = QueryEvent::Response { from: from(), payload: Vec::new() };
            assert_eq!(stream.recv().await.unwrap(), Some(answer));
            assert_eq!(stream.recv().await.unwrap(), None, "{last}");
        }
    }
}
