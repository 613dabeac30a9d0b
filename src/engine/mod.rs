//! The node as a plain value, for event loops other than tokio and for targets without sockets.
//!
//! An [`Engine`] does no input or output, has no clock and starts no tasks. Its owner passes in
//! packets, stream events and the time; the engine returns packets, streams to open, and events.
//!
//! This module also contains the types that programs use without naming them: those of the fields
//! of [`Config`] and of events, and the encodings of Serf's messages ([`TransformDelegate`]).
//!
//! # Order of calls
//!
//! 1. [`Engine::new`] with a [`Config`] and the [`Machine`] it runs on: the address to announce, 32
//!    random bytes (equal seeds make equal nodes), and the snapshot of an earlier run.
//! 2. Each input: [`Engine::handle_packet`] for a datagram, and after one or a batch of them
//!    [`Engine::handle_queued`], which handles the messages that wait behind pings;
//!    [`Engine::handle_stream`]; [`Engine::handle_timeout`] at the time of
//!    [`Engine::poll_timeout`]; or a call such as [`Engine::user_event`].
//! 3. After each input: [`Engine::poll_output`] until it returns `None`, then
//!    [`Engine::poll_timeout`] for the time of the next call. Both may have changed.
//!
//! `now` is the time at which the input happened: an [`Instant`] since an origin of the owner's
//! choice, such as its start. It must not decrease. If the owner was late, because its thread did
//! not run, it calls [`Engine::note_lateness`] before the timeout: its own lateness must not look
//! like a failure of other nodes.
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
//! [`StreamInput::Failed`] ends a stream at any time: on a refused connection, an early end, or the
//! deadline. Bytes that cannot be decoded are reported as [`StreamInput::Broken`]. The owner limits
//! the number of open streams.
//!
//! # Example
//!
//! Two nodes in memory: b joins a, and each probes the other for ten seconds.
//!
//! ```
//! use std::{net::SocketAddr, time::Duration};
//! use ruserf::{
//!     Config,
//!     engine::{
//!         Engine, Instant, Machine, OldEvents, Output, Rng, Role, StreamDecoder, StreamInput,
//!         SwimOutput,
//!     },
//! };
//!
//! fn address(number: u8) -> SocketAddr {
//!     SocketAddr::from(([127, 0, 0, number], 7946))
//! }
//!
//! fn node(name: &str, number: u8) -> Engine {
//!     let machine = Machine::new(address(number), [number; 32]);
//!     Engine::new(Config::lan(name), machine, Instant::ZERO).expect("a valid configuration")
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
//!     let addr = address(me as u8 + 1);
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
//!                             from.handle_packet(now, address(2 - me as u8), &data);
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
//! let seed = "127.0.0.1:7946".to_owned();
//! nodes[1].start_join(now, &[seed], OldEvents::Ignore).expect("it is alive");
//! while now < Instant::ZERO + Duration::from_secs(10) {
//!     while pump(now, &mut nodes, 0) | pump(now, &mut nodes, 1) {}
//!     let next = nodes.iter().filter_map(Engine::poll_timeout).min().expect("there are timers");
//!     now = next.max(now);
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

pub(crate) mod config;
pub(crate) mod counters;
mod start;

#[cfg(feature = "payload")]
pub use crate::serf::{from_payload, to_payload};
pub use crate::{
    base::{Instant, Rng},
    serf::{
        Broadcast, Completion, Engine, Error, Event, EventName, KeyOp, LamportTime, LpeTransform,
        MsgpackTransform, OldEvents, Output, Oversize, Prune, Query, QueryId, SnapshotOp, TagsIter,
        TransformDelegate, TransformError, UnknownStatus, message,
    },
    swim::{Cidr, OpId, Output as SwimOutput, StreamId, StreamInput},
    wire::{Role, StreamCodec, StreamDecoder, StreamError, StreamMessage, Vsn},
};
pub(crate) use config::Config;
pub use config::{Limits, Timing};
pub(crate) use counters::Counters;
pub use start::Machine;
