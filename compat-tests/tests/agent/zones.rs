//! Goal: agents in two zones that gossip by zone, and Go's agent, which knows nothing of zones,
//! are one cluster: events from each of them reach all, also when the bridges of a zone are gone.

use compat_tests::{net::Net, peer::Peer, process::Kind};

#[test]
fn events_cross_zones_and_reach_go_also_without_the_bridges() {
    let net = Net::new();
    let shows = ["-event-handler", "user=cat >/dev/null"];
    let go = Peer::start(Kind::Go, "go", &net.ip(2), &shows);
    let start = |name: &str, host: u8| {
        let tag = format!("zone={}", &name[..1]);
        let zone = ["-zone-gossip", "-tag", &tag, "-join", &go.addr];
        Peer::start(Kind::Ours, name, &net.ip(host), &[&zone[..], &shows].concat())
    };
    // The bridges of zone a are a1 to a3; a4 and a5 speak to zone b through them.
    let names = ["a1", "a2", "a3", "a4", "a5", "b1", "b2"];
    let mut ours: Vec<_> = (3..).zip(names).map(|(host, name)| start(name, host)).collect();
    let all = names.len() + 1;
    ours.iter().chain([&go]).for_each(|peer| peer.wait_for_members(all));
    let tell = |from: &Peer, ours: &[Peer], event: &str| {
        from.ok(&["event", event, "payload"]);
        for peer in ours.iter().chain([&go]) {
            peer.wait_for_line(&format!("user-event: {event}"));
        }
    };
    tell(&ours[4], &ours, "from-a5");
    tell(&ours[6], &ours, "from-b2");
    tell(&go, &ours, "from-go");
    // The bridges of zone a end without a leave.
    let left = ours.split_off(3);
    drop(ours);
    for peer in left.iter().chain([&go]) {
        ["a1", "a2", "a3"].iter().for_each(|name| peer.wait_member(name, "failed"));
    }
    tell(&left[0], &left, "from-a4");
}
