//! Admission of clients: limits the number of clients, the number of those that have not
//! authenticated yet (strangers), and the rate at which tokens can be guessed.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore, oneshot},
    time::sleep,
};

use super::{answers::Answers, member_list::MemberLists};

/// The origin of a client: its address, or its IPv6 network. `None`: the Unix socket.
pub(in crate::agent) type Origin = Option<IpAddr>;

/// The origin of an address.
pub(super) fn origin(addr: IpAddr) -> Origin {
    Some(match addr.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & IPV6_NETWORK)),
        ip => ip,
    })
}

/// The clients of one agent.
pub(in crate::agent) struct Admission {
    state: Mutex<State>,
    clients_max: usize,
    strangers_max: usize,
    /// State shared by all clients.
    pub(super) answers: Arc<Answers>,
    member_lists: Arc<MemberLists>,
    /// Limits large requests in progress.
    large_requests: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    clients: usize,
    last: u64,
    /// Clients that have not finished the handshake and, with a token, authentication.
    strangers: BTreeMap<u64, Stranger>,
    wrong: HashMap<Origin, Wrong>,
}

struct Stranger {
    origin: Origin,
    since: Instant,
    /// Dropped to disconnect it.
    _stay: oneshot::Sender<()>,
}

/// Wrong tokens from one origin.
struct Wrong {
    count: u32,
    last: Instant,
    /// The turns of its strangers, and of those who may do a part already.
    turns: [Arc<AsyncMutex<()>>; 2],
}

/// What the next token of an origin costs before it is compared; the same for right and wrong ones,
/// so that giving up early reveals nothing.
pub(in crate::agent) struct Price {
    pause: Duration,
    turns: Arc<AsyncMutex<()>>,
}

impl Price {
    /// Waits for the pause, and then for a turn: one at a time over all connections of the origin,
    /// in the order in which they ask. Who is gone takes no turn.
    pub(in crate::agent) async fn pay(self) {
        sleep(self.pause).await;
        let _turn = self.turns.lock().await;
        sleep(TURN).await;
    }
}

impl Admission {
    #[cfg(test)]
    pub(super) fn new(clients_max: usize) -> Arc<Self> {
        Self::sharing(clients_max, &Arc::new(MemberLists::new(Answers::new())))
    }

    /// An admission whose clients share lists of members with those of another one.
    pub(in crate::agent) fn sharing(clients_max: usize, lists: &Arc<MemberLists>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            clients_max,
            strangers_max: (clients_max / 4).clamp(1, STRANGERS_MAX),
            member_lists: Arc::clone(lists),
            large_requests: Arc::new(Semaphore::new(LARGE_REQUESTS_MAX)),
            answers: lists.answers(),
        })
    }

    /// A place for a new client; `None`: all are taken by authenticated clients.
    pub(in crate::agent) fn admit(self: &Arc<Self>, origin: Origin, now: Instant) -> Option<Pass> {
        let mut state = self.lock();
        let mut same = state.strangers.values().filter(|other| other.origin == origin);
        // Only strangers that linger are evicted: many processes that start together are no attack.
        let oldest = same.next().is_some_and(|oldest| now - oldest.since >= STRANGER_GRACE);
        if oldest && same.count() + 1 >= STRANGERS_PER_ORIGIN_MAX {
            state.evict(Some(origin));
        }
        let full = state.strangers.len() >= self.strangers_max;
        // An evicted client still counts in `clients` until its task has ended.
        let made_room = full && state.evict(None);
        if state.clients >= self.clients_max && !made_room && !state.evict(None) {
            return None;
        }
        state.last += 1;
        let id = state.last;
        let (stay, evicted) = oneshot::channel();
        state.strangers.insert(id, Stranger { origin, since: now, _stay: stay });
        state.clients += 1;
        drop(state);
        Some(Pass { admission: Arc::clone(self), id, origin, evicted: Some(evicted) })
    }

    /// Evicts a stranger; returns whether there was one.
    pub(in crate::agent) fn evict(&self) -> bool {
        self.lock().evict(None)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Evicts the oldest stranger of an origin, by default of the origin with the most strangers.
    fn evict(&mut self, origin: Option<Origin>) -> bool {
        let origin = origin.or_else(|| {
            let mut counts = HashMap::new();
            for stranger in self.strangers.values() {
                *counts.entry(stranger.origin).or_insert(0_usize) += 1;
            }
            counts.into_iter().max_by_key(|(_, count)| *count).map(|(origin, _)| origin)
        });
        // Ids increase with time.
        let oldest = self.strangers.iter().find(|(_, other)| Some(other.origin) == origin);
        let Some(id) = oldest.map(|(id, _)| *id) else { return false };
        metrics::counter!("agent.ipc.evicted").increment(1);
        self.strangers.remove(&id).is_some()
    }
}

