//! A wire-compatible, drop-in implementation of HashiCorp Serf.
//!
//! Serf keeps a list of who is in a cluster, on every node, without a server: nodes gossip. Each
//! node finds out within seconds who joined, left or failed, can tell all others something (a
//! *user event*) and can ask them something (a *query*). Go's Serf is the reference: a node of
//! this crate joins a cluster of Go nodes (Serf agents; below that level Consul and Nomad), and
//! the Go nodes cannot distinguish it from their own.
//!
//! The crate is a library for programs that want to be a member themselves, and the program
//! `serf` (feature `agent`), for those that would rather talk to an agent beside them.
//!
//! # A first cluster
//!
//! ```toml
//! [dependencies]
//! ruserf = { version = "0.2", default-features = false, features = ["tokio"] }
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```
//!
//! [`Serf`] is a running node. The handle is cheap to clone and every method takes `&self`;
//! when the last clone is dropped, the node stops.
//!
//! ```
//! use ruserf::{Config, Serf};
//!
//! #[tokio::main]
//! async fn main() -> ruserf::Result<()> {
//!     let mut nodes = Vec::new();
//!     for name in ["a", "b"] {
//!         // `lan`, `wan` and `local` are Go's presets; the default address is 0.0.0.0:7946. Port
//!         // 0 takes any free one, for UDP and TCP alike.
//!         nodes.push(Serf::builder(Config::local(name)).bind("127.0.0.1:0").start().await?);
//!     }
//!     let (a, b) = (&nodes[0], &nodes[1]);
//!
//!     // One address that answers is enough: it informs the others.
//!     b.join([a.addresses().advertised.to_string()]).await?;
//!     let mut changes = a.watch_members();
//!     while a.members().await.len() < 2 {
//!         changes.changed().await;
//!     }
//!     let names: Vec<_> = a.members().await.iter().map(|m| m.name.to_string()).collect();
//!     assert_eq!(names, ["a", "b"]);
//!
//!     // To leave is polite; to shut down without it looks like a crash to the others.
//!     b.leave_and_shutdown().await
//! }
//! ```
//!
//! # Events
//!
//! [`Serf::events`] gives each subscriber a bounded queue of its own, as a stream. The protocol
//! never waits for one: a subscriber that is too slow loses events, and [`Event::Lagged`] reports
//! how many. Subscribe at the [`Builder`] to miss nothing. `subscribe`, here and at the builder,
//! takes the length of the queue and a policy: which events a full queue loses.
//!
//! ```
//! use ruserf::{Config, Event, Serf};
//! # #[tokio::main]
//! # async fn main() -> ruserf::Result<()> {
//! # let builder = Serf::builder(Config::local("a")).bind("127.0.0.1:0");
//! let mut events = builder.events();
//! let serf = builder.start().await?;
//! serf.user_event("deploy", "v2").await?;
//! while let Some(event) = events.recv().await {
//!     match event {
//!         Event::Member(change) => println!("{}: {} members", change.kind, change.members.len()),
//!         // Ours come back, too: at most once on each node, in no order that nodes agree on.
//!         Event::User(event) => {
//!             assert_eq!((&*event.name, &*event.payload), ("deploy", &b"v2"[..]));
//!             break;
//!         }
//!         Event::Query(query) => query.respond("an answer").await?,
//!         Event::Lagged(count) => println!("{count} events were lost"),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Queries
//!
//! A query goes to all members, or to those that filters name. [`QueryHandle`]
//! yields acks and answers as they come, and at the deadline a summary of who has said nothing.
//!
//! ```
//! use std::time::Duration;
//! use ruserf::{Config, QueryParams, QueryUpdate, Serf};
//! # #[tokio::main]
//! # async fn main() -> ruserf::Result<()> {
//! # let serf = Serf::builder(Config::local("a")).bind("127.0.0.1:0").start().await?;
//! // Only where a tag matches: .filter_tag("role", "^web"); only this node: .filter_node("b")
//! let params = QueryParams::default().request_ack(true).timeout(Duration::from_secs(1));
//! let mut query = serf.query("uptime", "", params).await?;
//! while let Some(update) = query.recv().await {
//!     match update {
//!         QueryUpdate::Ack { from } => println!("{from} has the query"),
//!         QueryUpdate::Response { from, payload } => println!("{from}: {payload:?}"),
//!         QueryUpdate::Finished { missing } => assert!(missing.is_empty(), "{missing:?}"),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Typed payloads
//!
//! Payloads are bytes. With the feature `payload` they can also be values of serde types, as
//! MessagePack that other languages read.
//!
//! ```
//! # #[cfg(not(feature = "payload"))]
//! # fn main() {}
//! # #[cfg(feature = "payload")]
//! # mod example {
//! use ruserf::{Config, Event, QueryParams, Serf};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Load {
//!     percent: u8,
//! }
//!
//! # pub async fn run() -> ruserf::Result<()> {
//! # let serf = Serf::builder(Config::local("a")).bind("127.0.0.1:0").start().await?;
//! let mut events = serf.events();
//! serf.send("load", &Load { percent: 5 }).await?; // an event
//! let mut answers = serf.ask("load", &"now", QueryParams::default()).await?; // a query
//! while let Some(event) = events.recv().await {
//!     match event {
//!         Event::User(event) => assert_eq!(event.payload::<Load>()?.percent, 5),
//!         Event::Query(query) => {
//!             assert_eq!(query.payload::<&str>()?, "now");
//!             query.respond_with(&Load { percent: 7 }).await?;
//!             break;
//!         }
//!         _ => {}
//!     }
//! }
//! let answer = answers.response().await.expect("an answer");
//! assert_eq!(answer.payload::<Load>()?.percent, 7);
//! # Ok(())
//! # }
//! # }
//! # #[cfg(feature = "payload")]
//! # #[tokio::main]
//! # async fn main() -> ruserf::Result<()> {
//! #     example::run().await
//! # }
//! ```
//!
//! # Tags
//!
//! Tags are what a member says about itself: its role, its version, the address of its service.
//! Everybody sees them in [`Member::tags`]. Names and values together have 512 bytes.
//!
//! ```
//! use ruserf::{Config, Serf};
//! # #[tokio::main]
//! # async fn main() -> ruserf::Result<()> {
//! let config = Config::local("a").tag("role", "web");
//! # let serf = Serf::builder(config).bind("127.0.0.1:0").start().await?;
//! // Later: changes some of them.
//! serf.update_tags(|tags| drop(tags.insert("role".into(), "db".into()))).await?;
//! assert_eq!(serf.local_member().await.tag("role"), Some("db"));
//! let stores = serf.members_where(|member| member.is_alive() && member.tag("role") == Some("db"));
//! for member in stores.await {
//!     println!("{} at {:?}", member.name, member.addr());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Keys
//!
//! With a [`Keyring`] everything between nodes is sealed with AES-GCM, and what is
//! not sealed with one of its keys is dropped. Any number of keys opens, the first one seals;
//! [`KeyManager`] changes them in the running cluster: install the new key,
//! use it, remove the old one.
//!
//! ```
//! use ruserf::{Config, Keyring, Serf};
//! # #[tokio::main]
//! # async fn main() -> ruserf::Result<()> {
//! let first = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="; // 16, 24 or 32 random bytes
//! let config = Config::local("a").keyring(Keyring::from_base64([first])?);
//! # let serf = Serf::builder(config).bind("127.0.0.1:0").start().await?;
//! let keys = serf.key_manager();
//! let new = "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=";
//! // Installed, used, and the old ones removed: each step only once every node has done the last.
//! let listed = keys.rotate(new).await?;
//! assert_eq!(listed.primary_keys[new], 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Delegates
//!
//! [`Delegates`] are asked before something happens: who may join
//! ([`MergeDelegate`], [`AliveDelegate`]), how long a lost
//! member is kept ([`ReconnectDelegate`]). [`ConflictDelegate`] is called when two nodes claim one
//! name. [`CompositeDelegate`]
//! makes one of several. They run on the node's own task, so they must be quick.
//!
//! ```
//! use ruserf::{AliveDelegate, Config, Member};
//!
//! struct SameZone;
//!
//! impl AliveDelegate for SameZone {
//!     fn check_alive(&self, member: &Member) -> Result<(), String> {
//!         match member.tag("zone") {
//!             Some("north") => Ok(()),
//!             zone => Err(format!("{} is in zone {zone:?}", member.name)),
//!         }
//!     }
//! }
//!
//! // It is asked about ourselves, too.
//! let config = Config::lan("a").tag("zone", "north").alive_delegate(SameZone);
//! ```
//!
//! A [`TransformDelegate`](engine::TransformDelegate) changes how Serf's messages are encoded, for
//! clusters without Go: [`LpeTransform`](engine::LpeTransform) is smaller than Go's MessagePack.
//!
//! # Testing your own logic
//!
//! Feature `sim`: `sim::Cluster` runs the same engines on a virtual network with a virtual
//! clock. Minutes pass in a moment, faults come when the test wants them, and a seed repeats a run
//! exactly.
//!
//! ```
//! # #[cfg(not(feature = "sim"))]
//! # fn main() {}
//! # #[cfg(feature = "sim")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use ruserf::{Config, MemberStatus, sim::Cluster};
//!
//! let mut cluster = Cluster::new(42);
//! let (a, b) = (cluster.add_node(Config::lan("a"))?, cluster.add_node(Config::lan("b"))?);
//! cluster.join(b, &[a])?;
//! assert!(cluster.run_until(Duration::from_secs(10), Cluster::agrees));
//! cluster.crash(b);
//! cluster.run_for(Duration::from_secs(60));
//! assert_eq!(cluster.status(a, "b"), Some(MemberStatus::Failed));
//! # Ok(())
//! # }
//! ```
//!
//! Code that awaits a [`Serf`] itself is tested on real nodes: with [`Config::local`] and
//! `bind("127.0.0.1:0")` they start within milliseconds.
//!
//! # All calls
//!
//! | to | call |
//! |---|---|
//! | join; and hear earlier events, too | [`Serf::join`]; [`Serf::join_with_replay`] |
//! | see members | [`Serf::members`], [`Serf::members_where`], [`Serf::member`], [`Serf::local_member`], [`Serf::watch_members`] |
//! | hear events; with a queue of another size | [`Serf::events`]; [`Serf::subscribe`] |
//! | send an event; coalesced; a value; many | [`Serf::user_event`]; [`Serf::send_event`]; `Serf::send`; [`Serf::user_events`] |
//! | ask; a value | [`Serf::query`]; `Serf::ask` |
//! | answer; a value | [`Query::respond`]; `Query::respond_with` |
//! | change some tags; all | [`Serf::update_tags`]; [`Serf::set_tags`] |
//! | change keys | [`Serf::key_manager`]: [`KeyManager::rotate`], `install`, `use_key`, `remove`, `list` |
//! | remove a failed member; and forget it | [`Serf::force_leave`]; [`Serf::force_leave_and_prune`] |
//! | find out about this node | [`Serf::addresses`], [`Serf::state`], [`Serf::counters`], [`Serf::stats`], [`Serf::encryption_enabled`] |
//! | estimate a round trip time | [`Serf::coordinate`], [`Coordinate::distance_to`] |
//! | end politely; at once; notice the end | [`Serf::leave_and_shutdown`]; [`Serf::shutdown`]; [`Serf::stopped`] |
//!
//! [`EventStream`], [`MemberWatch`] and [`QueryHandle`] are `Stream`s of the crate futures-core;
//! their own methods (`recv`, `changed`, `response`) need no other crate.
//!
//! # What to expect
//!
//! - **Errors** say who is to blame: [`Error`] lists what is the caller's fault (`TooLarge`), what
//!   came at the wrong time (`AlreadyAnswered`, `Shutdown`), what others did not do (`Join`,
//!   `Keys`), and what the environment did (`Io`). What peers do wrong is dropped, counted
//!   ([`Serf::counters`]) and logged, and never an error of a call.
//! - **Dropped futures** lose their result and nothing else: what was started goes on. A future
//!   that was never polled has started nothing. Receiving methods (`recv`, `changed`) lose nothing
//!   at all.
//! - **Events and queries** are gossip: quick and almost always complete, but not certain. State
//!   that must arrive belongs into tags, which are repeated until they have.
//! - **Logs** go to [`tracing`], under Go's targets `serf` and `memberlist`.
//!
//! # Limits
//!
//! | what | most |
//! |---|---|
//! | node name | 255 bytes without control characters |
//! | tags of a member | 512 bytes, encoded |
//! | user event | 512 bytes of name and payload; `limits.user_event_size`, up to 9216 encoded |
//! | query, answer | 1024 bytes each, encoded; `limits.query_size`, `limits.query_response_size` |
//! | events that wait for a subscriber | 4096; [`Subscribe::capacity`] |
//! | members | not limited; 10,000 are simulated regularly |
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `agent` (default) | the program `serf` and its RPC server; brings the next four |
//! | `agent-tls` (default) | TLS for the agent's RPC and HTTP; brings `agent` and `tls` |
//! | `tokio` | a node, [`Serf`], over the runtime tokio |
//! | `client` | `client`: for the RPC of an agent, Go's or ours; without the agent |
//! | `metrics` | counters and timings under Go's names, for any recorder of the `metrics` crate |
//! | `serde` | serializable members and events |
//! | `smol` | a node over the runtime smol |
//! | `driver` | a node over a [runtime](runtime::Runtime) of your own; `tokio` and `smol` bring it |
//! | `payload` | typed payloads: values of serde types, as MessagePack that other languages read |
//! | `sim` | the virtual network, and the check for transforms |
//! | `tls` | `transport::TlsTransport`: streams under TLS, with rustls; `client::Tls` |
//! | `quic` | `transport::QuicTransport`: everything over QUIC, with quinn; brings `tls` |
//! | `lz4` | `Compression::Lz4`, for clusters of Rust nodes |
//! | `ring` | AES-GCM by ring's assembly; its key schedules are not wiped |
//! | `memberlist` | `transport::MemberlistTransport`: the transports of the crate memberlist |
//!
//! Go nodes speak plain UDP and TCP, the default; the rest is for clusters of Rust nodes.
//! A transport is given to [`Builder::start_on`].
//!
//! Libraries take `default-features = false` and `tokio` or `smol`. With both features a node lives
//! in tokio if it is started there, and otherwise in smol. The channels of the node are those of
//! the crate tokio either way, which need no runtime; with neither feature there is no tokio in the
//! tree. There is no async-std, which is discontinued, and no native-tls, since rustls serves
//! everywhere.
//!
//! Without a runtime, or where there are no sockets (wasm32), [`engine`] has the node as a plain
//! value: it is fed packets and the time, and gives packets and events.
//!
//! Names of nodes are strings and addresses are [`SocketAddr`](std::net::SocketAddr)s, not type
//! parameters: Go's messages have texts and IP addresses there, so no other type could be sent.

