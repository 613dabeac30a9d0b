//! The calls of the client.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

#[cfg(feature = "tls")]
use super::Tls;
use super::{
    Error, EventStream, KeyFailure, LogStream, QueryStream,
    connection::{Connection, Reply},
    stream,
};
use crate::{
    base::Secret,
    rpc::{
        decode, encode,
        protocol::{
            self, Auth, Blob, Command, Coordinate, CoordinateResponse, EventRequest, ForceLeave,
            GetCoordinate, Handshake, IPC_VERSION, Join, JoinResponse, Key, KeyResponse, Member,
            MembersFiltered, MembersResponse, Monitor, Query, RequestHeader, Respond, Stats, Stop,
            Stream, Tags,
        },
    },
    serf::{OldEvents, Prune, UserEventSpec},
};

/// Configuration of a client.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// `host:port`, or `unix:PATH`.
    pub addr: String,
    /// Authentication token; empty: do not authenticate.
    pub auth_key: Secret,
    /// Time limit of the connection attempt and of each write; 10 s.
    pub timeout: Duration,
    /// TLS; none unless set.
    #[cfg(feature = "tls")]
    pub tls: Option<Tls>,
}

impl Config {
    /// Creates a configuration for an agent without a token.
    pub fn new(addr: impl Into<String>) -> Self {
        Self {
            addr: addr.into(),
            auth_key: Secret::default(),
            timeout: Duration::from_secs(10),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

/// Filter for members: regular expressions, anchored by the agent; an empty one matches all.
#[derive(Clone, Debug, Default)]
pub struct MemberFilter {
    /// Expressions by tag name; a missing tag is treated as empty.
    pub tags: BTreeMap<String, String>,
    /// Expression for the status.
    pub status: String,
    /// Expression for the name.
    pub name: String,
}

/// A connection to an agent. Clones share it; it is closed with the last one.
#[derive(Clone, Debug)]
pub struct Client {
    connection: Arc<Connection>,
}

impl Client {
    /// Connects, shakes hands and, with a token, authenticates.
    ///
    /// # Errors
    /// The connection fails, or the agent refuses the version or the token.
    #[doc(alias = "ClientFromConfig")]
    pub async fn connect(config: Config) -> Result<Self, Error> {
        #[cfg(feature = "tls")]
        let tls = config.tls.as_ref();
        #[cfg(not(feature = "tls"))]
        let tls = None;
        let connection = Connection::dial(&config.addr, config.timeout, tls).await?;
        let client = Self { connection: Arc::new(connection) };
        client.run(Command::Handshake, Some(&Handshake { version: IPC_VERSION })).await?;
        if !config.auth_key.is_empty() {
            client.run(Command::Auth, Some(&Auth { auth_key: config.auth_key })).await?;
        }
        Ok(client)
    }

    /// Lists all members.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn members(&self) -> Result<Vec<Member>, Error> {
        let response: MembersResponse = self.ask(Command::Members, None::<&()>).await?;
        Ok(response.members)
    }

    /// Lists the members that match a filter.
    ///
    /// # Errors
    /// [`Error::Closed`] if an expression is invalid.
    pub async fn members_filtered(&self, filter: MemberFilter) -> Result<Vec<Member>, Error> {
        let MemberFilter { tags, status, name } = filter;
        let body = MembersFiltered { tags: Some(tags), status, name };
        let response: MembersResponse = self.ask(Command::MembersFiltered, Some(&body)).await?;
        Ok(response.members)
    }

    /// Joins through `addrs`; returns the number of nodes contacted.
    ///
    /// # Errors
    /// No node could be contacted.
    pub async fn join<I>(&self, addrs: I, old: OldEvents) -> Result<usize, Error>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let addrs = addrs.into_iter().map(|addr| addr.as_ref().to_owned()).collect();
        let body = Join { existing: Some(addrs), replay: old == OldEvents::Deliver };
        let response: JoinResponse = self.ask(Command::Join, Some(&body)).await?;
        Ok(usize::try_from(response.num).unwrap_or_default())
    }

    /// Declares a failed member left, or forgets it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn force_leave(&self, node: &str, prune: Prune) -> Result<(), Error> {
        let body = ForceLeave { node: node.to_owned(), prune: prune == Prune::Yes };
        self.run(Command::ForceLeave, Some(&body)).await
    }

