//! Typed payloads of events, queries and answers.

use serde::{Deserialize, Serialize};

use super::{Error, Query, QueryHandle, Response, Serf, UserEventSpec};
use crate::serf::{PayloadError, QueryParams, from_payload, to_payload};

/// Typed payloads: MessagePack, structs as maps with the names of their fields.
///
/// ```
/// use ruserf::{Config, Event, QueryParams, Serf};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Deploy {
///     version: String,
/// }
///
/// #[derive(Serialize, Deserialize)]
/// struct Load {
///     percent: u8,
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let builder = Serf::builder(Config::local("a")).bind("127.0.0.1:0");
/// let mut events = builder.events();
/// let serf = builder.start().await?;
/// serf.send("deploy", &Deploy { version: "v2".to_owned() }).await?;
/// let mut loads = serf.ask("load", &(), QueryParams::default()).await?;
/// let mut deployed = false;
/// while let Some(event) = events.recv().await {
///     match event {
///         Event::User(event) => deployed = event.payload::<Deploy>()?.version == "v2",
///         Event::Query(query) => {
///             query.respond_with(&Load { percent: 5 }).await?;
///             break;
///         }
///         _ => {}
///     }
/// }
/// let load = loads.response().await.expect("an answer").payload::<Load>()?;
/// assert_eq!((deployed, load.percent), (true, 5));
/// # Ok(())
/// # }
/// ```
impl Serf {
    /// Sends a value to all members as a user event, as [`Serf::user_event`] does bytes. Receivers
    /// read it by [`UserEvent::payload`](crate::UserEvent::payload).
    ///
    /// # Errors
    /// The value cannot be encoded, or it is nested more than 16 levels deep; and those of
    /// [`Serf::user_event`]: name and payload have 512 bytes.
    pub async fn send<T>(&self, name: &str, value: &T) -> Result<(), Error>
    where
        T: Serialize + Sync + ?Sized,
    {
        self.send_event(UserEventSpec::of_value(name, value)?).await
    }

    /// Asks a query whose payload is a value, as [`Serf::query`] does with bytes. Receivers read it
    /// by [`Query::payload`].
    ///
    /// # Errors
    /// As [`Serf::send`], and those of [`Serf::query`].
    pub async fn ask<T>(
        &self,
        name: &str,
        value: &T,
        params: QueryParams,
    ) -> Result<QueryHandle, Error>
    where
        T: Serialize + Sync + ?Sized,
    {
        self.query(name, to_payload(value)?, params).await
    }
}

impl UserEventSpec {
    /// An event whose payload is a value; for [`Serf::send_event`] with options.
    ///
    /// # Errors
    /// The value cannot be encoded.
    pub fn of_value<T>(name: impl AsRef<[u8]>, value: &T) -> Result<Self, PayloadError>
    where
        T: Serialize + ?Sized,
    {
        Ok(Self::new(name, to_payload(value)?))
    }
}

impl Query {
    /// The payload as a value, as [`UserEvent::payload`](crate::UserEvent::payload) reads it.
    ///
    /// # Errors
    /// It is no such value.
    pub fn payload<'a, T: Deserialize<'a>>(&'a self) -> Result<T, PayloadError> {
        from_payload(self.payload_bytes())
    }

    /// Answers with a value, as [`Query::respond`] does with bytes.
    ///
    /// # Errors
    /// The value cannot be encoded, and those of [`Query::respond`].
    pub async fn respond_with<T>(&self, value: &T) -> Result<(), Error>
    where
        T: Serialize + Sync + ?Sized,
    {
        self.respond(to_payload(value)?).await
    }
}

impl Response {
    /// The payload as a value, as [`UserEvent::payload`](crate::UserEvent::payload) reads it.
    ///
    /// # Errors
    /// It is no such value.
    pub fn payload<'a, T: Deserialize<'a>>(&'a self) -> Result<T, PayloadError> {
        from_payload(&self.payload)
    }
}

impl From<PayloadError> for Error {
    fn from(error: PayloadError) -> Self {
        Self::Payload(error)
    }
}
