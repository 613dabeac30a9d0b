//! Intents about members that are still unknown.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::LamportTime;
use crate::base::Instant;

/// The kinds of intents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IntentKind {
    Join,
    Leave,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Intent {
    pub(crate) kind: IntentKind,
    pub(crate) ltime: LamportTime,
    at: Instant,
    /// Sequence number, which increases with time.
    number: u64,
}

/// The newest intent for each unknown name. Go: `recentIntents`, which is unbounded.
#[derive(Default)]
pub(crate) struct RecentIntents {
    table: BTreeMap<Arc<str>, Intent>,
    by_age: BTreeMap<u64, Arc<str>>,
    last: u64,
}

impl RecentIntents {
    /// Stores the intent if it is newer than the stored one; returns whether it was, and thus
    /// whether to gossip it. Go: `upsertIntent`.
    pub(crate) fn upsert(
        &mut self,
        now: Instant,
        name: &str,
        kind: IntentKind,
        ltime: LamportTime,
    ) -> bool {
        let name: Arc<str> = match self.table.get_key_value(name) {
            Some((_, known)) if ltime <= known.ltime => return false,
            Some((name, known)) => {
                self.by_age.remove(&known.number);
                name.clone()
            }
            None => name.into(),
        };
        self.last += 1;
        self.by_age.insert(self.last, name.clone());
        self.table.insert(name, Intent { kind, ltime, at: now, number: self.last });
        if self.table.len() > INTENTS_MAX
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.table.remove(&oldest);
        }
        true
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Intent> {
        self.table.get(name)
    }

    /// Forgets intents older than `timeout`.
    pub(crate) fn expire(&mut self, now: Instant, timeout: Duration) {
        while let Some(oldest) = self.by_age.first_entry() {
            let intent = self.table.get(oldest.get());
            if intent.is_some_and(|intent| now.since(intent.at) <= timeout) {
                return;
            }
            self.table.remove(&oldest.remove());
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }
}

/// Most unknown names remembered, of at most 255 bytes each; the oldest is evicted for a new one.
pub(super) const INTENTS_MAX: usize = 16_384;
