//! Errors of the membership engine.

use crate::base::error_texts;

/// What a caller or the configuration did wrong, or what a peer refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot work.
    Config(ConfigError),
    /// An exchange with a peer failed; the text goes to logs and operators as Go's does.
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

/// A setting that cannot work.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// No such protocol version.
    Protocol {
        /// What was asked for.
        version: u8,
        /// The lowest version.
        min: u8,
        /// The highest version.
        max: u8,
    },
    /// The name of the node cannot be used.
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
    /// The limit of a user event is above what a packet holds.
    UserEventLimit {
        /// The highest limit in bytes.
        max: usize,
    },
    /// There is no address to announce, or it is none of IPv4 or IPv6.
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
