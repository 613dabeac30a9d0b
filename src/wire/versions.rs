//! Which protocol versions the nodes of a cluster understand and speak. Go: `memberlist.go`,
//! `verifyProtocol`.

use std::ops::RangeInclusive;

/// The versions of one node as six bytes: lowest, highest and current one of memberlist's
/// protocol, then of the delegate's (Serf's). The default is of a node that says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Vsn(pub [u8; 6]);

impl Vsn {
    /// The first six bytes; `None` if there are fewer, as broken peers send.
    pub fn from_wire(raw: &[u8]) -> Option<Self> {
        raw.first_chunk().copied().map(Self)
    }

    /// The bytes as they go on the wire.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Highest protocol of memberlist that the node understands.
    pub fn max(self) -> u8 {
        let [_, max, ..] = self.0;
        max
    }

    /// Protocol of the delegate that the node speaks.
    pub fn delegate(self) -> u8 {
        let [.., delegate] = self.0;
        delegate
    }

    /// Whether two nodes understand each other.
    pub fn fits(self, other: Self) -> bool {
        self.understands(other) && other.understands(self)
    }

    fn understands(self, other: Self) -> bool {
        let [min, max, _, delegate_min, delegate_max, _] = self.0;
        let [_, _, spoken, _, _, delegate] = other.0;
        (min..=max).contains(&spoken) && (delegate_min..=delegate_max).contains(&delegate)
    }
}

/// The versions of many nodes together: those that every live one understands, and those that any
/// one speaks; of the protocol, then of the delegate. The default is of no node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    understood: [RangeInclusive<u8>; 2],
    spoken: [RangeInclusive<u8>; 2],
}

/// A node that some live node does not understand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incompatible {
    /// Whether it is the delegate's version, and not the protocol's.
    pub delegate: bool,
    /// What the node speaks.
    pub spoken: u8,
    /// What every live node understands.
    pub understood: RangeInclusive<u8>,
}

impl Default for Versions {
    fn default() -> Self {
        let (all, none) = (0..=u8::MAX, RangeInclusive::new(u8::MAX, 0));
        Self { understood: [all.clone(), all], spoken: [none.clone(), none] }
    }
}

impl Versions {
    /// Adds a node by its bytes: lowest, highest, current version of the protocol, then of the
    /// delegate. What a broken peer leaves out restricts no other node and counts as version zero.
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

    /// Whether every node is understood by every live one.
    pub fn compatible(&self) -> bool {
        self.understood.iter().zip(&self.spoken).all(|(understood, spoken)| {
            spoken.is_empty()
                || (understood.contains(spoken.start()) && understood.contains(spoken.end()))
        })
    }

    /// What is wrong with one node.
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
        // Nobody in common; outside at either end; the delegate alone.
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
