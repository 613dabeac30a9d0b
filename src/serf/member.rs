//! A member: Serf's view of a node.

use std::{collections::BTreeMap, fmt, net::SocketAddr, sync::Arc};

use crate::wire::Vsn;

/// A Lamport time; clocks start at 1 and saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LamportTime(pub u64);

/// Tags of a member: names and values, sorted by name. `Clone` is one reference count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Arc<BTreeMap<String, String>>);

impl Tags {
    /// The value of a tag.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All tags, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<BTreeMap<String, String>> for Tags {
    fn from(tags: BTreeMap<String, String>) -> Self {
        Self(Arc::new(tags))
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
