//! A wire-compatible, drop-in implementation of HashiCorp Serf.
//!
//! Serf keeps a list of who is in a cluster, on every node, without a server: nodes gossip. Each
//! node finds out within seconds who joined, left or failed, can tell all others something (a
//! *user event*) and can ask them something (a *query*). Go's Serf is the reference: a node of
//! this crate joins a cluster of Go nodes (Serf agents; below that level Consul and Nomad), and
//! the Go nodes cannot tell it from their own.
//!
//! The crate is a library for programs that want to be a member themselves, and the program
//! `serf` (feature `agent`), for those that would rather talk to an agent beside them.
//!
//! # A first cluster
//!
//! [`driver::Serf`] is a running node. The handle is cheap to clone and every method takes `&self`;
//! when the last clone is dropped, the node stops.
//!
//! ```
//! use ruserf::{driver::Serf, serf::Config};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let mut nodes = Vec::new();
//!     for name in ["a", "b"] {
//!         // `lan`, `wan` and `local` are Go's presets. All fields are public.
//!         let mut builder = Serf::builder(Config::local(name));
//!         // The default is 0.0.0.0:7946; port 0 takes any free one, for UDP and TCP alike.
//!         builder.bind = ([127, 0, 0, 1], 0).into();
//!         nodes.push(builder.start().await?);
//!     }
//!     let (a, b) = (&nodes[0], &nodes[1]);
//!
//!     // One address that answers is enough: the others are told by it.
//!     b.join(&[a.addresses().0.to_string()], false).await?;
//!     let mut changes = a.watch_members();
//!     while a.members().await.len() < 2 {
//!         changes.changed().await;
//!     }
//!     let names: Vec<_> = a.members().await.iter().map(|m| m.name.to_string()).collect();
//!     assert_eq!(names, ["a", "b"]);
//!
//!     // To leave is polite; to shut down without it looks like a crash to the others.
//!     b.leave().await?;
//!     b.shutdown().await;
//!     Ok(())
//! }
//! ```
//!
//! # Events
//!
//! [`subscribe`](driver::Serf::subscribe) gives an own, bounded queue to each subscriber. The
//! protocol never waits for one: a subscriber that sleeps loses events, and is told how many by
//! [`Event::Lagged`](serf::Event::Lagged). Subscribe at the [`Builder`](driver::Builder) to miss
//! nothing.
//!
//! ```
//! use ruserf::{driver::{Serf, Subscribe}, serf::{Config, Event}};
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let mut builder = Serf::builder(Config::local("a"));
//! # builder.bind = ([127, 0, 0, 1], 0).into();
//! let mut events = builder.subscribe(Subscribe::default());
//! let serf = builder.start().await?;
//! serf.user_event("deploy", "v2", false).await?;
//! while let Some(event) = events.recv().await {
//!     match event {
//!         Event::Member(change) => println!("{}: {} members", change.kind, change.members.len()),
//!         // Ours come back, too: at most once on each node, in no order that nodes agree on.
//!         Event::User(event) => {
//!             assert_eq!((&*event.name, &*event.payload), ("deploy", &b"v2"[..]));
//!             break;
//!         }
//!         Event::Query(query) => serf.respond(&query, "an answer").await?,
//!         Event::Lagged(count) => println!("{count} events were lost"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Queries
//!
//! A query goes to all members, or to those that filters name. [`QueryHandle`](driver::QueryHandle)
//! yields acks and answers as they come, and at the deadline a summary of who has said nothing.
//!
//! ```
//! use std::time::Duration;
//! use ruserf::{driver::Serf, serf::{Config, QueryParams, QueryUpdate}};
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let mut builder = Serf::builder(Config::local("a"));
//! # builder.bind = ([127, 0, 0, 1], 0).into();
//! # let serf = builder.start().await?;
//! let mut params = QueryParams::default();
//! params.request_ack = true;
//! params.timeout = Duration::from_secs(1);
//! // Only where the tag matches: params.filter_tags.insert("role".into(), "^web".into());
//! let mut query = serf.query("uptime", "", params).await?;
//! while let Some(update) = query.recv().await {
//!     match update {
//!         QueryUpdate::Ack { from } => println!("{from} has the query"),
//!         QueryUpdate::Response { from, payload } => println!("{from}: {payload:?}"),
//!         QueryUpdate::Finished { missing } => assert!(missing.is_empty(), "{missing:?}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Tags
//!
//! Tags are what a member says about itself: its role, its version, the address of its service.
//! Everybody sees them in [`Member::tags`](serf::Member). Names and values together have 512 bytes.
//!
//! ```
//! use std::collections::BTreeMap;
//! use ruserf::{driver::Serf, serf::Config};
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = Config::local("a");
//! config.tags.insert("role".into(), "web".into());
//! # let mut builder = Serf::builder(config);
//! # builder.bind = ([127, 0, 0, 1], 0).into();
//! # let serf = builder.start().await?;
//! // Later: replaces all of them.
//! serf.set_tags(BTreeMap::from([("role".into(), "db".into())])).await?;
//! assert_eq!(serf.local_member().await.tags.get("role"), Some("db"));
//! # Ok(())
//! # }
//! ```
//!
//! # Keys
//!
//! With a [`Keyring`](wire::Keyring) everything between nodes is sealed with AES-GCM, and what is
//! not sealed with one of its keys is dropped. Any number of keys opens, the first one seals;
//! [`KeyManager`](driver::KeyManager) changes them in the running cluster: install the new key,
//! use it, remove the old one.
//!
//! ```
//! use ruserf::{driver::Serf, serf::Config, wire::Keyring};
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = Config::local("a");
//! config.swim.codec.keyring = Keyring::build(&[], &[7; 32])?; // 16, 24 or 32 random bytes
//! # let mut builder = Serf::builder(config);
//! # builder.bind = ([127, 0, 0, 1], 0).into();
//! # let serf = builder.start().await?;
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
//! [`Delegates`](serf::Delegates) are asked before something happens: who may join
//! ([`MergeDelegate`](serf::MergeDelegate), [`AliveDelegate`](serf::AliveDelegate)), how long a lost
//! member is kept ([`ReconnectDelegate`](serf::ReconnectDelegate)); and told of two nodes with one
//! name ([`ConflictDelegate`](serf::ConflictDelegate)). [`CompositeDelegate`](serf::CompositeDelegate)
//! makes one of several. They run on the node's own task, so they must be quick.
//!
//! ```
//! use std::sync::Arc;
//! use ruserf::serf::{AliveDelegate, Config, Member};
//!
//! struct SameZone;
//!
//! impl AliveDelegate for SameZone {
//!     fn check_alive(&self, member: &Member) -> Result<(), String> {
//!         match member.tags.get("zone") {
//!             Some("north") => Ok(()),
//!             zone => Err(format!("{} is in zone {zone:?}", member.name)),
//!         }
//!     }
//! }
//!
//! let mut config = Config::lan("a");
//! // It is asked about ourselves, too.
//! config.tags.insert("zone".into(), "north".into());
//! config.delegates.alive = Some(Arc::new(SameZone));
//! ```
//!
//! A [`TransformDelegate`](serf::TransformDelegate) changes how Serf's messages are encoded, for
//! clusters without Go: [`LpeTransform`](serf::LpeTransform) is smaller than Go's MessagePack.
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
//! use ruserf::{serf::{Config, MemberStatus}, sim::Cluster};
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
//! - **Errors** say who is to blame: [`driver::Error`] is the caller's ([`serf::Error`]), the
//!   environment's (`Io`) or nobody's (`Shutdown`). What peers do wrong is dropped, counted
//!   ([`counters`](driver::Serf::counters)) and logged, and never an error of a call.
//! - **Dropped futures** lose their result and nothing else: what was begun goes on. A future that
//!   was never polled has begun nothing. Receiving methods (`recv`, `changed`) lose nothing at all.
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
//! | user event | 512 bytes of name and payload; `user_event_size_limit`, up to 9216 encoded |
//! | query, answer | 1024 bytes each, encoded; `query_size_limit`, `query_response_size_limit` |
//! | events that wait for a subscriber | 4096; [`Subscribe::capacity`](driver::Subscribe) |
//! | members | not limited; 10,000 are simulated regularly |
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `agent` (default) | the program `serf`, its RPC server and a `client` for it; brings the next two |
//! | `metrics` | counters and timings under Go's names, for any recorder of the `metrics` crate |
//! | `serde` | serializable members and events |
//! | `sim` | the virtual network, and the check for transforms |
//! | `tls` | `transport::TlsTransport`: streams under TLS, with rustls |
//! | `quic` | `transport::QuicTransport`: everything over QUIC, with quinn; brings `tls` |
//! | `lz4` | `wire::Compression::Lz4`, for clusters of Rust nodes |
//! | `memberlist` | `transport::MemberlistTransport`: the transports of the crate memberlist, on tokio or smol |
//!
//! Go nodes speak plain UDP and TCP, the default; the rest is for clusters of Rust nodes.
//! A transport is given to [`Builder::start_on`](driver::Builder::start_on).
//!
//! Libraries take `default-features = false`. Without tokio, or where there are no sockets (wasm32),
//! [`serf::Engine`] is the node as a plain value: it is fed packets and the time, and gives
//! packets and events.
//!
//! # Layers
//!
//! [`base`], [`msgpack`] → [`wire`] → [`swim`] → [`serf`] → [`transport`], [`driver`] → the agent.
//! The first five are free of input and output. Most programs need [`driver`] and the types of
//! [`serf`].

pub mod base;
pub mod msgpack;

pub mod serf;
pub mod swim;
pub mod wire;

#[cfg(not(target_family = "wasm"))]
pub mod driver;
#[cfg(not(target_family = "wasm"))]
pub mod transport;

#[cfg(all(feature = "sim", not(target_family = "wasm")))]
pub mod sim;

#[cfg(all(feature = "agent", not(target_family = "wasm")))]
pub mod agent;
#[cfg(all(feature = "agent", not(target_family = "wasm")))]
pub mod cli;
#[cfg(all(feature = "agent", not(target_family = "wasm")))]
pub mod client;
#[cfg(all(feature = "agent", not(target_family = "wasm")))]
pub mod rpc;
