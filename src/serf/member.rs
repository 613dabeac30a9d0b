//! A member: Serf's view of a node.

use std::{collections::BTreeMap, fmt, net::SocketAddr, sync::Arc};

use crate::{
    base::error_texts,
    wire::{RawAddr, Vsn},
};

/// A Lamport time; clocks start at 1 and saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LamportTime(pub u64);

/// Tags of a member: names and values, sorted by name. `Clone` costs one reference count.
///
/// Stored as one text with offsets, since most memory of a table of 10,000 members is tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Option<Arc<TagText>>);

#[derive(Debug, PartialEq, Eq)]
struct TagText {
    /// Name, value, name, value …
    text: Box<str>,
    /// End of each name and each value in `text`.
    ends: Box<[u32]>,
}

impl Tags {
    /// Creates tags from pairs, as [`FromIterator`] does.
    #[doc(hidden)]
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        pairs.into_iter().collect::<BTreeMap<_, _>>().into()
    }

    /// The value of a tag.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// All tags, sorted by name.
    pub fn iter(&self) -> TagsIter<'_> {
        let (text, ends) = match &self.0 {
            Some(tags) => (&*tags.text, &*tags.ends),
            None => ("", [].as_slice()),
        };
        TagsIter { text, start: 0, pairs: ends.chunks_exact(2) }
    }

    /// Number of tags.
    pub fn len(&self) -> usize {
        self.iter().len()
    }

    /// Whether there are no tags.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// If a name occurs twice, the last value wins.
impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Tags {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter().map(|(name, value)| (name.into(), value.into()));
        pairs.collect::<BTreeMap<String, String>>().into()
    }
}

impl<K: Into<String>, V: Into<String>, const N: usize> From<[(K, V); N]> for Tags {
    fn from(pairs: [(K, V); N]) -> Self {
        pairs.into_iter().collect()
    }
}

impl From<&Tags> for BTreeMap<String, String> {
    fn from(tags: &Tags) -> Self {
        tags.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

impl From<Tags> for BTreeMap<String, String> {
    fn from(tags: Tags) -> Self {
        (&tags).into()
    }
}

impl<'a> IntoIterator for &'a Tags {
    type Item = (&'a str, &'a str);
    type IntoIter = TagsIter<'a>;

    fn into_iter(self) -> TagsIter<'a> {
        self.iter()
    }
}

/// The value of a tag. Panics if there is no tag of that name, as maps do.
impl std::ops::Index<&str> for Tags {
    type Output = str;

    fn index(&self, name: &str) -> &str {
        self.get(name).unwrap_or_else(|| panic!("no tag {name:?}"))
    }
}

impl From<BTreeMap<String, String>> for Tags {
    fn from(tags: BTreeMap<String, String>) -> Self {
        if tags.is_empty() {
            return Self(None);
        }
        let mut text = String::new();
        let mut ends = Vec::with_capacity(2 * tags.len());
        for part in tags.iter().flat_map(|(name, value)| [name, value]) {
            text.push_str(part);
            ends.push(u32::try_from(text.len()).unwrap_or(u32::MAX));
        }
        Self(Some(Arc::new(TagText { text: text.into(), ends: ends.into() })))
    }
}

/// Iterator over [`Tags`]: pairs of name and value, sorted by name.
#[derive(Clone, Debug)]
pub struct TagsIter<'a> {
    text: &'a str,
    start: usize,
    pairs: std::slice::ChunksExact<'a, u32>,
}

impl<'a> TagsIter<'a> {
    fn cut(&mut self, end: u32) -> &'a str {
        let end = end as usize;
        let part = self.text.get(self.start..end).unwrap_or_default();
        self.start = end;
        part
    }
}

impl<'a> Iterator for TagsIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let [name, value] = self.pairs.next()? else { return None };
        Some((self.cut(*name), self.cut(*value)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.pairs.size_hint()
    }
}

impl ExactSizeIterator for TagsIter<'_> {}

/// Status of a member. Go: `MemberStatus`; the numbers are on the wire in conflict answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MemberStatus {
    /// 0: never seen, except in malformed messages.
    #[default]
    None,
    /// 1: considered alive by this node.
    Alive,
    /// 2: announced that it will leave.
    Leaving,
    /// 3: left gracefully.
    Left,
    /// 4: stopped answering.
    Failed,
}

