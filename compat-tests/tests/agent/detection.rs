//! Goal: an agent with `fast_detection` beside Go's agents: their nacks are its evidence, a crash
//! is found by it and known to all, and events pass in both directions.

use std::time::{Duration, Instant};

use compat_tests::{net::Net, peer::Peer, process::Kind};

#[test]
fn a_go_node_and_ours_with_fast_detection_find_a_crash() {
    let net = Net::new();
    let shows = ["-event-handler", "user=cat >/dev/null", "-log-level", "debug"];
    let go = Peer::start(Kind::Go, "go", &net.ip(2), &shows);
    let join = [&["-join", &go.addr][..], &shows].concat();
    let ours =
        Peer::start(Kind::Ours, "ours", &net.ip(3), &[&["-fast-detection"][..], &join].concat());
    // Alone with its evidence, our agent needs less than Go's least time of 4 s. A busy machine may
    // delay it, and what a late process has seen is no evidence: one of three must do.
    let sooner = (4..7).any(|host| {
        let name = format!("gone{host}");
        let gone = Peer::start(Kind::Go, &name, &net.ip(host), &join);
        for peer in [&go, &ours, &gone] {
            peer.wait_member(&name, "alive");
        }
        drop(gone);
        ours.wait_for_line(&format!("Suspect {name} has failed"));
        let suspected = Instant::now();
        ours.wait_for_line(&format!("Marking {name} as failed"));
        let time = suspected.elapsed();
        [&go, &ours].iter().for_each(|peer| peer.wait_member(&name, "failed"));
        time < Duration::from_millis(3_800)
    });
    assert!(sooner, "{}", ours.log_tail());
    for (from, event) in [(&go, "from-go"), (&ours, "from-ours")] {
        from.ok(&["event", event, "payload"]);
        [&go, &ours]
            .iter()
            .for_each(|peer| _ = peer.wait_for_line(&format!("user-event: {event}")));
    }
    assert_eq!(ours.members().iter().filter(|(_, status)| status == "alive").count(), 2);
}
