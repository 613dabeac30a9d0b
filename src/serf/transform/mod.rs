//! Serialization of Serf's values.

#[cfg(any(test, feature = "sim"))]
mod conformance;
mod delegate;
mod error;
mod limits;
mod lpe;
mod msgpack;

#[cfg(any(test, feature = "sim"))]
pub use conformance::assert_transform_conforms;
pub use delegate::TransformDelegate;
pub use error::TransformError;
pub(crate) use limits::{
    DIMENSIONS_MAX, FILTERS_MAX, KEYS_MAX, PUSH_PULL_EVENTS_MAX, PUSH_PULL_ITEMS_MAX,
    PUSH_PULL_SLOTS_MAX, TAGS_MAX,
};
pub use lpe::LpeTransform;
pub use msgpack::MsgpackTransform;

#[cfg(test)]
mod tests;
