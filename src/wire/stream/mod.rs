//! One TCP exchange: framing, encryption, compression, and the three requests it can carry.

mod codec;
mod decoder;
mod message;
mod stage;

pub use codec::{Role, StreamCodec};
pub use decoder::{Decoded, StreamDecoder};
#[cfg(feature = "sim")]
pub use message::SharedRows;
pub use message::{PushPull, PushPullBuilder, StreamError, StreamMessage, StreamPart};
