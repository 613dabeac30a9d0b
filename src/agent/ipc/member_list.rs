//! Lists of members for clients: one list is shared while nothing changes, and encoded in pieces
//! as each client reads.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use super::{
    answers::{Answers, OWN_BYTES_MAX, Share},
    member_filter::MemberFilter,
};
use crate::{
    driver::Serf,
    msgpack::{Dialect, Writer},
    rpc::{encode_member, members_bytes_max},
    serf::{Member, Place, Roster},
};

/// The lists in use. A list is kept while a client reads it; different lists share the room for
/// large responses.
pub(in crate::agent) struct MemberLists {
    answers: Arc<Answers>,
    last: Mutex<Weak<MemberList>>,
    requests: AtomicU64,
}

/// Provides the members.
pub(in crate::agent) trait Source {
    /// The members as they are now.
    fn roster(&self) -> impl Future<Output = Roster> + Send;
}

impl Source for Serf {
    fn roster(&self) -> impl Future<Output = Roster> + Send {
        self.roster()
    }
}

/// All members at one point in time.
struct MemberList {
    members: Roster,
    /// Number of requests received before the list was created or last confirmed.
    requests: AtomicU64,
    /// Upper bound of the encoded size of all members.
    bytes: usize,
    /// Memory of its records, which it may keep alive longer than the node does. A short list needs
    /// none.
    share: Option<Arc<Share>>,
}

impl MemberLists {
    pub(super) fn new(answers: Arc<Answers>) -> Self {
        Self { answers, last: Mutex::default(), requests: AtomicU64::new(0) }
    }

    /// The room that lists take.
    pub(super) fn answers(&self) -> Arc<Answers> {
        Arc::clone(&self.answers)
    }

    /// The members that pass a filter, no older than this call.
    ///
    /// While there is no room for another list, one caller waits for it and all others for that
    /// caller, whose list serves them all.
    pub(in crate::agent) async fn get(
        &self,
        source: &impl Source,
        filter: Option<Arc<MemberFilter>>,
    ) -> Listing {
        let request = self.requests.fetch_add(1, Ordering::Relaxed);
        let list = {
            let mut last = self.last.lock().await;
            match last.upgrade().filter(|list| list.requests.load(Ordering::Relaxed) > request) {
                Some(list) => list,
                None => {
                    let list = self.make(source, last.upgrade()).await;
                    *last = Arc::downgrade(&list);
                    list
                }
            }
        };
        Listing::new(list, filter, self.answers()).await
    }

    async fn make(&self, source: &impl Source, last: Option<Arc<MemberList>>) -> Arc<MemberList> {
        let mut requests = self.requests.load(Ordering::Relaxed);
        let mut members = source.roster().await;
        if let Some(last) = last.filter(|l| l.members.generation() == members.generation()) {
            last.requests.store(requests, Ordering::Relaxed);
            return last;
        }
        let mut bytes = bytes_of(&members);
        let mut share = None;
        if bytes > OWN_BYTES_MAX {
            share = self.answers.try_share(bytes);
        }
        if bytes > OWN_BYTES_MAX && share.is_none() {
            // Nothing is held meanwhile; requests that arrive meanwhile share the result.
            drop(members);
            share = Some(self.answers.share(bytes).await);
            requests = self.requests.load(Ordering::Relaxed);
            members = source.roster().await;
            bytes = bytes_of(&members);
        }
        let (requests, share) = (AtomicU64::new(requests), share.map(Arc::new));
        Arc::new(MemberList { members, requests, bytes, share })
    }
}

fn bytes_of(members: &Roster) -> usize {
    members_bytes_max(members.iter().map(|member| &**member))
}

/// Some members of a list, encoded piece by piece.
pub(in crate::agent) struct Listing {
    list: Arc<MemberList>,
    filter: Option<Arc<MemberFilter>>,
    count: usize,
    bytes: usize,
    started: bool,
    /// The next member to examine.
    next: Place,
    answers: Arc<Answers>,
    /// Room for pieces of [`LARGE_PIECE_BYTES`], if there was some to spare at the first one.
    large: Option<Share>,
}

impl Listing {
    async fn new(
        list: Arc<MemberList>,
        filter: Option<Arc<MemberFilter>>,
        answers: Arc<Answers>,
    ) -> Self {
        let (count, bytes) = (list.members.len(), list.bytes);
        let (started, next, large) = (false, Place::default(), None);
        let listing = Self { list, filter, count, bytes, started, next, answers, large };
        if listing.filter.is_none() {
            return listing;
        }
        let (mut count, mut bytes) = (0, 0);
        let mut begun = Instant::now();
        for member in listing.list.members.iter() {
            if listing.wants(member) {
                count += 1;
                bytes += members_bytes_max(std::iter::once(&**member));
            }
            if begun.elapsed() >= TURN {
                tokio::task::yield_now().await;
                begun = Instant::now();
            }
        }
        Self { count, bytes, ..listing }
    }