    /// Makes the agent leave the cluster and exit.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn leave(&self) -> Result<(), Error> {
        self.run(Command::Leave, None::<&()>).await
    }

    /// Sends a user event.
    ///
    /// # Errors
    /// The event is too large.
    pub async fn user_event(&self, event: &UserEventSpec) -> Result<(), Error> {
        let (name, payload) = (event.name.as_slice().into(), Blob(event.payload.to_vec()));
        let coalesce = event.coalesce;
        self.run(Command::Event, Some(&EventRequest { name, payload, coalesce })).await
    }

    /// Sets and deletes tags.
    ///
    /// # Errors
    /// The tags are too large.
    pub async fn update_tags(
        &self,
        tags: BTreeMap<String, String>,
        delete_tags: Vec<String>,
    ) -> Result<(), Error> {
        let body = Tags { tags: Some(tags), delete_tags: Some(delete_tags) };
        self.run(Command::Tags, Some(&body)).await
    }

    /// Returns the agent's statistics.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn stats(&self) -> Result<Stats, Error> {
        self.ask(Command::Stats, None::<&()>).await
    }

    /// Returns the coordinate of a member; `None` if it is unknown.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn coordinate(&self, node: &str) -> Result<Option<Coordinate>, Error> {
        let body = GetCoordinate { node: node.to_owned() };
        let response: CoordinateResponse = self.ask(Command::GetCoordinate, Some(&body)).await?;
        Ok(response.ok.then_some(response.coord))
    }

    /// Installs a key (base64) on all members.
    ///
    /// # Errors
    /// [`Error::Keys`]: some members refused or did not answer.
    pub async fn install_key(&self, key: &str) -> Result<KeyResponse, Error> {
        self.key(Command::InstallKey, Some(key)).await
    }

    /// Changes the primary key of all members.
    ///
    /// # Errors
    /// See [`Self::install_key`].
    pub async fn use_key(&self, key: &str) -> Result<KeyResponse, Error> {
        self.key(Command::UseKey, Some(key)).await
    }

    /// Removes a key from all members.
    ///
    /// # Errors
    /// See [`Self::install_key`].
    pub async fn remove_key(&self, key: &str) -> Result<KeyResponse, Error> {
        self.key(Command::RemoveKey, Some(key)).await
    }

    /// Lists all keys with the number of members that have each.
    ///
    /// # Errors
    /// See [`Self::install_key`].
    pub async fn list_keys(&self) -> Result<KeyResponse, Error> {
        self.key(Command::ListKeys, None).await
    }

    /// Responds to a query of an [`EventStream`] of this connection.
    ///
    /// # Errors
    /// The query is unknown, has expired or was answered before, or the response is too large.
    pub async fn respond(&self, id: u64, payload: &[u8]) -> Result<(), Error> {
        self.run(Command::Respond, Some(&Respond { id, payload: Blob(payload.to_vec()) })).await
    }

    /// Subscribes to events; `filter` is a comma-separated list as in event handlers; empty: all.
    ///
    /// # Errors
    /// The filter is invalid.
    pub async fn stream(&self, filter: &str) -> Result<EventStream, Error> {
        let seq = self.connection.next_seq();
        let request = request(Command::Stream, seq, Some(&Stream { r#type: filter.to_owned() }));
        Ok(EventStream { seq, records: self.connection.open(seq, &request, |_| false).await? })
    }

    /// Subscribes to the log: recent lines first, then new ones.
    ///
    /// # Errors
    /// The level is unknown, or this connection already has a monitor.
    pub async fn monitor(&self, level: &str) -> Result<LogStream, Error> {
        let seq = self.connection.next_seq();
        let body = Monitor { log_level: level.to_owned() };
        let request = request(Command::Monitor, seq, Some(&body));
        Ok(LogStream { seq, records: self.connection.open(seq, &request, |_| false).await? })
    }

    /// Sends a query.
    ///
    /// # Errors
    /// The query is too large, or its name is reserved.
    pub async fn query(&self, query: Query) -> Result<QueryStream, Error> {
        let seq = self.connection.next_seq();
        let request = request(Command::Query, seq, Some(&query));
        Ok(QueryStream {
            seq,
            records: self.connection.open(seq, &request, stream::is_done).await?,
        })
    }

    /// Stops a stream or the monitor with the given [`EventStream::seq`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn stop(&self, seq: u64) -> Result<(), Error> {
        self.run(Command::Stop, Some(&Stop { stop: seq })).await?;
        self.connection.forget(seq);
        Ok(())
    }

    async fn key(&self, command: Command, key: Option<&str>) -> Result<KeyResponse, Error> {
        let body = key.map(|key| Key { key: key.into() });
        let reply = self.call(command, body.as_ref(), true).await?;
        if reply.error == protocol::errors::AUTH_REQUIRED {
            return Err(Error::Agent(reply.error));
        }
        let response = body_of(&reply.body)?;
        if reply.error.is_empty() {
            return Ok(response);
        }
        Err(Error::Keys(Box::new(KeyFailure { response, summary: reply.error })))
    }

    /// Sends a command whose response has no body.
    async fn run<B: Serialize>(&self, command: Command, body: Option<&B>) -> Result<(), Error> {
        let reply = self.call(command, body, false).await?;
        if reply.error.is_empty() { Ok(()) } else { Err(Error::Agent(reply.error)) }
    }

    /// Sends a command whose response has a body.
    async fn ask<B: Serialize, R: DeserializeOwned>(
        &self,
        command: Command,
        body: Option<&B>,
    ) -> Result<R, Error> {
        let reply = self.call(command, body, true).await?;
        if !reply.error.is_empty() {
            return Err(Error::Agent(reply.error));
        }
        body_of(&reply.body)
    }

    async fn call<B: Serialize>(
        &self,
        command: Command,
        body: Option<&B>,
        has_body: bool,
    ) -> Result<Reply, Error> {
        let seq = self.connection.next_seq();
        self.connection.call(seq, &request(command, seq, body), has_body).await
    }
}

fn request<B: Serialize>(command: Command, seq: u64, body: Option<&B>) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&RequestHeader::new(command.name(), seq), &mut out);
    if let Some(body) = body {
        encode(body, &mut out);
    }
    out
}

fn body_of<R: DeserializeOwned>(body: &[u8]) -> Result<R, Error> {
    decode(body).map_err(|error| Error::Decode(error.to_string()))
}
