//! Compares our MessagePack with rmp-serde, which is independent of Go.

use std::fmt;

use proptest::{collection::vec, prelude::*};
use serde::{
    Deserializer, Serializer,
    de::{MapAccess, SeqAccess, Visitor},
};

use super::*;

/// Any value.
#[derive(Clone, Debug, PartialEq)]
enum Tree {
    Nil,
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    /// Compared by bits, so that NaN equals itself.
    Float(u64),
    Str(String),
    Bytes(Vec<u8>),
    Array(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

proptest! {
    #[test]
    fn what_we_write_is_read_by_rmp_serde(tree in tree(), rpc: bool) {
        let dialect = if rpc { Dialect::Rpc } else { Dialect::Gossip };
        let mut out = Vec::new();
        tree.write(&mut Writer::with_dialect(&mut out, dialect));
        let read: Tree = rmp_serde::from_slice(&out).unwrap();
        prop_assert_eq!(&read, &tree.clone().read_back(dialect));
        prop_assert_eq!(from_slice::<Tree>(&out), Ok(read));
    }

    #[test]
    fn what_rmp_serde_writes_is_read_by_us(tree in tree()) {
        let out = rmp_serde::to_vec(&tree).unwrap();
        prop_assert_eq!(from_slice::<Tree>(&out), Ok(tree.read_back(Dialect::Rpc)));
        let mut reader = Reader::new(&out);
        prop_assert_eq!(reader.encoded(), Ok(&*out));
        prop_assert_eq!(Scanner::new().advance(&out), Ok(Some(out.len())));
    }

    #[test]
    fn structs_pass_between_rmp_serde_and_us(sample in sample_of_any(), rpc: bool) {
        let dialect = if rpc { Dialect::Rpc } else { Dialect::Gossip };
        let ours = to_vec(&sample, dialect).unwrap();
        prop_assert_eq!(&rmp_serde::from_slice::<Sample>(&ours).unwrap(), &sample);
        let named = rmp_serde::to_vec_named(&sample).unwrap();
        prop_assert_eq!(&from_slice::<Sample>(&named).unwrap(), &sample);
        // As an array, in declaration order.
        let array = rmp_serde::to_vec(&sample).unwrap();
        prop_assert_eq!(&from_slice::<Sample>(&array).unwrap(), &sample);
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    let text = prop_oneof!["\\PC{0,40}", len_at_an_edge().prop_map(|len| "x".repeat(len)),];
    let bytes =
        prop_oneof![vec(any::<u8>(), 0..40), len_at_an_edge().prop_map(|len| vec![0xff; len]),];
    let leaf = prop_oneof![
        Just(Tree::Nil),
        any::<bool>().prop_map(Tree::Bool),
        (any::<i64>(), 0..64_u32).prop_map(|(value, bits)| Tree::Signed(value >> bits)),
        (any::<u64>(), 0..64_u32).prop_map(|(value, bits)| Tree::Unsigned(value >> bits)),
        any::<f64>().prop_map(|value| Tree::Float(value.to_bits())),
        text.prop_map(Tree::Str),
        bytes.prop_map(Tree::Bytes),
    ];
    leaf.prop_recursive(4, 64, 20, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..20).prop_map(Tree::Array),
            vec(("[a-z]{0,40}", inner), 0..20).prop_map(Tree::Map),
        ]
    })
}

/// Lengths at which the encoding changes.
fn len_at_an_edge() -> impl Strategy<Value = usize> {
    prop::sample::select(vec![31, 32, 255, 256, 65_535, 65_536])
}

fn sample_of_any() -> impl Strategy<Value = Sample> {
    let tags = prop::collection::btree_map("[a-z]{0,40}", "\\PC{0,40}", 0..20);
    let lists = (vec(any::<u8>(), 0..40), vec(any::<u32>(), 0..20), tags);
    let scalars = (any::<u64>(), "\\PC{0,40}", any::<i64>(), any::<bool>(), any::<f64>());
    (scalars, lists, any::<bool>()).prop_map(|(scalars, (blob, list, tags), has_inner)| {
        let (seq, name, num, ok, ratio) = scalars;
        let ratio = if ratio.is_nan() { 0.0 } else { ratio };
        let inner = has_inner.then(|| Box::new(Sample { seq, ..Sample::default() }));
        Sample { seq, name, blob, num, ok, ratio, list, tags, inner }
    })
}

impl Tree {
    fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Nil => writer.nil(),
            Self::Bool(value) => writer.bool(*value),
            Self::Signed(value) => writer.int(*value),
            Self::Unsigned(value) => writer.uint(*value),
            Self::Float(bits) => writer.f64(f64::from_bits(*bits)),
            Self::Str(text) => writer.str(text),
            Self::Bytes(bytes) => writer.bytes(Some(bytes)),
            Self::Array(items) => {
                writer.array(items.len());
                items.iter().for_each(|item| item.write(writer));
            }
            Self::Map(pairs) => {
                writer.map(pairs.len());
                for (key, value) in pairs {
                    writer.str(key);
                    value.write(writer);
                }
            }
        }
    }

    /// The value as it can be decoded: integer signs, and bytes or text in the raw family, are
    /// lost.
    fn read_back(self, dialect: Dialect) -> Self {
        match self {
            Self::Signed(value) => u64::try_from(value).map_or(self, Self::Unsigned),
            Self::Bytes(bytes) if dialect == Dialect::Gossip => {
                String::from_utf8(bytes).map_or_else(|e| Self::Bytes(e.into_bytes()), Self::Str)
            }
            Self::Array(items) => {
                Self::Array(items.into_iter().map(|item| item.read_back(dialect)).collect())
            }
            Self::Map(pairs) => {
                let read = |(key, value): (String, Self)| (key, value.read_back(dialect));
                Self::Map(pairs.into_iter().map(read).collect())
            }
            same => same,
        }
    }
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nil => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Signed(value) => serializer.serialize_i64(*value),
            Self::Unsigned(value) => serializer.serialize_u64(*value),
            Self::Float(bits) => serializer.serialize_f64(f64::from_bits(*bits)),
            Self::Str(text) => serializer.serialize_str(text),
            Self::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Map(pairs) => {
                serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Trees;

        impl<'de> Visitor<'de> for Trees {
            type Value = Tree;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree::Nil)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
                Ok(Tree::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
                Ok(Tree::Signed(value).read_back(Dialect::Rpc))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
                Ok(Tree::Unsigned(value))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
                Ok(Tree::Float(value.to_bits()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
                Ok(Tree::Str(text.to_owned()))
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Tree, E> {
                Ok(Tree::Bytes(bytes.to_vec()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
                let mut tree = Vec::new();
                while let Some(item) = items.next_element()? {
                    tree.push(item);
                }
                Ok(Tree::Array(tree))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Tree, A::Error> {
                let mut tree = Vec::new();
                while let Some(pair) = pairs.next_entry()? {
                    tree.push(pair);
                }
                Ok(Tree::Map(tree))
            }
        }

        deserializer.deserialize_any(Trees)
    }
}
