//! Selects records.

use super::{
    field::Field,
    record::{Kind, Record},
};

/// Conditions on records; without conditions all are selected.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    kinds: Vec<Kind>,
    nodes: Vec<Vec<u8>>,
    names: Vec<Vec<u8>>,
}

impl Filter {
    /// Selects records of one of `types` that name one of `nodes`, and an event or a query of one
    /// of `names`; an empty list accepts all.
    ///
    /// # Errors
    /// A type that does not exist.
    pub fn build(
        types: &[String],
        nodes: &[String],
        names: &[String],
    ) -> Result<Self, UnknownType> {
        let kinds = types.iter().map(|name| kind(name)).collect::<Result<_, _>>()?;
        let bytes = |texts: &[String]| texts.iter().map(|text| text.clone().into_bytes()).collect();
        Ok(Self { kinds, nodes: bytes(nodes), names: bytes(names) })
    }

    /// Whether a record is selected.
    pub(super) fn admits(&self, record: &Record<'_>) -> bool {
        let of_kind = |kind: &Kind| {
            record.kind == *kind
                || record.fields.any(&mut |field| {
                    // A nested message, such as that in a relay.
                    matches!(field, Field::Text(text) if text == kind.name())
                })
        };
        (self.kinds.is_empty() || self.kinds.iter().any(of_kind))
            && (self.nodes.is_empty()
                || record.fields.any(&mut |field| names_node(field, &self.nodes)))
            && (self.names.is_empty()
                || record.fields.any(&mut |field| has_name(field, &self.names)))
    }
}

/// An unknown message type, with the given text.
#[derive(Debug)]
pub struct UnknownType(pub String);

impl std::fmt::Display for UnknownType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        write!(f, "no such type: '{}'; there are: {}", self.0, all.join(", "))
    }
}

impl std::error::Error for UnknownType {}

/// The kind with this name, however its words are joined.
fn kind(name: &str) -> Result<Kind, UnknownType> {
    let plain = |name: &str| {
        let letters = name.chars().filter(|c| c.is_ascii_alphanumeric());
        letters.map(|c| c.to_ascii_lowercase()).collect::<String>()
    };
    let found = Kind::ALL.iter().find(|kind| plain(kind.name()) == plain(name));
    found.copied().ok_or_else(|| UnknownType(name.to_owned()))
}

fn names_node(field: &Field<'_>, nodes: &[Vec<u8>]) -> bool {
    let wanted = |name: &[u8]| nodes.iter().any(|node| node == name);
    match field {
        Field::Node(name) => wanted(name),
        Field::Nodes(names) => names.iter().any(|name| wanted(name)),
        Field::Times(times) => times.iter().any(|(name, _)| wanted(name)),
        Field::Rows(rows) => rows.rows().flatten().any(|row| wanted(row.name)),
        _ => false,
    }
}

fn has_name(field: &Field<'_>, names: &[Vec<u8>]) -> bool {
    let wanted = |name: &[u8]| names.iter().any(|known| known == name);
    match field {
        Field::Name(name) => wanted(name),
        Field::Events(slots) => {
            slots.iter().flatten().flat_map(|slot| &slot.events).any(|event| wanted(event.name))
        }
        _ => false,
    }
}