impl fmt::Display for MemberStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Parses the texts of [`MemberStatus`]'s `Display`, which `serf members -status` uses, too.
impl std::str::FromStr for MemberStatus {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        let all = [Self::None, Self::Alive, Self::Leaving, Self::Left, Self::Failed];
        all.into_iter().find(|status| status.as_str() == text).ok_or(UnknownStatus)
    }
}

/// A text that is not a [`MemberStatus`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownStatus;

error_texts! {
    UnknownStatus {
        Self => "the status is none of none, alive, leaving, left and failed";
    }
}

impl std::error::Error for UnknownStatus {}

/// A member of the cluster. Records are immutable; a change creates a new one. All fields are
/// public, so that tests of delegates and of other logic can make members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Name; unique in the cluster.
    pub name: Arc<str>,
    /// Raw address bytes as announced (0, 4 or 16); [`Member::addr`] reads them.
    pub addr: Box<[u8]>,
    /// Gossip port, for UDP and TCP.
    pub port: u16,
    /// Tags announced by the member; at most 512 bytes when encoded.
    pub tags: Tags,
    /// Status, as far as this node knows.
    pub status: MemberStatus,
    /// Protocol versions: lowest, highest and current of memberlist's protocol, then of Serf's.
    pub vsn: Vsn,
}

impl MemberStatus {
    /// The status as text: `none`, `alive`, `leaving`, `left` or `failed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Alive => "alive",
            Self::Leaving => "leaving",
            Self::Left => "left",
            Self::Failed => "failed",
        }
    }

    /// The number of the status in messages.
    pub fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Alive => 1,
            Self::Leaving => 2,
            Self::Left => 3,
            Self::Failed => 4,
        }
    }
}

impl Member {
    /// Whether the status is [`MemberStatus::Alive`].
    pub fn is_alive(&self) -> bool {
        self.status == MemberStatus::Alive
    }

    /// The value of a tag.
    pub fn tag(&self, name: &str) -> Option<&str> {
        self.tags.get(name)
    }

    /// The address and port; v4-mapped addresses become IPv4. `None` if the address is malformed.
    pub fn addr(&self) -> Option<SocketAddr> {
        RawAddr::from_wire(&self.addr)?.socket_addr(self.port)
    }

    /// The name of [`Member::addr`] in 0.2.
    #[doc(hidden)]
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        self.addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_a_collection_as_others() {
        let tags = Tags::from([("role", "web"), ("dc", "e"), ("role", "db")]);
        assert_eq!(tags.len(), 2);
        assert_eq!((&tags["role"], tags.get("none")), ("db", None));
        assert_eq!((&tags).into_iter().collect::<Vec<_>>(), [("dc", "e"), ("role", "db")]);
        let map = BTreeMap::from(tags.clone());
        assert_eq!(map["dc"], "e");
        assert_eq!(map.into_iter().collect::<Tags>(), tags);
        assert!(Tags::from_iter([("a", "b"); 0]).is_empty());
    }

    #[test]
    fn the_address_of_a_member_is_read_from_its_bytes() {
        let at = |addr: &[u8]| {
            let member = Member {
                name: "a".into(),
                addr: addr.into(),
                port: 7946,
                tags: Tags::default(),
                status: MemberStatus::Alive,
                vsn: Vsn::default(),
            };
            assert_eq!(member.addr(), member.socket_addr());
            member.addr().map(|addr| addr.to_string())
        };
        assert_eq!(at(&[10, 0, 0, 1]).as_deref(), Some("10.0.0.1:7946"));
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1];
        assert_eq!(at(&mapped).as_deref(), Some("10.0.0.1:7946"));
        assert_eq!(at(&[]), None);
        assert_eq!(at(&[1, 2, 3]), None);
    }

    #[test]
    fn a_status_is_read_back_from_its_text() {
        for status in ["none", "alive", "leaving", "left", "failed"] {
            assert_eq!(status.parse::<MemberStatus>().unwrap().to_string(), status);
        }
        assert_eq!("Alive".parse::<MemberStatus>(), Err(UnknownStatus));
    }
}
