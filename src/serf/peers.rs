//! Peers of the snapshot, sorted by name.

use std::{borrow::Borrow, cmp::Ordering, collections::BTreeSet, fmt, sync::Arc};

/// Names with addresses, both as the file has them.
#[derive(Clone, Default)]
pub(crate) struct Peers(BTreeSet<NamedAddr>);

impl Peers {
    /// Takes peers that are mostly sorted. Of those with the same name the last one counts.
    pub(super) fn new(sorted: impl Iterator<Item = NamedAddr>) -> Self {
        Self(sorted.collect())
    }

    pub(crate) fn insert(&mut self, name: &str, addr: &str) {
        self.0.replace(NamedAddr::new(name, addr));
    }

    /// Returns whether there was such a peer.
    pub(crate) fn remove(&mut self, name: &str) -> bool {
        self.0.remove(name.as_bytes())
    }

    pub(crate) fn pop_first(&mut self) {
        self.0.pop_first();
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &NamedAddr> {
        self.0.iter()
    }
}

/// Two peers are the same entry if their names are; two lists are equal if the addresses are, too.
impl PartialEq for Peers {
    fn eq(&self, other: &Self) -> bool {
        self.iter().map(NamedAddr::pair).eq(other.iter().map(NamedAddr::pair))
    }
}

impl Eq for Peers {}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(NamedAddr::pair)).finish()
    }
}

/// A part of a text that peers share, so that those of a large file need no memory of their own:
/// name, space, address. Ordered by name.
#[derive(Clone)]
pub(crate) struct NamedAddr {
    text: Arc<str>,
    start: usize,
    space: usize,
    end: usize,
}

impl NamedAddr {
    pub(super) fn new(name: &str, addr: &str) -> Self {
        let text: Arc<str> = format!("{name} {addr}").into();
        let end = text.len();
        Self { text, start: 0, space: name.len(), end }
    }

    /// A part of a text: where it starts, where the space after the name is, and where it ends.
    pub(super) fn part(text: &Arc<str>, [start, space, end]: [usize; 3]) -> Self {
        Self { text: text.clone(), start, space, end }
    }

    pub(crate) fn name(&self) -> &str {
        self.text.get(self.start..self.space).unwrap_or_default()
    }

    pub(crate) fn addr(&self) -> &str {
        self.text.get(self.space + 1..self.end).unwrap_or_default()
    }

    pub(super) fn pair(&self) -> (&str, &str) {
        (self.name(), self.addr())
    }
}

/// As the name is ordered.
impl Borrow<[u8]> for NamedAddr {
    fn borrow(&self) -> &[u8] {
        self.text.as_bytes().get(self.start..self.space).unwrap_or_default()
    }
}

impl Ord for NamedAddr {
    fn cmp(&self, other: &Self) -> Ordering {
        <Self as Borrow<[u8]>>::borrow(self).cmp(other.borrow())
    }
}

impl PartialOrd for NamedAddr {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for NamedAddr {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for NamedAddr {}
