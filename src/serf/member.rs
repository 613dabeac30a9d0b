//! A member: Serf's view of a node.

use std::{collections::BTreeMap, fmt, net::SocketAddr, sync::Arc};

use crate::wire::Vsn;

/// A Lamport time; clocks start at 1 and saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LamportTime(pub u64);

/// Tags of a member: names and values, sorted by name. `Clone` is one reference count.
///
/// Kept as one text with its cuts, since a table of 10,000 members is mostly tags.
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
    /// Tags from pairs in any order; of equal names the last one wins.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        pairs.into_iter().collect::<BTreeMap<_, _>>().into()
    }

    /// The value of a tag.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// All tags, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        let (text, ends) = match &self.0 {
            Some(tags) => (&*tags.text, &*tags.ends),
            None => ("", [].as_slice()),
        };
        let mut start = 0;
        let mut next = move |end: u32| {
            let end = end as usize;
            let part = text.get(start..end).unwrap_or_default();
            start = end;
            part
        };
        ends.chunks_exact(2).map(move |pair| match pair {
            [name, value] => (next(*name), next(*value)),
            _ => ("", ""),
        })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
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

/// Status of a member. Go: `MemberStatus`; the numbers are on the wire in conflict answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MemberStatus {
    /// 0: never seen outside broken messages.
    #[default]
    None,
    /// 1
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
        f.write_str(match self {
            Self::None => "none",
            Self::Alive => "alive",
            Self::Leaving => "leaving",
            Self::Left => "left",
            Self::Failed => "failed",
        })
    }
}

/// One member of the cluster. Records are immutable; a change makes a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Name.
    pub name: Arc<str>,
    /// Raw address bytes as announced (0, 4 or 16).
    pub addr: Box<[u8]>,
    /// Port.
    pub port: u16,
    /// Tags.
    pub tags: Tags,
    /// Status.
    pub status: MemberStatus,
    /// `[PMin, PMax, PCur, DMin, DMax, DCur]`.
    pub vsn: Vsn,
}

impl MemberStatus {
    /// The number of the status on the wire.
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
    /// The address as a socket address, v4-mapped ones as IPv4; `None` if it is malformed.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        let ip = match self.addr.len() {
            4 => std::net::IpAddr::from(<[u8; 4]>::try_from(&*self.addr).ok()?),
            16 => std::net::IpAddr::from(<[u8; 16]>::try_from(&*self.addr).ok()?).to_canonical(),
            _ => return None,
        };
        Some(SocketAddr::new(ip, self.port))
    }
}
