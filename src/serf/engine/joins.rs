//! The joins of an engine, and how far each is.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
};

use crate::swim::{JoinEntry, JoinErrors, OpId};

/// Joins under way, and the entries of earlier ones.
#[derive(Default)]
pub(super) struct Joins {
    pub(super) under_way: BTreeMap<OpId, Join>,
    /// Entries of all joins, to be used again when no other member is alive.
    pub(super) seeds: BTreeSet<String>,
}

/// A join under way.
pub(super) struct Join {
    /// Begun by the engine itself, with the seeds.
    pub(super) own: bool,
    pub(super) ignore_old: bool,
    /// Entries that are still to be asked.
    pub(super) entries: VecDeque<String>,
    /// The entry that is being asked, the name of its node, and its port.
    pub(super) entry: String,
    pub(super) name: String,
    pub(super) port: u16,
    /// Addresses of that entry, the one that is being asked in front.
    pub(super) addrs: VecDeque<SocketAddr>,
    pub(super) contacted: usize,
    pub(super) errors: JoinErrors,
}

impl Joins {
    /// Whether old events of this join's exchanges are to be ignored.
    pub(super) fn ignores_old(&self, op: OpId) -> bool {
        self.under_way.get(&op).is_some_and(|join| join.ignore_old)
    }
}

impl Join {
    /// Goes to the next entry. Gives its host if that is a name; `None` if its addresses are there
    /// or it was the last.
    pub(super) fn next_entry(&mut self, default_port: u16) -> Option<String> {
        while let Some(text) = self.entries.pop_front() {
            let entry = match JoinEntry::parse(&text, default_port) {
                Ok(entry) => entry,
                Err(error) => {
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
