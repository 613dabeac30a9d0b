//! Errors of the membership engine.

use crate::base::error_texts;

/// Why a call failed: a mistake of the caller or the configuration, or a refusal by a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is invalid.
    Config(ConfigError),
    /// An exchange with a peer failed; the text is Go's, for logs and operators.
    Peer(String),
}

error_texts! {
    Error {
        Self::Config(error) => "{error}";
        Self::Peer(text) => "{text}";
    }
}

impl std::error::Error for Error {}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

/// An invalid setting.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The protocol version does not exist.
    Protocol {
        /// The configured version.
        version: u8,
        /// The lowest version.
        min: u8,
        /// The highest version.
        max: u8,
    },
    /// The node name is invalid.
    InvalidName {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The label is longer than 255 bytes.
    LabelTooLong {
        /// The label.
        label: String,
    },
    /// The user event limit exceeds what a packet holds.
    UserEventLimit {
        /// The highest limit in bytes.
        max: usize,
    },
    /// There is no address to announce, or it is neither IPv4 nor IPv6.
    AdvertiseAddress,
    /// The meta data of the layer above are longer than 512 bytes.
    MetaTooLong,
}

error_texts! {
    ConfigError {
        Self::Protocol { version, min, max } =>
            "Protocol version '{version}' too {}. Must be in range: [{min}, {max}]",
            if version < min { "low" } else { "high" };
        Self::InvalidName { reason, .. } => "{reason}";
        Self::LabelTooLong { label } => "could not use {label:?} as a label: too long";
        Self::UserEventLimit { max } => "user event size limit exceeds limit of {max} bytes";
        Self::AdvertiseAddress => "failed to parse advertise address";
        Self::MetaTooLong => "Node meta data provided is longer than the limit";
    }
}

impl std::error::Error for ConfigError {}
