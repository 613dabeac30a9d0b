//! Errors of the RPC layer.

use crate::msgpack;

/// Why an RPC connection cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RpcError {
    /// The peer sent something that is no value of the protocol.
    #[error("decode failed: {0}")]
    Decode(#[from] msgpack::Error),
    /// The peer sent a value larger than the limit.
    #[error("message exceeds {max} bytes")]
    TooLarge {
        /// The limit.
        max: usize,
    },
    /// The connection ended in the middle of a value.
    #[error("unexpected EOF")]
    Truncated,
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}
