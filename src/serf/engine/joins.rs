//! The joins of an engine and their progress.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
};

use tracing::warn;

use crate::swim::{JoinEntry, JoinErrors, OpId};

/// Running joins, and the entries of earlier ones.
#[derive(Default)]
pub(super) struct Joins {
    pub(super) under_way: BTreeMap<OpId, Join>,
    /// Entries of all joins, used again when no other member is alive.
    pub(super) seeds: BTreeSet<String>,
}

/// A running join.
pub(super) struct Join {
    /// Started by the engine itself, with the seeds.
    pub(super) own: bool,
    pub(super) ignore_old: bool,
    /// Entries that have not been contacted yet.
    pub(super) entries: VecDeque<String>,
    /// The entry being contacted, its node name, and its port.
    pub(super) entry: String,
    pub(super) name: String,
    pub(super) port: u16,
    /// Addresses of the current entry; the first one is being contacted.
    pub(super) addrs: VecDeque<SocketAddr>,
    pub(super) contacted: usize,
    pub(super) errors: JoinErrors,
}

impl Joins {
    /// Whether the exchanges of this join ignore old events.
    pub(super) fn ignores_old(&self, op: OpId) -> bool {
        self.under_way.get(&op).is_some_and(|join| join.ignore_old)
    }
}

impl Join {
    /// Goes to the next entry. Returns its host if the name must be resolved; `None` if its
    /// addresses are known or there is no further entry.
    pub(super) fn next_entry(&mut self, default_port: u16) -> Option<String> {
        while let Some(text) = self.entries.pop_front() {
            let entry = match JoinEntry::parse(&text, default_port) {
                Ok(entry) => entry,
                Err(error) => {
                    warn!(target: "memberlist", "failed to resolve {text}: {error}");
                    self.errors.unresolved(&text, &error);
                    continue;
                }
            };
            self.entry = text;
            self.name = entry.name.unwrap_or_default();
            self.port = entry.port;
            let Ok(ip) = entry.host.parse::<IpAddr>() else { return Some(entry.host) };
            self.addrs.push_back(SocketAddr::new(ip.to_canonical(), entry.port));
            return None;
        }
        None
    }
}
