//! The node as a plain value, for event loops other than tokio and for targets without sockets.
//!
//! An [`Engine`] does no input or output, has no clock and starts nothing. Its owner feeds it
//! packets, what happens on streams, and the time; it gives packets, streams to open, and events.
//!
//! # Order of calls
//!
//! 1. [`Engine::build`] with a [`Config`] whose [`SwimConfig::advertise_addr`], `advertise_port`,
//!    `bind_port` and `seed` are set: the seed is 32 random bytes, and equal seeds make equal nodes.
//! 2. Each input: [`Engine::handle_packet`] for a datagram, and after one or a batch of them
//!    [`Engine::handle_queued`], which handles what waits behind pings; [`Engine::handle_stream`];
//!    [`Engine::handle_timeout`] once the time of [`Engine::poll_timeout`] has come; or a call such
//!    as [`Engine::user_event`].
//! 3. After each input: [`Engine::poll_output`] until it gives `None`, then [`Engine::poll_timeout`]
//!    for the time of the next call. Both may have changed.
//!
//! `now` is an [`Instant`] since an origin of the owner's choice, such as its start, and must not
//! go back. It is the time at which the input happened. An owner that was late, because its thread
//! did not run, says so with [`Engine::note_lateness`] before the timeout: its own lateness must not
//! look like a failure of others.
//!
//! # Life of a stream
//!
//! | who | opened by us | accepted |
//! |---|---|---|
//! | begins | [`SwimOutput::Open`] gives id, address, message and deadline | [`Engine::accept_stream`] gives the id, [`StreamInput::Accepted`] |
//! | sends | the message, sealed by [`Engine::stream_codec`] as [`Role::Dialer`] | - |
//! | receives | if `reply`, one message by a [`StreamDecoder`] → [`StreamInput::Message`]; otherwise [`StreamInput::Sent`] | one message → [`StreamInput::Message`] |
//! | answers | - | [`SwimOutput::Reply`], sealed as [`Role::Acceptor`], then [`StreamInput::Sent`] |
//! | ends | after its input the id is unused; the owner closes | after the reply, or at [`SwimOutput::Close`] |
//!
//! At any moment [`StreamInput::Failed`] ends a stream: a refused connection, an early end, the
//! deadline. Bytes that make no message are [`StreamInput::Broken`]. How many streams are open at a
//! time is the owner's limit.
//!
//! # Example
//!
//! Two nodes in memory: b joins a, and each probes the other for ten seconds.
//!
//! ```
//! use std::{net::SocketAddr, time::Duration};
//! use ruserf::engine::{
//!     Config, Engine, Instant, Output, Rng, Role, StreamDecoder, StreamInput, SwimOutput,
//! };
//!
//! fn node(name: &str, number: u8) -> Engine {
//!     let mut config = Config::lan(name);
//!     config.swim.advertise_addr = vec![127, 0, 0, number];
//!     config.swim.seed = [number; 32];
//!     Engine::build(config, Instant::ZERO, None).expect("a valid configuration")
//! }
//!
//! /// A message over a connection: sealed at one end, read at the other.
//! fn carry(from: &Engine, to: &Engine, role: Role, message: &[u8]) -> StreamInput {
//!     let mut bytes = Vec::new();
//!     from.stream_codec().seal(&mut Rng::from_u64(7), role, message, &mut bytes);
//!     let reader = if role == Role::Dialer { Role::Acceptor } else { Role::Dialer };
//!     let mut decoder = StreamDecoder::new(to.stream_codec(), reader);
//!     StreamInput::Message(decoder.feed(&bytes).expect("our bytes").expect("all of them"))
//! }
//!
//! /// Does what one of the nodes wants; whether that was anything.
//! fn pump(now: Instant, nodes: &mut [Engine; 2], me: usize) -> bool {
//!     let [a, b] = nodes;
//!     let (from, to) = if me == 0 { (a, b) } else { (b, a) };
//!     let addr = SocketAddr::from(([127, 0, 0, me as u8 + 1], 7946));
//!     let mut busy = false;
//!     while let Some(output) = from.poll_output() {
//!         busy = true;
//!         match output {
//!             Output::Swim(SwimOutput::Packet { data, .. }) => {
//!                 to.handle_packet(now, addr, &data);
//!                 to.handle_queued(now);
//!             }
//!             Output::Swim(SwimOutput::Open { id, message, reply, .. }) => {
//!                 let accepted = to.accept_stream();
//!                 to.handle_stream(now, accepted, StreamInput::Accepted { from: addr });
//!                 let request = carry(from, to, Role::Dialer, &message);
//!                 to.handle_stream(now, accepted, request);
//!                 if !reply {
//!                     from.handle_stream(now, id, StreamInput::Sent);
//!                     continue;
//!                 }
//!                 // Packets may come before the answer.
//!                 while let Some(output) = to.poll_output() {
//!                     match output {
//!                         Output::Swim(SwimOutput::Reply { message, .. }) => {
//!                             let answer = carry(to, from, Role::Acceptor, &message);
//!                             to.handle_stream(now, accepted, StreamInput::Sent);
//!                             from.handle_stream(now, id, answer);
//!                         }
//!                         Output::Swim(SwimOutput::Packet { data, .. }) => {
//!                             let addr = SocketAddr::from(([127, 0, 0, 2 - me as u8], 7946));
//!                             from.handle_packet(now, addr, &data);
//!                         }
//!                         _ => {}
//!                     }
//!                 }
//!             }
//!             Output::Event(event) => println!("{event:?}"),
//!             _ => {}
//!         }
//!     }
//!     busy
//! }
//!
//! let mut nodes = [node("a", 1), node("b", 2)];
//! let mut now = Instant::ZERO;
//! nodes[1].start_join(now, &["127.0.0.1:7946".to_owned()], true).expect("it is alive");
//! while now < Instant::ZERO + Duration::from_secs(10) {
//!     while pump(now, &mut nodes, 0) | pump(now, &mut nodes, 1) {}
//!     now = nodes.iter().filter_map(Engine::poll_timeout).min().expect("there are timers").max(now);
//!     for node in &mut nodes {
//!         if node.poll_timeout().is_some_and(|at| at <= now) {
//!             node.handle_timeout(now);
//!         }
//!     }
//! }
//! for node in &nodes {
//!     assert_eq!(node.members().filter(|member| member.is_alive()).count(), 2);
//!     assert_eq!(node.health_score(), 0, "every probe was answered");
//! }
//! ```

#[cfg(feature = "payload")]
pub use crate::serf::{from_payload, to_payload};
pub use crate::{
    base::{Instant, Rng},
    serf::{
        Completion, Config, Engine, Error, Event, NameCounts, Output, Query, Sizes, SnapshotOp,
        Stats, message,
    },
    swim::{
        Config as SwimConfig, Error as SwimError, OpId, Output as SwimOutput, Stats as SwimStats,
        StreamId, StreamInput,
    },
    wire::{CodecConfig, Role, StreamCodec, StreamDecoder, StreamError, StreamMessage},
};
