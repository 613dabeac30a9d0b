//! A wire-compatible, drop-in implementation of HashiCorp Serf.
//!
//! Serf maintains the list of a cluster's members on every node, without a server: nodes gossip.
//! Each node learns within seconds which nodes joined, left or failed, can broadcast messages
//! (*user events*) and can ask other nodes (*queries*). Go's Serf is the reference: a node of this
//! crate joins a cluster of Go nodes (Serf agents; below that level Consul and Nomad), and the Go
//! nodes cannot distinguish it from their own.
//!
//! The crate is a library for programs that become members themselves, and the program `serf`
//! (feature `agent`) for programs that use a local agent instead.
//!
//! # A first cluster
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
//!     // One address that answers is enough: gossip informs the others.
//!     b.join([a.addresses().advertised.to_string()]).await?;
//!     let mut changes = a.watch_members();
//!     while a.members().await.len() < 2 {
//!         changes.changed().await;
//!     }
//!     let names: Vec<_> = a.members().await.iter().map(|m| m.name.to_string()).collect();
//!     assert_eq!(names, ["a", "b"]);
//!
//!     // Without a leave, the shutdown looks like a failure to the other nodes.
//!     b.leave_and_shutdown().await
//! }
//! ```
//!
//! # Events
//!
//! [`Serf::events`] gives each subscriber a bounded queue of its own, as a stream. The protocol
//! never waits for a subscriber: a slow one loses events, and [`Event::Lagged`] reports how many.
//! Subscribe with the [`Builder`] to miss none.
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
//!         // Our own events are delivered, too: once on each node, without a common order.
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
//! A query is sent to all members, or to those that match its filters. [`QueryHandle`] returns acks
//! and answers as they arrive, and at the deadline the names of the nodes that sent neither.
//!
//! ```
//! use std::time::Duration;
//! use ruserf::{Config, QueryParams, QueryUpdate, Serf};
//! # #[tokio::main]
//! # async fn main() -> ruserf::Result<()> {
//! # let serf = Serf::builder(Config::local("a")).bind("127.0.0.1:0").start().await?;
//! // To ask only nodes whose tag matches: .filter_tag("role", "^web")
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
//! # Tags
//!
//! Tags are what a member announces about itself: its role, its version, the address of its
//! service. All members see them in [`Member::tags`]. Encoded names and values may have 512 bytes
//! together.
//!
//! ```
//! use ruserf::{Config, Serf};
//! # #[tokio::main]
//! # async fn main() -> ruserf::Result<()> {
//! let config = Config::local("a").tag("role", "web");
//! # let serf = Serf::builder(config).bind("127.0.0.1:0").start().await?;
//! // Tags can be changed later.
//! serf.update_tags(|tags| drop(tags.insert("role".into(), "db".into()))).await?;
//! assert_eq!(serf.local_member().await.tag("role"), Some("db"));
//! # Ok(())
//! # }
//! ```
//!
//! # Keys
//!
//! With a [`Keyring`] all traffic between nodes is encrypted with AES-GCM, and traffic that is not
//! encrypted with one of its keys is dropped. All keys can decrypt, the first one encrypts;
//! [`KeyManager`] changes them in the running cluster: install the new key, use it, remove the old
//! one.
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
//! // Installs and uses the key, then removes the old ones; each step waits for every node.
//! let listed = keys.rotate(new).await?;
//! assert_eq!(listed.primary_keys[new], 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Delegates
//!
//! [`Delegates`] are called before something happens: they decide which nodes may join
//! ([`MergeDelegate`], [`AliveDelegate`]) and how long a lost member is kept
//! ([`ReconnectDelegate`]). [`ConflictDelegate`] is called when two nodes claim one name.
//! [`CompositeDelegate`] combines several delegates. They run on the node's own task, so they must
//! be quick.
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
//! // It is also called for our own record.
//! let config = Config::lan("a").tag("zone", "north").alive_delegate(SameZone);
//! ```
//!
//! A [`TransformDelegate`](engine::TransformDelegate) changes how Serf's messages are encoded, for
//! clusters without Go: [`LpeTransform`](engine::LpeTransform) is smaller than Go's MessagePack.
//!
//! # Testing your own logic
//!
//! Feature `sim`: `sim::Cluster` runs the same engines on a virtual network with a virtual clock.
//! Simulated minutes take a moment, the test controls the faults, and a seed reproduces a run
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
//! # What to expect
//!
//! - **Errors** show who caused them: [`Error`] separates mistakes of the caller (`TooLarge`),
//!   calls at the wrong time (`AlreadyAnswered`, `Shutdown`), failures of other nodes (`Join`,
//!   `Keys`), and failures of the environment (`Io`). Invalid messages of peers are dropped,
//!   counted ([`Serf::counters`]) and logged, and never fail a call.
//! - **Dropped futures** lose only their result: the operation continues. A future that was never
//!   polled has started nothing. Receiving methods (`recv`, `changed`) lose nothing at all.
//! - **Events and queries** are gossiped: fast and almost always complete, but not guaranteed.
//!   State that must arrive belongs in tags, which are repeated until it has.
//! - **Logs** go to [`tracing`], with Go's targets `serf` and `memberlist`.
//!
//! # Limits
//!
//! | what | most |
//! |---|---|
//! | node name | 255 bytes without control characters |
//! | tags of a member | 512 bytes, encoded |
//! | user event | 512 bytes of name and payload; `user_event_size_limit`, up to 9216 encoded |
//! | query, answer | 1024 bytes each, encoded; `query_size_limit`, `query_response_size_limit` |
//! | events that wait for a subscriber | 4096; [`Subscribe::capacity`] |
//! | members | not limited; 10,000 are simulated regularly |
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `agent` (default) | the program `serf` and its RPC server; brings the next four |
//! | `tokio` | a node, [`Serf`], over the runtime tokio |
//! | `client` | `client`: for the RPC of an agent, Go's or ours; without the agent |
//! | `metrics` | counters and timings under Go's names, for any recorder of the `metrics` crate |
//! | `serde` | serializable members and events |
//! | `smol` | a node over the runtime smol |
//! | `driver` | a node over a [runtime](runtime::Runtime) of your own; `tokio` and `smol` bring it |
//! | `payload` | typed payloads: values of serde types, as MessagePack that other languages read |
//! | `sim` | the virtual network, and the check for transforms |
//! | `tls` | `transport::TlsTransport`: streams under TLS, with rustls |
//! | `quic` | `transport::QuicTransport`: everything over QUIC, with quinn; brings `tls` |
//! | `lz4` | `Compression::Lz4`, for clusters of Rust nodes |
//! | `ring` | AES-GCM by ring's assembly; its key schedules are not wiped |
//! | `memberlist` | `transport::MemberlistTransport`: the transports of the crate memberlist |
//!
//! Go nodes use plain UDP and TCP, the default; the other transports are for clusters of Rust
//! nodes. Pass a transport to [`Builder::start_on`].
//!
//! Libraries should use `default-features = false` and `tokio` or `smol`. With both features a node
//! runs in tokio if it is started there, and otherwise in smol. The node's channels are those of
//! the crate tokio in both cases, which need no runtime; with neither feature tokio is not a
//! dependency. async-std is not supported, as it is discontinued, nor is native-tls, since rustls
//! works on all platforms.
//!
//! Without a runtime, or without sockets (wasm32), [`engine`] provides the node as a plain value:
//! its owner passes in packets and the time, and gets packets and events back.
//!
//! Node names are strings and addresses are [`SocketAddr`](std::net::SocketAddr)s, not type
//! parameters: Go's messages contain text and IP addresses there, so no other type could be sent.

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
