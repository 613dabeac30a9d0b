//! Layer 5: asynchronous client of an agent's RPC. Go: package `client`.
//!
//! ```no_run
//! # async fn example() -> Result<(), ruserf::client::Error> {
//! use ruserf::{UserEventSpec, client::{Client, Config}};
//!
//! let client = Client::connect(Config::new("127.0.0.1:7373")).await?;
//! for member in client.members().await? {
//!     println!("{} {}", member.name, member.status);
//! }
//! client.user_event(&UserEventSpec::new("deploy", "v2").coalesce(true)).await?;
//! # Ok(())
//! # }
//! ```

mod api;
mod connection;
mod error;
mod stream;

pub use api::{Client, Config, KeyResult, MemberFilter};
pub use error::Error;
pub use stream::{EventRecord, EventStream, LogStream, QueryEvent, QueryStream};

pub use crate::{
    base::Secret,
    rpc::protocol::{
        Blob, Coordinate, KeyResponse, Member, MemberEventRecord, Query, QueryEventRecord, Stats,
        Text, UserEventRecord,
    },
    serf::{OldEvents, Prune},
};