// Items used only by the agent, which needs Unix.
#![cfg_attr(all(feature = "agent", not(unix)), allow(dead_code, unused_imports))]
#![warn(missing_debug_implementations)]

// Hidden modules may change at any time: they are public only for this repository's tests and
// benchmarks.
#[doc(hidden)]
pub mod base;
#[doc(hidden)]
pub mod msgpack;
#[doc(hidden)]
pub mod serf;
#[doc(hidden)]
#[allow(missing_debug_implementations)]
pub mod swim;
#[doc(hidden)]
#[allow(missing_debug_implementations)]
pub mod wire;

pub mod engine;

#[cfg(all(feature = "driver", not(target_family = "wasm")))]
#[doc(hidden)]
pub mod driver;
#[cfg(all(feature = "driver", not(target_family = "wasm")))]
pub mod runtime;
#[cfg(all(feature = "driver", not(target_family = "wasm")))]
pub mod transport;

#[cfg(feature = "sim")]
#[allow(missing_debug_implementations)] // hidden types
pub mod sim;

#[cfg(all(feature = "client", not(target_family = "wasm")))]
pub mod client;
#[cfg(all(feature = "client", not(target_family = "wasm")))]
#[doc(hidden)]
pub mod rpc;

#[cfg(all(feature = "agent", unix))]
#[doc(hidden)]
#[allow(missing_debug_implementations)]
pub mod agent;
#[cfg(all(feature = "agent", unix))]
#[doc(hidden)]
#[allow(missing_debug_implementations)]
pub mod cli;

#[cfg(all(feature = "driver", feature = "metrics", not(target_family = "wasm")))]
pub use driver::describe_metrics;
#[cfg(all(feature = "driver", not(target_family = "wasm")))]
pub use driver::{
    Addresses, Builder, Error, Event, EventStream, KeyFailure, KeyManager, KeyringFileError,
    LagPolicy, MemberWatch, Query, QueryHandle, Response, Serf, StopReason, Subscribe,
};
pub use engine::{config::Config, counters::Counters};
#[cfg(feature = "payload")]
pub use serf::PayloadError;
pub use serf::{
    AliveDelegate, CompositeDelegate, ConflictDelegate, Coordinate, Delegates, KeyRefusal,
    KeyResponse, Member, MemberEvent, MemberEventKind, MemberStatus, MergeDelegate, QueryParams,
    QueryUpdate, ReconnectDelegate, SerfState, Tags, UserEvent, UserEventSpec,
};
pub use swim::{ConfigError, JoinFailure};
pub use wire::{Compression, Keyring, KeyringError};

/// Compiles the example in the README.
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// A result whose error is [`Error`] by default.
#[cfg(all(feature = "driver", not(target_family = "wasm")))]
pub type Result<T, E = Error> = std::result::Result<T, E>;