    /// Upper bound of its encoded size.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Room that its list occupies.
    pub(in crate::agent) fn share(&self) -> Option<Arc<Share>> {
        self.list.share.clone()
    }

    /// Appends all of it.
    pub(super) fn encode(mut self, out: &mut Vec<u8>) {
        while self.encode_next(out) {}
    }

    /// Appends the next piece; false: there are no more.
    pub(super) fn encode_next(&mut self, out: &mut Vec<u8>) -> bool {
        if !std::mem::replace(&mut self.started, true) {
            if self.bytes > PIECE_BYTES {
                self.large = self.answers.try_spare(LARGE_PIECE_BYTES);
            }
            if self.large.is_some() {
                // The last member of a piece goes beyond its end.
                out.reserve(self.bytes.min(LARGE_PIECE_BYTES + PIECE_BYTES));
            }
            let mut writer = Writer::with_dialect(out, Dialect::Rpc);
            writer.map(1);
            writer.str("Members");
            writer.array(self.count);
        }
        let end = out.len() + self.large.as_ref().map_or(PIECE_BYTES, |_| LARGE_PIECE_BYTES);
        let most = if self.filter.is_some() { MEMBERS_MATCHED } else { MEMBERS_ENCODED };
        let list = Arc::clone(&self.list);
        for _ in 0..most {
            if out.len() >= end {
                break;
            }
            let Some(member) = list.members.next(&mut self.next) else { break };
            if self.wants(member) {
                encode_member(member, out);
            }
        }
        list.members.has(self.next)
    }

    /// Passes the next few members to `each`; returns false if there are no more.
    pub(in crate::agent) fn visit_next(&mut self, mut each: impl FnMut(&Member)) -> bool {
        let list = Arc::clone(&self.list);
        for _ in 0..MEMBERS_VISITED {
            let Some(member) = list.members.next(&mut self.next) else { break };
            if self.wants(member) {
                each(member);
            }
        }
        list.members.has(self.next)
    }

    fn wants(&self, member: &Member) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.matches(member))
    }
}

