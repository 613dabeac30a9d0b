//! The described contents of a message: names and values, borrowed from the packet.

use std::{borrow::Cow, net::IpAddr};

use crate::{
    serf::{LamportTime, Tags, message::UserEvents},
    wire::PushPull,
};

/// Names and values in display order.
#[derive(Debug, Default)]
pub(super) struct Fields<'a>(pub(super) Vec<(&'static str, Field<'a>)>);

/// A value.
#[derive(Debug)]
pub(super) enum Field<'a> {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    /// Name of a node.
    Node(&'a [u8]),
    /// Name of an event or a query.
    Name(&'a [u8]),
    /// Other bytes from the network.
    Bytes(Cow<'a, [u8]>),
    /// A text of this program.
    Text(String),
    Tags(Tags),
    /// A key; its bytes are never shown.
    Key(Key),
    List(Vec<Field<'a>>),
    Object(Fields<'a>),
    /// Rows of a push/pull: as they may be many, they are decoded while being printed.
    Rows(PushPull),
    Times(Vec<(&'a [u8], LamportTime)>),
    Nodes(Vec<&'a [u8]>),
    Events(Vec<Option<UserEvents<'a>>>),
}

/// The displayed properties of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) bytes: usize,
    /// Its number in the given ring, from 1.
    pub(super) number: Option<usize>,
}

impl<'a> Fields<'a> {
    pub(super) fn with(mut self, name: &'static str, value: Field<'a>) -> Self {
        self.0.push((name, value));
        self
    }

    /// Whether `wanted` accepts any value, including nested ones.
    pub(super) fn any(&self, wanted: &mut dyn FnMut(&Field<'_>) -> bool) -> bool {
        self.0.iter().any(|(_, value)| value.any(wanted))
    }

    /// The integer field with this name.
    pub(super) fn uint(&self, name: &str) -> Option<u64> {
        self.0.iter().find_map(|(known, value)| match value {
            Field::Uint(value) if *known == name => Some(*value),
            _ => None,
        })
    }
}

impl Field<'_> {
    fn any(&self, wanted: &mut dyn FnMut(&Field<'_>) -> bool) -> bool {
        match self {
            Self::List(values) => values.iter().any(|value| value.any(wanted)),
            Self::Object(fields) => fields.any(wanted),
            _ => wanted(self),
        }
    }

    /// Whether there are no fields.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Node(bytes) | Self::Name(bytes) => bytes.is_empty(),
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Text(text) => text.is_empty(),
            Self::Tags(tags) => tags.is_empty(),
            Self::Key(key) => key.bytes == 0,
            Self::List(values) => values.is_empty(),
            Self::Object(fields) => fields.0.is_empty(),
            Self::Rows(rows) => rows.row_count == 0,
            Self::Times(times) => times.is_empty(),
            Self::Nodes(nodes) => nodes.is_empty(),
            Self::Events(events) => events.iter().all(Option::is_none),
            Self::Bool(_) | Self::Int(_) | Self::Uint(_) | Self::Float(_) => false,
        }
    }

    /// A raw address.
    pub(super) fn address(raw: &[u8]) -> Self {
        let v4 = <[u8; 4]>::try_from(raw).map(IpAddr::from);
        match v4.or_else(|_| <[u8; 16]>::try_from(raw).map(IpAddr::from)) {
            Ok(addr) => Self::Text(addr.to_string()),
            Err(_) => Self::Bytes(raw.to_vec().into()),
        }
    }
}
