//! Typed payloads of events, queries and answers.

use serde::{Deserialize, Serialize};

use super::{Error, Query, QueryHandle, Response, Serf, UserEventSpec};
use crate::serf::{PayloadError, QueryParams, from_payload, to_payload};

/// Typed payloads: MessagePack, structs as maps keyed by field names.
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
    /// Sends a value to all members as a user event; see [`Serf::user_event`]. Receivers decode it
    /// with [`UserEvent::payload`](crate::UserEvent::payload).
    ///
    /// # Errors
    /// The value cannot be encoded, or is nested more than 16 levels deep; and the errors of
    /// [`Serf::user_event`]: name and payload may have 512 bytes.
    pub async fn send<T>(&self, name: &str, value: &T) -> Result<(), Error>
    where
        T: Serialize + Sync + ?Sized,
    {
        self.send_event(UserEventSpec::of_value(name, value)?).await
    }

    /// Asks a query whose payload is a value; see [`Serf::query`]. Receivers decode it with
    /// [`Query::payload`].
    ///
    /// # Errors
    /// The errors of [`Serf::send`] and [`Serf::query`].
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
    /// Creates an event whose payload is a value; for [`Serf::send_event`] with options.
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
    /// Decodes the payload, as [`UserEvent::payload`](crate::UserEvent::payload) does.
    ///
    /// # Errors
    /// The payload is not a value of this type.
    pub fn payload<'a, T: Deserialize<'a>>(&'a self) -> Result<T, PayloadError> {
        from_payload(self.payload_bytes())
    }

    /// Answers with a value; see [`Query::respond`].
    ///
    /// # Errors
    /// The value cannot be encoded; and the errors of [`Query::respond`].
    pub async fn respond_with<T>(&self, value: &T) -> Result<(), Error>
    where
        T: Serialize + Sync + ?Sized,
    {
        self.respond(to_payload(value)?).await
    }
}

impl Response {
    /// Decodes the payload, as [`UserEvent::payload`](crate::UserEvent::payload) does.
    ///
    /// # Errors
    /// The payload is not a value of this type.
    pub fn payload<'a, T: Deserialize<'a>>(&'a self) -> Result<T, PayloadError> {
        from_payload(&self.payload)
    }
}

impl From<PayloadError> for Error {
    fn from(error: PayloadError) -> Self {
        Self::Payload(error)
    }
}