/// Most members encoded for one piece; matched with a filter, which takes longer.
const MEMBERS_ENCODED: usize = 4096;
const MEMBERS_MATCHED: usize = 64;
/// Most members passed on before the client has read the previous ones.
const MEMBERS_VISITED: usize = 16;
/// Time spent in a filter, or in a response that is read as fast as it is encoded, before other
/// tasks get their turn.
pub(super) const TURN: Duration = Duration::from_millis(1);
/// Bytes encoded before the client has read the previous ones; may be exceeded by one member.
const PIECE_BYTES: usize = OWN_BYTES_MAX - (2 << 10);
/// The same while large responses take less than half of their room: each piece costs a system call
/// and a change of tasks.
const LARGE_PIECE_BYTES: usize = 512 << 10;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::task::JoinSet;

    use super::*;
    use crate::{
        agent::ipc::{
            answers::{ANSWERS_BYTES_MAX, HOLD},
            outbox::{Outbox, write},
        },
        rpc::{encode_members, protocol::MembersFiltered},
        serf::MemberStatus,
    };

    fn members(count: usize) -> Roster {
        let member = |i: usize| {
            Arc::new(Member {
                name: format!("member-{i:06}").into(),
                addr: [127, 0, 0, 4].into(),
                port: 7946,
                tags: [("tag", "v".repeat(i % 200))].into_iter().collect(),
                status: MemberStatus::Alive,
                vsn: crate::wire::Vsn([1, 5, 2, 2, 5, 5]),
            })
        };
        (0..count).map(member).collect()
    }

    /// A node: its members, and how often they were asked for.
    struct Node {
        members: std::sync::Mutex<Roster>,
        changes: AtomicUsize,
        reads: AtomicUsize,
    }

    impl Node {
        fn new(count: usize) -> Self {
            let (changes, reads) = (AtomicUsize::new(0), AtomicUsize::new(0));
            Self { members: members(count).into(), changes, reads }
        }

        fn changed(&self) {
            self.members.lock().unwrap().touch();
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Source for Node {
        async fn roster(&self) -> Roster {
            self.reads.fetch_add(1, Ordering::Relaxed);
            self.members.lock().unwrap().clone()
        }
    }

    #[tokio::test]
    async fn clients_share_one_list_until_the_members_change() {
        let (node, lists) = (Node::new(2_000), MemberLists::new(Answers::new()));
        let first = lists.get(&node, None).await;
        for _ in 0..200 {
            let next = lists.get(&node, None).await;
            assert!(Arc::ptr_eq(&first.list, &next.list));
        }
        node.changed();
        let changed = lists.get(&node, None).await;
        assert!(!Arc::ptr_eq(&first.list, &changed.list));
        // An unread list is not kept.
        let list = Arc::downgrade(&changed.list);
        drop(changed);
        assert!(list.upgrade().is_none());
    }

    /// The members change all the time, and there is room for no list more: those who come do not
    /// queue behind each other.
    #[tokio::test]
    async fn those_who_wait_for_room_are_served_by_one_list() {
        let answers = Answers::new();
        let lists = Arc::new(MemberLists::new(Arc::clone(&answers)));
        let (node, all) = (Arc::new(Node::new(2_000)), answers.try_share(ANSWERS_BYTES_MAX));
        let mut asking = JoinSet::new();
        for _ in 0..200 {
            let (node, lists) = (Arc::clone(&node), Arc::clone(&lists));
            asking.spawn(async move {
                node.changed();
                lists.get(&*node, None).await
            });
        }
        while node.changes.load(Ordering::Relaxed) < 200 {
            tokio::task::yield_now().await;
        }
        drop(all);
        let served = asking.join_all().await;
        assert!(served.iter().all(|next| Arc::ptr_eq(&served[0].list, &next.list)));
        // One to see how large it is, one when there was room.
        assert_eq!(node.reads.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_makes_room_for_others() {
        let answers = Answers::new();
        let (node, lists) = (Node::new(2_000), MemberLists::new(Arc::clone(&answers)));
        let (out, frames) = Outbox::new(Arc::clone(&answers));
        let (_unread, socket) = tokio::io::duplex(1_000);
        let writer = tokio::spawn(write(Box::new(socket), frames));
        let listing = lists.get(&node, None).await;
        let bytes = listing.bytes();
        let rest = answers.try_share(ANSWERS_BYTES_MAX - bytes);
        assert!(rest.is_some());
        assert!(out.listing(out.whole_room().await, Vec::new(), listing));
        let started = Instant::now();
        let room = tokio::time::timeout(3 * HOLD, answers.share(bytes / 2)).await;
        assert!(room.is_ok() && started.elapsed() >= HOLD - Duration::from_millis(100));
        assert!(writer.await.is_ok());
    }

    /// However it is cut, and whatever is left out, it is what one piece would be.
    #[tokio::test]
    async fn pieces_of_a_list_are_bounded_and_add_up() {
        let (node, answers) = (Node::new(3_000), Answers::new());
        let lists = MemberLists::new(Arc::clone(&answers));
        for name in ["", "member-.*7", "member-00000.", "nobody"] {
            for (used, piece) in [(false, LARGE_PIECE_BYTES), (true, PIECE_BYTES)] {
                let request = MembersFiltered { name: name.into(), ..MembersFiltered::default() };
                let filter =
                    (!name.is_empty()).then(|| Arc::new(MemberFilter::compile(&request).unwrap()));
                let members = node.members.lock().unwrap().clone();
                let wanted = members.iter();
                let wanted = wanted.filter(|&m| filter.as_ref().is_none_or(|f| f.matches(m)));
                let wanted: Vec<_> = wanted.cloned().collect();
                let mut listing = lists.get(&node, filter.clone()).await;
                // Others use half of the room, so that large pieces have to leave the rest to them.
                let others = if used { ANSWERS_BYTES_MAX / 2 } else { 0 };
                let others = answers.try_share(others).expect("room");
                let (bytes, mut all, mut largest) = (listing.bytes(), Vec::new(), 0);
                let mut more = true;
                while more {
                    let before = all.len();
                    more = listing.encode_next(&mut all);
                    largest = largest.max(all.len() - before);
                }
                drop(others);
                assert!(largest <= piece + MEMBER_BYTES, "{name}: {largest} bytes at once");
                // A list without a filter fills its pieces.
                assert!(!name.is_empty() || largest >= piece, "{largest} bytes at most");
                assert!(all.len() <= bytes + 32);
                let mut expected = Vec::new();
                let mut writer = Writer::with_dialect(&mut expected, Dialect::Rpc);
                writer.map(1);
                writer.str("Members");
                encode_members(wanted.iter().map(|member| &**member), &mut expected);
                assert!(all == expected, "{name}: {} bytes, not {}", all.len(), expected.len());
            }
        }
    }

    /// More than one of these members takes.
    const MEMBER_BYTES: usize = 1 << 10;
}
