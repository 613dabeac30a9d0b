//! User-supplied delegates. Each call must return quickly and without blocking, as the engine and
//! its acks wait for it. A delegate that panics ends the node.

use std::{fmt, sync::Arc, time::Duration};

use super::Member;

/// The delegates in use; none by default. They are called on the node's own task: they may look
/// something up in memory, but must not use files, sockets or contended locks.
#[derive(Clone, Default)]
pub struct Delegates {
    /// Vetoes joins and, as in Go, single nodes.
    pub merge: Option<Arc<dyn MergeDelegate>>,
    /// Vetoes single nodes.
    pub alive: Option<Arc<dyn AliveDelegate>>,
    /// Changes how long a failed or left member is kept.
    pub reconnect: Option<Arc<dyn ReconnectDelegate>>,
    /// Notified when a node claims a name in use.
    pub conflict: Option<Arc<dyn ConflictDelegate>>,
}

/// Shows which delegates are set.
impl fmt::Debug for Delegates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delegates")
            .field("merge", &self.merge.is_some())
            .field("alive", &self.alive.is_some())
            .field("reconnect", &self.reconnect.is_some())
            .field("conflict", &self.conflict.is_some())
            .finish()
    }
}

/// Decides which nodes may become members. Go: `serf/merge_delegate.go:MergeDelegate`.
pub trait MergeDelegate: Send + Sync {
    /// Checks all members of a join (initiated by either side), or the single member of an alive
    /// message, including our own: a veto on our own makes a node that no other node learns of. The
    /// members' status is `Left` or `None`.
    ///
    /// # Errors
    /// The reason for the veto: on this side the join fails with it, or the alive message is
    /// ignored. The other side gets no error.
    #[doc(alias = "NotifyMerge")]
    fn check_merge(&self, members: &[Member]) -> Result<(), String>;
}

/// Vetoes single nodes without affecting joins. Go: memberlist's `alive_delegate.go`, which Serf's
/// users cannot set.
pub trait AliveDelegate: Send + Sync {
    /// Checks the member of each alive message, including our own, before
    /// [`MergeDelegate::check_merge`]. A veto does not remove an existing member.
    ///
    /// # Errors
    /// The reason for the veto, for the log: the message is ignored and not gossiped.
    #[doc(alias = "NotifyAlive")]
    fn check_alive(&self, member: &Member) -> Result<(), String>;
}

/// Decides how long failed and left members are kept. Go:
/// `serf/config.go:ReconnectTimeoutOverrider`.
#[doc(alias = "ReconnectTimeoutOverrider")]
pub trait ReconnectDelegate: Send + Sync {
    /// Returns the timeout for `member`. `timeout` is the configured one, for failed members
    /// [`Timing::reconnect_timeout`](crate::engine::Timing::reconnect_timeout), for left ones
    /// [`Timing::tombstone_timeout`](crate::engine::Timing::tombstone_timeout). Called at each reap
    /// for each of these members. Zero: forget the member at the next reap.
    #[doc(alias = "ReconnectTimeout")]
    fn reconnect_timeout(&self, member: &Member, timeout: Duration) -> Duration;
}

/// Is notified of name conflicts. Go: memberlist's `conflict_delegate.go`, which Serf's users
/// cannot set.
pub trait ConflictDelegate: Send + Sync {
    /// The name of `existing` is claimed from the address of `other`. Called each time such a claim
    /// is received. If the name is ours, Serf also holds the vote on it, see
    /// [`Config::resolve_name_conflicts`](crate::Config::resolve_name_conflicts).
    #[doc(alias = "NotifyConflict")]
    fn on_conflict(&self, existing: &Member, other: &Member);
}

/// Combines several delegates: a veto of any one counts, timeouts pass through all in order.
#[derive(Clone, Debug, Default)]
pub struct CompositeDelegate {
    parts: Vec<Delegates>,
}

impl CompositeDelegate {
    /// Creates an empty composite.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds delegates, which are called after those already added.
    #[must_use]
    pub fn with(mut self, part: Delegates) -> Self {
        self.parts.push(part);
        self
    }

    /// Returns the composite, for [`Config::delegates`](crate::Config::delegates).
    pub fn build(self) -> Delegates {
        let has = |filled: fn(&Delegates) -> bool| self.parts.iter().any(filled);
        let (merge, alive) = (has(|part| part.merge.is_some()), has(|part| part.alive.is_some()));
        let reconnect = has(|part| part.reconnect.is_some());
        let conflict = has(|part| part.conflict.is_some());
        let all = Arc::new(self);
        Delegates {
            merge: merge.then(|| all.clone() as Arc<dyn MergeDelegate>),
            alive: alive.then(|| all.clone() as Arc<dyn AliveDelegate>),
            reconnect: reconnect.then(|| all.clone() as Arc<dyn ReconnectDelegate>),
            conflict: conflict.then_some(all as Arc<dyn ConflictDelegate>),
        }
    }
}

