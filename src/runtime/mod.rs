//! What a node needs from its runtime, behind one small trait.
//!
//! [`TokioRuntime`] and [`SmolRuntime`] come with the features of their names. async-std is not
//! supported: it is discontinued in favour of smol. For another runtime implement [`Runtime`] and
//! pass it to [`Builder::runtime`](crate::Builder::runtime).
//!
//! Files are not part of the trait: a thread of the node writes them, since no system has
//! non-blocking files.

mod blocking;
mod current;
#[cfg(any(feature = "smol", feature = "tokio"))]
mod options;
#[cfg(feature = "smol")]
mod smol;
#[cfg(feature = "smol")]
mod smol_stream;
mod timing;
#[cfg(feature = "tokio")]
mod tokio;
mod traits;

pub(crate) use blocking::blocking;
pub(crate) use current::current;
#[cfg(feature = "smol")]
pub use smol::SmolRuntime;
pub(crate) use timing::{now, sleep, timeout_at, yield_now};
#[cfg(feature = "tokio")]
pub use tokio::TokioRuntime;
pub use traits::{Connecting, Connection, Datagrams, Listener, NetStream, Runtime, Task, Timer};
