//! Goal: one member sends beacons and the others measure them; those without the setting, Go's
//! among them, only carry them; when the sender goes another takes over; late ones are logged.

use std::time::Duration;

use compat_tests::{
    net::Net,
    peer::Peer,
    process::Kind,
    wait::{eventually, poll},
};

use super::http::get_with;

const EVENT: &str = "_ruserf_beacon";

/// A value of an agent's metrics; nothing counted is 0.
fn metric(http: &str, series: &str) -> f64 {
    let text = get_with(http, "/metrics", "").text();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

fn sent(http: &str) -> f64 {
    metric(http, "agent_beacon_sent_total")
}

fn measured(http: &str) -> f64 {
    metric(http, "agent_beacon_delay_seconds_count")
}

#[test]
fn one_member_sends_beacons_and_the_others_measure_them() {
    let net = Net::new();
    // In the middle, with the lowest name: Go's agent, which shows all user events.
    let go = Peer::start(Kind::Go, "a", &net.ip(2), &["-event-handler", "user=cat >/dev/null"]);
    let http = [3, 4].map(|last| format!("{}:8080", net.ip(last)));
    let start = |n: usize, name: &str, more: &[&str]| {
        let ip = net.ip(u8::try_from(n).unwrap() + 3);
        let flags = ["-beacon-interval", "1s", "-http-addr", &http[n], "-join", &go.addr];
        Peer::start(Kind::Ours, name, &ip, &[&flags, more].concat())
    };
    let b = start(0, "b", &[]);
    let dir = tempfile::tempdir().unwrap();
    let seen = dir.path().join("seen");
    let handler = format!("user=echo $SERF_USER_EVENT >>{}", seen.display());
    let mut c = start(1, "c", &["-event-handler", &handler]);
    eventually("c hears no beacons", || measured(&http[1]) >= 3.0);
    // Only the lowest name with beacons still sends; a member that has yielded does not.
    eventually("b alone does not send", || {
        let before = sent(&http[1]);
        let heard = measured(&http[1]);
        poll(Duration::from_secs(60), || (measured(&http[1]) >= heard + 4.0).then_some(()));
        sent(&http[1]) == before && metric(&http[0], "agent_beacon_age_seconds") == 0.0
    });
    assert!(metric(&http[1], "agent_beacon_age_seconds") < 30.0);
    // Go's agent carries them as it does any event; with the setting nobody sees them.
    go.wait_for_line(&format!("user-event: {EVENT}"));
    c.ok(&["event", "own"]);
    eventually("the handler does not run", || {
        std::fs::read_to_string(&seen).is_ok_and(|text| text == "own\n")
    });
    assert!(!c.log().contains(EVENT), "{}", c.log_tail());
    // A machine that stood still has an old view, and says so, unless a new beacon waits for it.
    c.signal("STOP");
    let before = sent(&http[0]);
    eventually("b does not go on", || sent(&http[0]) >= before + 2.0);
    b.signal("STOP");
    poll(Duration::from_secs(5), || None::<()>);
    c.signal("CONT");
    c.wait_for_line("Beacon of b came ");
    b.signal("CONT");
    assert!(metric(&http[1], "agent_beacon_late_total") >= 1.0);
    // The sender goes: the next one takes over.
    drop(b);
    c.wait_for_line("Beacons: sending them, none came for ");
    let before = sent(&http[1]);
    eventually("c does not take over", || sent(&http[1]) >= before + 3.0);
    let _b = start(0, "b", &[]);
    c.wait_for_line("Beacons: b sends them now");
    c.signal("INT");
    c.ends_with(0, "");
}
