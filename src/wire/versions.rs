//! Compatibility of the protocol versions of a cluster's nodes. Go: `memberlist.go`,
//! `verifyProtocol`.

use std::ops::RangeInclusive;

/// The versions of one node as six bytes: lowest, highest and current version of memberlist's
/// protocol, then of the delegate's (Serf's). The default is all zero, for a node that announces no
/// versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Vsn(pub [u8; 6]);

impl Vsn {
    /// The first six bytes; `None` if there are fewer, which faulty peers send.
    #[doc(hidden)]
    pub fn from_wire(raw: &[u8]) -> Option<Self> {
        raw.first_chunk().copied().map(Self)
    }

    /// The bytes as sent on the wire.
    #[doc(hidden)]
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Highest version of memberlist's protocol that the node understands.
    pub fn max(self) -> u8 {
        let [_, max, ..] = self.0;
        max
    }

    /// Version of the delegate's protocol that the node speaks.
    pub fn delegate(self) -> u8 {
        let [.., delegate] = self.0;
        delegate
    }

    /// Whether two nodes understand each other.
    #[doc(hidden)]
    pub fn fits(self, other: Self) -> bool {
        self.understands(other) && other.understands(self)
    }

    fn understands(self, other: Self) -> bool {
        let [min, max, _, delegate_min, delegate_max, _] = self.0;
        let [_, _, spoken, _, _, delegate] = other.0;
        (min..=max).contains(&spoken) && (delegate_min..=delegate_max).contains(&delegate)
    }
}

/// The versions of many nodes: the range that every live node understands, and the range that the
/// nodes speak; for memberlist's protocol, then for the delegate's. The default covers no node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    understood: [RangeInclusive<u8>; 2],
    spoken: [RangeInclusive<u8>; 2],
}

/// A node speaks a version that some live node does not understand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incompatible {
    /// True for the delegate's version, false for memberlist's.
    pub delegate: bool,
    /// The version that the node speaks.
    pub spoken: u8,
    /// The versions that every live node understands.
    pub understood: RangeInclusive<u8>,
}

impl Default for Versions {
    fn default() -> Self {
        let (all, none) = (0..=u8::MAX, RangeInclusive::new(u8::MAX, 0));
        Self { understood: [all.clone(), all], spoken: [none.clone(), none] }
    }
}

impl Versions {
    /// Adds a node by its version bytes. Bytes that a faulty peer omits count as version zero and
    /// do not restrict other nodes.
    #[inline]
    pub fn add(&mut self, alive: bool, vsn: &[u8]) {
        if alive && let Some(&[min, max, _, delegate_min, delegate_max]) = vsn.first_chunk() {
            let [protocol, delegate] = &mut self.understood;
            *protocol = min.max(*protocol.start())..=max.min(*protocol.end());
            *delegate = delegate_min.max(*delegate.start())..=delegate_max.min(*delegate.end());
        }
        let Vsn([_, _, now, _, _, delegate_now]) = Vsn::from_wire(vsn).unwrap_or_default();
        let [protocol, delegate] = &mut self.spoken;
        *protocol = now.min(*protocol.start())..=now.max(*protocol.end());
        *delegate = delegate_now.min(*delegate.start())..=delegate_now.max(*delegate.end());
    }

    /// Adds the nodes of other versions.
    #[cfg(feature = "sim")]
    pub fn add_all(&mut self, other: &Self) {
        for (mine, theirs) in self.understood.iter_mut().zip(&other.understood) {
            *mine = *theirs.start().max(mine.start())..=*theirs.end().min(mine.end());
        }
        for (mine, theirs) in self.spoken.iter_mut().zip(&other.spoken) {
            *mine = *theirs.start().min(mine.start())..=*theirs.end().max(mine.end());
        }
    }

    /// Whether every live node understands every node.
    pub fn compatible(&self) -> bool {
        self.understood.iter().zip(&self.spoken).all(|(understood, spoken)| {
            spoken.is_empty()
                || (understood.contains(spoken.start()) && understood.contains(spoken.end()))
        })
    }

    /// Checks one node.
    ///
    /// # Errors
    /// Some live node does not understand it.
    pub fn check(&self, vsn: Vsn) -> Result<(), Incompatible> {
        let Vsn([_, _, now, _, _, delegate_now]) = vsn;
        let [protocol, delegate] = &self.understood;
        for (delegate, spoken, understood) in
            [(false, now, protocol), (true, delegate_now, delegate)]
        {
            if !understood.contains(&spoken) {
                let understood = understood.clone();
                return Err(Incompatible { delegate, spoken, understood });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(nodes: &[(bool, &[u8])]) -> Versions {
        let mut versions = Versions::default();
        nodes.iter().for_each(|(alive, vsn)| versions.add(*alive, vsn));
        versions
    }

    #[test]
    fn all_must_understand_all() {
        assert!(Versions::default().compatible());
        assert!(of(&[(true, &[1, 5, 2, 2, 5, 4])]).compatible());
        assert!(of(&[(true, &[1, 5, 2, 2, 5, 4]), (false, &[1, 5, 5, 2, 5, 5])]).compatible());
        // No common version; outside at either end; only the delegate's version.
        for other in
            [[3, 5, 4, 2, 5, 4], [1, 1, 1, 2, 5, 4], [1, 5, 2, 5, 5, 5], [1, 5, 2, 2, 3, 3]]
        {
            let versions = of(&[(true, &[1, 5, 2, 2, 5, 4]), (true, &other)]);
            assert!(!versions.compatible(), "{other:?}");
        }
        let versions = of(&[(true, &[1, 3, 2, 2, 5, 4]), (false, &[1, 5, 4, 2, 5, 6])]);
        assert!(!versions.compatible());
        let wrong = versions.check(Vsn([1, 5, 4, 2, 5, 6])).unwrap_err();
        assert_eq!(wrong, Incompatible { delegate: false, spoken: 4, understood: 1..=3 });
        let wrong = versions.check(Vsn([1, 5, 3, 2, 5, 6])).unwrap_err();
        assert_eq!(wrong, Incompatible { delegate: true, spoken: 6, understood: 2..=5 });
    }

    #[test]
    fn the_dead_limit_nobody_and_missing_versions_are_zero() {
        assert!(of(&[(true, &[1, 5, 2, 2, 5, 4]), (false, &[9, 9, 5, 9, 9, 5])]).compatible());
        assert!(!of(&[(true, &[1, 5, 2, 2, 5, 4]), (false, &[])]).compatible());
        assert!(of(&[(true, &[0, 5, 2, 0, 5, 4]), (true, &[3, 5, 3, 3])]).compatible());
        assert!(!of(&[(true, &[0, 5, 2, 0, 5, 4]), (true, &[3, 5, 3, 3, 5])]).compatible());
    }
}