/// The permit of an admitted client, released when it is dropped.
pub(in crate::agent) struct Pass {
    admission: Arc<Admission>,
    id: u64,
    origin: Origin,
    evicted: Option<oneshot::Receiver<()>>,
}

impl Pass {
    /// Resolves when the client is evicted. Can be called once; a second future never resolves.
    pub(in crate::agent) fn evicted(&mut self) -> impl Future<Output = ()> + use<> {
        let evicted = self.evicted.take();
        async {
            match evicted {
                Some(evicted) => drop(evicted.await),
                None => std::future::pending().await,
            }
        }
    }

    /// Returns the result of `work`, or `None` if the client is evicted first.
    pub(in crate::agent) async fn unless_evicted<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let Some(evicted) = &mut self.evicted else { return Some(work.await) };
        tokio::select! {
            done = work => Some(done),
            _ = evicted => None,
        }
    }

    /// Marks the client as authenticated; it keeps its place.
    pub(in crate::agent) fn known(&self) {
        self.admission.lock().strangers.remove(&self.id);
    }

    /// Room for large responses of all clients.
    pub(super) fn answers(&self) -> Arc<Answers> {
        Arc::clone(&self.admission.answers)
    }

    /// Waits for the turn of a large request.
    pub(super) async fn large_request(&self) -> OwnedSemaphorePermit {
        let permit = Arc::clone(&self.admission.large_requests).acquire_owned().await;
        permit.expect("the semaphore is never closed")
    }

    /// The lists of members that clients share.
    pub(super) fn member_lists(&self) -> &MemberLists {
        &self.admission.member_lists
    }

    /// The price of the next token of this origin, the same for valid and wrong ones; `None`: it
    /// has sent no wrong ones. `known`: the client has limited rights already. Such clients are
    /// never evicted, so strangers do not wait for their turns.
    pub(in crate::agent) fn price(&self, known: bool, now: Instant) -> Option<Price> {
        let state = self.admission.lock();
        let wrong = state.wrong.get(&self.origin)?;
        if now - wrong.last >= WRONG_FORGOTTEN {
            return None;
        }
        let doubled = 2_u32.checked_pow(wrong.count - 1).unwrap_or(u32::MAX);
        let pause = PAUSE_MIN.saturating_mul(doubled).min(PAUSE_MAX);
        let [strangers, others] = &wrong.turns;
        Some(Price { pause, turns: Arc::clone(if known { others } else { strangers }) })
    }

    /// Counts a wrong token; returns how many this origin sent in a row.
    pub(in crate::agent) fn wrong_token(&self, now: Instant) -> u32 {
        let mut state = self.admission.lock();
        state.wrong.retain(|_, wrong| now - wrong.last < WRONG_FORGOTTEN);
        if state.wrong.len() >= WRONG_ORIGINS_MAX && !state.wrong.contains_key(&self.origin) {
            let oldest = state.wrong.iter().min_by_key(|(_, wrong)| wrong.last);
            if let Some(oldest) = oldest.map(|(origin, _)| *origin) {
                state.wrong.remove(&oldest);
            }
        }
        let wrong = state.wrong.entry(self.origin).or_insert_with(|| Wrong {
            count: 0,
            last: now,
            turns: Default::default(),
        });
        wrong.count = wrong.count.saturating_add(1);
        wrong.last = now;
        wrong.count
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        state.strangers.remove(&self.id);
        state.clients -= 1;
    }
}

