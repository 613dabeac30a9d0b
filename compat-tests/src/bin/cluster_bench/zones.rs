//! Three zones, each a host of its own, with the bytes between them: what a switch between network
//! namespaces sees. Members of one zone reach each other inside their host.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use compat_tests::lossy::Net;
use ruserf::{
    base::Rng,
    client::{Client, EventRecord},
    serf::UserEventSpec,
};
use tokio::{sync::mpsc, time::sleep};

use super::{
    agent::{Agent, listen, next},
    percentile, report,
};

/// Four clusters, one after the other: all ours, then two of Go's in each zone; each without and
/// with gossip by zone.
pub(super) async fn measure(ours: &str, go: &str, per_zone: usize) {
    assert!(Net::possible(), "this needs root, `ip` and /dev/net/tun");
    for (go_per_zone, kind) in [(0, "ours"), (2, "mixed")] {
        let mut bytes = [0.0; 2];
        for (by_zone, sum) in [false, true].into_iter().zip(&mut bytes) {
            let cluster = Cluster { ours, go, per_zone, go_per_zone, by_zone };
            let way = if by_zone { "by_zone" } else { "anywhere" };
            *sum = cluster.measure(&format!("{kind}_{way}")).await;
        }
        let [anywhere, by_zone] = bytes;
        report(&format!("{kind}_saved_percent"), (1.0 - by_zone / anywhere) * 100.0);
    }
}

struct Cluster<'a> {
    ours: &'a str,
    go: &'a str,
    per_zone: usize,
    go_per_zone: usize,
    by_zone: bool,
}

impl Cluster<'_> {
    /// Returns the bytes to other zones for a node and second while tags change.
    async fn measure(&self, name: &str) -> f64 {
        let net = Net::start(ZONES, 1);
        let dir = tempfile::tempdir().expect("a directory");
        let agents = self.start(&net, dir.path());
        let all = self.per_zone * ZONES;
        let (to, mut heard) = mpsc::unbounded_channel();
        let mut clients = Vec::new();
        for (index, agent) in agents.iter().enumerate() {
            let client = agent.client().await;
            let began = Instant::now();
            while client.members().await.expect("members").len() < all {
                assert!(began.elapsed() < PATIENCE, "{} does not know all", agent.name);
                sleep(Duration::from_millis(200)).await;
            }
            listen(index, &client, "user", to.clone()).await;
            clients.push(client);
        }
        sleep(SETTLE).await;

        let (before, began) = (net.counts(), Instant::now());
        let events = load(&clients, began).await;
        let (after, seconds) = (net.counts(), began.elapsed().as_secs_f64());
        let per_node = seconds * all as f64;
        let bytes = (after.bytes - before.bytes) as f64 / per_node;
        report(&format!("{name}_bytes_node_s"), bytes);
        report(&format!("{name}_packets_node_s"), (after.seen - before.seen) as f64 / per_node);

        let mut times: Vec<Vec<f64>> = vec![Vec::new(); events.len()];
        while let Some(heard) = next(&mut heard, Instant::now() + LATE).await {
            let EventRecord::User(event) = heard.event else { continue };
            let number: usize = event.name.lossy().parse().expect("a number");
            times[number].push((heard.at - events[number]).as_secs_f64());
        }
        let heard_by_all = times.iter().filter(|times| times.len() == clients.len()).count();
        report(&format!("{name}_events"), events.len() as f64);
        report(&format!("{name}_events_that_all_heard"), heard_by_all as f64);
        let mut late: Vec<_> = times
            .iter_mut()
            .filter(|times| times.len() * 100 >= clients.len() * 99)
            .map(|times| percentile(times, 99))
            .collect();
        report(&format!("{name}_99_percent_know_s"), percentile(&mut late, 50));
        bytes
    }

    /// Starts all agents; returns ours, with Go's behind them.
    fn start(&self, net: &Net, dir: &Path) -> Started {
        let seed = format!("{}:7946", net.ip(0));
        let mut started = Started { ours: Vec::new(), _go: Vec::new() };
        for place in 0..self.per_zone {
            for zone in 0..ZONES {
                let namespace = net.namespace(zone);
                let is_go = place >= self.per_zone - self.go_per_zone;
                let name = format!("z{zone}-{place:02}");
                let bind = format!("{}:{}", net.ip(zone), 7946 + place);
                let tag = format!("zone=z{zone}");
                let mut flags = vec!["-tag", &tag, "-retry-join", &seed, "-retry-interval", "1s"];
                let rpc = match is_go {
                    true => format!("127.0.0.1:{}", 17_373 + place),
                    false => format!("unix:{}", dir.join(format!("{name}.sock")).display()),
                };
                if self.by_zone && !is_go {
                    flags.push("-zone-gossip");
                }
                let (program, to) = match is_go {
                    true => (self.go, &mut started._go),
                    false => (self.ours, &mut started.ours),
                };
                let wrapper = ["ip", "netns", "exec", &namespace];
                to.push(Agent::start(program, &wrapper, &name, &bind, &rpc, &flags));
            }
        }
        started
    }
}

struct Started {
    ours: Vec<Agent>,
    /// Only kept alive: their RPC is not reached from here.
    _go: Vec<Agent>,
}

impl std::ops::Deref for Started {
    type Target = [Agent];

    fn deref(&self) -> &[Agent] {
        &self.ours
    }
}

/// One tag of one node changes every half second, and now and then a node sends an event; returns
/// the times of the events, which show how fast news spreads: agents report changes of members
/// seconds later, several at once.
async fn load(clients: &[Client], began: Instant) -> Vec<Instant> {
    let mut rng = Rng::from_u64(1);
    let mut events: Vec<Instant> = Vec::new();
    for number in 1.. {
        let tags = BTreeMap::from([("change".to_owned(), number.to_string())]);
        let client = &clients[rng.below(clients.len())];
        client.update_tags(tags, Vec::new()).await.expect("the tag changes");
        if number % CHANGES_PER_EVENT == 0 {
            let event = UserEventSpec::new(events.len().to_string(), "");
            events.push(Instant::now());
            let client = &clients[rng.below(clients.len())];
            client.user_event(&event).await.expect("the event is accepted");
        }
        let due = began + PAUSE * number;
        sleep(due.saturating_duration_since(Instant::now())).await;
        if began.elapsed() >= LOAD {
            break;
        }
    }
    events
}

const ZONES: usize = 3;
const CHANGES_PER_EVENT: u32 = 10;
const PAUSE: Duration = Duration::from_millis(500);
/// Joins are no longer news then.
const SETTLE: Duration = Duration::from_secs(30);
/// At least one interval of syncs at 60 nodes.
const LOAD: Duration = Duration::from_secs(120);
/// Nothing is heard any more.
const LATE: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(60);
