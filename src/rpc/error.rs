//! Errors of the RPC layer.

use crate::base::error_texts;
use crate::msgpack;

/// Why an RPC connection cannot continue.
#[derive(Debug)]
#[non_exhaustive]
pub enum RpcError {
    /// The peer sent bytes that are not a value of the protocol.
    Decode(msgpack::Error),
    /// The peer sent a value larger than the limit.
    TooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// The connection ended inside a value.
    Truncated,
    /// The socket failed.
    Io(std::io::Error),
}

error_texts! {
    RpcError {
        Self::Decode(error) => "decode failed: {error}";
        Self::TooLarge { max } => "message exceeds {max} bytes";
        Self::Truncated => "unexpected EOF";
        Self::Io(error) => "{error}";
    }
}

impl RpcError {
    /// The same error in a longer input, which has `before` more bytes in front.
    #[cfg(feature = "agent")]
    pub(crate) fn after(self, before: usize) -> Self {
        match self {
            Self::Decode(error) => Self::Decode(error.after(before)),
            Self::TooLarge { .. } | Self::Truncated | Self::Io(_) => self,
        }
    }
}

impl std::error::Error for RpcError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Decode(error) => Some(error),
            Self::Io(error) => Some(error),
            Self::TooLarge { .. } | Self::Truncated => None,
        }
    }
}

impl From<msgpack::Error> for RpcError {
    fn from(error: msgpack::Error) -> Self {
        Self::Decode(error)
    }
}

impl From<std::io::Error> for RpcError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}
