//! Counts how often each member failed and returned since the agent's start.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;

use crate::{
    agent::ipc::Shared,
    driver::Event,
    serf::{MemberEvent, MemberEventKind},
};

/// The counts; counting ends when this value is dropped.
pub(super) struct Flaps {
    members: Arc<Mutex<HashMap<Arc<str>, Member>>>,
    counting: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Member {
    has_failed: bool,
    count: u64,
}

/// A member that returned.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Flapped {
    pub(super) name: Arc<str>,
    pub(super) count: u64,
}

impl Flaps {
    pub(super) fn start(shared: Arc<Shared>) -> Self {
        let members = Arc::<Mutex<HashMap<_, _>>>::default();
        let counting = tokio::spawn(count(shared, Arc::clone(&members)));
        Self { members, counting }
    }

    /// Members that returned at least once, by name.
    pub(super) fn list(&self) -> Vec<Flapped> {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let flapped = members.iter().filter(|(_, member)| member.count > 0);
        let mut all: Vec<_> = flapped
            .map(|(name, member)| Flapped { name: Arc::clone(name), count: member.count })
            .collect();
        all.sort();
        all
    }
}

impl Drop for Flaps {
    fn drop(&mut self) {
        self.counting.abort();
    }
}

async fn count(shared: Arc<Shared>, members: Arc<Mutex<HashMap<Arc<str>, Member>>>) {
    let Some(mut events) = shared.events.begin().await else { return };
    loop {
        match events.recv().await {
            Ok(event) => {
                if let Event::Member(event) = &*event {
                    take(&mut members.lock().unwrap_or_else(PoisonError::into_inner), event);
                }
            }
            // Events were lost in a burst, so some returns are not counted.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

fn take(members: &mut HashMap<Arc<str>, Member>, event: &MemberEvent) {
    for member in &event.members {
        match event.kind {
            MemberEventKind::Failed => {
                if members.len() < MEMBERS_MAX || members.contains_key(&member.name) {
                    members.entry(Arc::clone(&member.name)).or_default().has_failed = true;
                }
            }
            MemberEventKind::Join => {
                if let Some(known) = members.get_mut(&member.name) {
                    known.count += u64::from(std::mem::take(&mut known.has_failed));
                }
            }
            MemberEventKind::Leave => {
                if let Some(known) = members.get_mut(&member.name) {
                    known.has_failed = false;
                }
            }
            MemberEventKind::Update => {}
            MemberEventKind::Reap => drop(members.remove(&member.name)),
        }
    }
}

/// Most members whose failures are recorded; reaped ones are removed.
const MEMBERS_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serf::{Member as SerfMember, MemberStatus};

    fn event(kind: MemberEventKind, name: &str) -> MemberEvent {
        let member = SerfMember {
            name: name.into(),
            addr: [10, 0, 0, 1].into(),
            port: 7946,
            tags: [("a", "b")].into(),
            status: MemberStatus::Alive,
            vsn: crate::wire::Vsn([1, 5, 2, 2, 5, 5]),
        };
        MemberEvent { kind, members: vec![Arc::new(member)] }
    }

    #[test]
    fn a_member_flaps_when_it_comes_back_from_a_failure_and_memory_is_bounded() {
        use MemberEventKind::{Failed, Join, Leave, Reap, Update};
        let mut members = HashMap::new();
        for (kind, count) in [
            (Join, 0),
            (Failed, 0),
            (Update, 0),
            (Join, 1),
            (Join, 1),
            (Failed, 1),
            (Failed, 1),
            (Join, 2),
            (Leave, 2),
            (Join, 2),
            (Failed, 2),
            (Leave, 2),
            (Join, 2),
        ] {
            take(&mut members, &event(kind, "a"));
            assert_eq!(members.get("a").map_or(0, |member| member.count), count, "{kind}");
        }
        take(&mut members, &event(Reap, "a"));
        assert!(members.is_empty());
        for n in 0..2 * MEMBERS_MAX {
            take(&mut members, &event(Failed, &n.to_string()));
        }
        assert_eq!(members.len(), MEMBERS_MAX);
    }
}