impl MergeDelegate for CompositeDelegate {
    fn check_merge(&self, members: &[Member]) -> Result<(), String> {
        self.parts
            .iter()
            .filter_map(|part| part.merge.as_ref())
            .try_for_each(|merge| merge.check_merge(members))
    }
}

impl AliveDelegate for CompositeDelegate {
    fn check_alive(&self, member: &Member) -> Result<(), String> {
        self.parts
            .iter()
            .filter_map(|part| part.alive.as_ref())
            .try_for_each(|alive| alive.check_alive(member))
    }
}

impl ReconnectDelegate for CompositeDelegate {
    fn reconnect_timeout(&self, member: &Member, timeout: Duration) -> Duration {
        self.parts
            .iter()
            .filter_map(|part| part.reconnect.as_ref())
            .fold(timeout, |timeout, reconnect| reconnect.reconnect_timeout(member, timeout))
    }
}

impl ConflictDelegate for CompositeDelegate {
    fn on_conflict(&self, existing: &Member, other: &Member) {
        for conflict in self.parts.iter().filter_map(|part| part.conflict.as_ref()) {
            conflict.on_conflict(existing, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Vetoes its own name, adds an hour, and records the names it was called with.
    struct Part {
        name: &'static str,
        heard: Arc<Mutex<Vec<&'static str>>>,
    }

    impl Part {
        fn veto(&self, member: &Member) -> Result<(), String> {
            if &*member.name == self.name { Err(format!("no {}", self.name)) } else { Ok(()) }
        }
    }

    impl MergeDelegate for Part {
        fn check_merge(&self, members: &[Member]) -> Result<(), String> {
            members.iter().try_for_each(|member| self.veto(member))
        }
    }

    impl AliveDelegate for Part {
        fn check_alive(&self, member: &Member) -> Result<(), String> {
            self.veto(member)
        }
    }

    impl ReconnectDelegate for Part {
        fn reconnect_timeout(&self, _: &Member, timeout: Duration) -> Duration {
            2 * timeout + Duration::from_secs(u64::from(self.name.as_bytes()[0]))
        }
    }

    impl ConflictDelegate for Part {
        fn on_conflict(&self, _: &Member, _: &Member) {
            self.heard.lock().unwrap().push(self.name);
        }
    }

    fn member(name: &str) -> Member {
        Member {
            name: name.into(),
            addr: [127, 0, 0, 1].into(),
            port: 1,
            tags: crate::serf::Tags::default(),
            status: crate::serf::MemberStatus::Alive,
            vsn: crate::wire::Vsn([1, 5, 2, 2, 5, 4]),
        }
    }

    #[test]
    fn composite_consults_all_its_parts_in_order() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let part = |name| Arc::new(Part { name, heard: heard.clone() });
        let (a, b) = (part("a"), part("b"));
        let all = CompositeDelegate::new()
            .with(Delegates {
                merge: Some(a.clone()),
                alive: Some(a.clone()),
                reconnect: Some(a.clone()),
                conflict: Some(a),
            })
            // A part may set only some delegates.
            .with(Delegates { alive: Some(b.clone()), ..Delegates::default() })
            .with(Delegates {
                reconnect: Some(b.clone()),
                conflict: Some(b),
                ..Delegates::default()
            })
            .build();
        let (merge, alive) = (all.merge.unwrap(), all.alive.unwrap());
        assert_eq!(merge.check_merge(&[member("x"), member("a")]), Err("no a".to_owned()));
        assert_eq!(merge.check_merge(&[member("x"), member("b")]), Ok(()));
        assert_eq!(alive.check_alive(&member("a")), Err("no a".to_owned()));
        assert_eq!(alive.check_alive(&member("b")), Err("no b".to_owned()));
        assert_eq!(alive.check_alive(&member("c")), Ok(()));
        let timeout =
            all.reconnect.unwrap().reconnect_timeout(&member("x"), Duration::from_secs(1));
        assert_eq!(timeout, Duration::from_secs(2 * (2 + 97) + 98));
        all.conflict.unwrap().on_conflict(&member("x"), &member("x"));
        assert_eq!(*heard.lock().unwrap(), ["a", "b"]);
    }

    #[test]
    fn composite_of_nothing_is_not_consulted() {
        let none = CompositeDelegate::new().with(Delegates::default()).build();
        assert!(none.merge.is_none() && none.alive.is_none());
        assert!(none.reconnect.is_none() && none.conflict.is_none());
    }
}