/// Most large requests of all clients that are read or processed at a time: about 4 MiB each.
pub(super) const LARGE_REQUESTS_MAX: usize = 8;
/// Most unauthenticated clients of one origin; the oldest are evicted.
const STRANGERS_PER_ORIGIN_MAX: usize = 32;
/// Most strangers; or a quarter of all clients if that is less.
const STRANGERS_MAX: usize = 1_024;
/// Time that a stranger has before a new one of its origin evicts it.
const STRANGER_GRACE: Duration = Duration::from_secs(2);
/// Delay of the next token after a first wrong one; doubled by each further one.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest delay. Must be less than [`STRANGER_GRACE`], or delayed clients would be evicted first.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Time of a turn: all strangers of an origin that may linger have theirs within a second.
const TURN: Duration = Duration::from_millis(30);
/// Time without a wrong token after which an origin's count is reset.
const WRONG_FORGOTTEN: Duration = Duration::from_secs(60);
/// Most origins whose wrong tokens are counted.
const WRONG_ORIGINS_MAX: usize = 1_024;
/// Mask of a /64, the network that one IPv6 subscriber commonly has.
const IPV6_NETWORK: u128 = u128::MAX << 64;

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    fn from(n: u8) -> Origin {
        origin([127, 0, 0, n].into())
    }

    fn is_evicted(pass: &mut Pass) -> bool {
        pass.evicted.as_mut().unwrap().try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    #[test]
    fn strangers_make_room_for_others_and_known_clients_stay() {
        let now = Instant::now();
        let admission = Admission::new(8);
        let known: Vec<_> = (0..6).map(|_| admission.admit(from(1), now).unwrap()).collect();
        known.iter().for_each(Pass::known);
        // Two are a quarter: the third takes the place of the first.
        let mut first = admission.admit(from(2), now).unwrap();
        let mut second = admission.admit(from(2), now).unwrap();
        assert!(!is_evicted(&mut first));
        let third = admission.admit(from(3), now).unwrap();
        assert!(is_evicted(&mut first) && !is_evicted(&mut second));
        third.known();
        second.known();
        assert!(admission.admit(from(4), now).is_none());
        drop((first, third));
        assert!(admission.admit(from(4), now).is_some());
        assert_eq!(admission.lock().clients, known.len() + 1);
    }

    #[test]
    fn one_origin_has_few_strangers_that_linger() {
        let mut now = Instant::now();
        let admission = Admission::new(4_096);
        let mut others = admission.admit(from(9), now).unwrap();
        // As many as may start together.
        let mut burst: Vec<_> = (0..200).map(|_| admission.admit(from(1), now).unwrap()).collect();
        assert!(burst.iter_mut().all(|pass| !is_evicted(pass)));
        now += STRANGER_GRACE;
        let _next = admission.admit(from(1), now).unwrap();
        let gone = burst.iter_mut().filter_map(|pass| is_evicted(pass).then_some(()));
        assert_eq!(gone.count(), 1);
        assert!(!is_evicted(&mut others));
    }

    #[test]
    fn wrong_tokens_cost_growing_time_for_their_origin_alone() {
        let mut now = Instant::now();
        let admission = Admission::new(16);
        let (bad, good) =
            (admission.admit(from(1), now).unwrap(), admission.admit(from(2), now).unwrap());
        assert!(bad.price(false, now).is_none());
        let mut pauses = Vec::new();
        for count in 1..=40 {
            assert_eq!(bad.wrong_token(now), count);
            pauses.push(bad.price(false, now).unwrap().pause.as_millis());
        }
        assert_eq!(pauses[..6], [50, 100, 200, 400, 800, 1_000]);
        assert_eq!(pauses.last(), Some(&1_000));
        assert!(good.price(false, now).is_none());
        now += WRONG_FORGOTTEN;
        assert!(bad.price(false, now).is_none());
        assert_eq!(bad.wrong_token(now), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn parallel_guesses_of_one_origin_take_turns() {
        let now = Instant::now();
        let admission = Admission::new(4_096);
        let passes: Vec<_> = (0..100).map(|_| admission.admit(from(1), now).unwrap()).collect();
        passes[0].wrong_token(now);
        let pay = |known| {
            let prices = passes.iter().filter_map(|pass| pass.price(known, now));
            prices.map(Price::pay).collect::<JoinSet<_>>()
        };
        let begin = tokio::time::Instant::now();
        // Those who may do a part wait apart, and who is gone costs the others nothing.
        let (mut waiting, others, gone) = (pay(false), pay(true), pay(false));
        sleep(2 * PAUSE_MIN).await;
        drop(gone);
        while waiting.join_next().await.is_some() {}
        drop(others);
        let elapsed = begin.elapsed();
        let least = PAUSE_MIN + 100 * TURN;
        assert!((least..least + 10 * TURN).contains(&elapsed), "{elapsed:?}");
        // Others are not delayed.
        let other = admission.admit(from(2), now).unwrap();
        assert!(other.price(false, now).is_none());
    }

    #[test]
    fn an_ipv6_network_is_one_origin() {
        let of = |text: &str| origin(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
