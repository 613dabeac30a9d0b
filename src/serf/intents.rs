//! Intents about members that are not known yet.

use std::{collections::BTreeMap, time::Duration};

use super::LamportTime;
use crate::base::Instant;

/// What a member announced.
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
}

/// One intent for each unknown name, bounded. Go: `recentIntents`, which is not.
#[derive(Default)]
pub(crate) struct RecentIntents {
    table: BTreeMap<Box<str>, Intent>,
    bytes: usize,
}

impl RecentIntents {
    /// Keeps the intent if it is newer than the one kept; gives whether it was, which is also
    /// whether it is gossiped on. Go: `upsertIntent`.
    pub(crate) fn upsert(
        &mut self,
        now: Instant,
        name: &str,
        kind: IntentKind,
        ltime: LamportTime,
    ) -> bool {
        let intent = Intent { kind, ltime, at: now };
        if let Some(known) = self.table.get_mut(name) {
            let newer = ltime > known.ltime;
            if newer {
                *known = intent;
            }
            return newer;
        }
        let bytes = self.bytes + name.len();
        if self.table.len() >= INTENTS_MAX || bytes > INTENT_BYTES_MAX {
            return false;
        }
        self.bytes = bytes;
        self.table.insert(name.into(), intent);
        true
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Intent> {
        self.table.get(name)
    }

    /// Forgets what is older than `timeout`.
    pub(crate) fn expire(&mut self, now: Instant, timeout: Duration) {
        let bytes = &mut self.bytes;
        self.table.retain(|name, intent| {
            let keep = now.since(intent.at) <= timeout;
            if !keep {
                *bytes -= name.len();
            }
            keep
        });
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }
}

/// Most unknown names remembered.
const INTENTS_MAX: usize = 65_536;
/// Most bytes of unknown names.
const INTENT_BYTES_MAX: usize = 4 * 1024 * 1024;
