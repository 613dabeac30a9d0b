//! Draws without replacement.

use std::collections::BTreeMap;

use crate::base::Rng;

/// Up to `k` of the values that `pick` has at the indices below `total`, each set equally likely.
/// Tries every index if necessary, so that no value is missed.
pub(super) fn draw<T>(
    total: usize,
    k: usize,
    rng: &mut Rng,
    pick: impl Fn(usize) -> Option<T>,
) -> Vec<T> {
    // A Fisher–Yates shuffle of 0..total that stores only the moved positions.
    let mut moved = BTreeMap::new();
    let mut chosen = Vec::with_capacity(k.min(total));
    for start in 0..total {
        if chosen.len() == k {
            break;
        }
        let at = start + rng.below(total - start);
        let index = moved.get(&at).copied().unwrap_or(at);
        let displaced = moved.get(&start).copied().unwrap_or(start);
        moved.insert(at, displaced);
        chosen.extend(pick(index));
    }
    chosen
}
