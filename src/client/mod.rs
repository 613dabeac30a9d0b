//! A client for the RPC of an agent, Go's or ours: for programs that use a local agent instead of
//! being a member themselves. Go: package `client`.
//!
//! A [`Client`] is one connection, shared by its clones. Calls run concurrently, each waiting only
//! for its own answer; streams and a running query deliver records meanwhile. A closed connection
//! is not reopened: calls return [`Error::Closed`], streams end, and the program must connect
//! again.
//!
//! ```no_run
//! # async fn example() -> Result<(), ruserf::client::Error> {
//! use ruserf::{
//!     QueryParams, UserEventSpec,
//!     client::{Client, Config, Query, QueryEvent},
//! };
//!
//! let client = Client::connect(Config::new("127.0.0.1:7373")).await?;
//! for member in client.members().await? {
//!     println!("{} {}", member.name, member.status);
//! }
//! client.user_event(&UserEventSpec::new("deploy", "v2").coalesce(true)).await?;
//! let params = QueryParams::default().filter_tag("role", "^web");
//! let mut answers = client.query(Query::new("uptime", "", &params)).await?;
//! while let Some(event) = answers.recv().await? {
//!     if let QueryEvent::Response { from, payload } = event {
//!         println!("{from}: {}", String::from_utf8_lossy(&payload));
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod calls;
mod connection;
mod error;
mod stream;
#[cfg(feature = "tls")]
mod tls;

pub use calls::{Client, Config, MemberFilter};
pub use error::{Error, KeyFailure};
pub use stream::{EventRecord, EventStream, LogStream, QueryEvent, QueryStream};
#[cfg(feature = "tls")]
pub use tls::Tls;

pub use crate::{
    base::Secret,
    rpc::protocol::{
        Blob, Coordinate, KeyResponse, Member, MemberEventRecord, Query, QueryEventRecord, Stats,
        Text, UserEventRecord,
    },
    serf::{OldEvents, Prune},
};
