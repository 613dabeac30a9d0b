//! Joins.

use super::*;

impl Net {
    fn start_join(&mut self, at: usize, entries: &[&str], old: OldEvents) -> OpId {
        let entries: Vec<_> = entries.iter().map(|&entry| entry.to_owned()).collect();
        self.call(at, |engine, now| engine.start_join(now, &entries, old)).unwrap()
    }
}

#[test]
fn join_of_a_good_node_does_not_wait_for_one_of_dead_addresses() {
    let mut net = Net::new(3);
    net.split = vec![2];
    let dead = net.start_join(0, &["10.0.0.2", "10.0.0.2", "10.0.0.2"], OldEvents::Deliver);
    let good = net.start_join(0, &["10.0.0.1"], OldEvents::Deliver);
    net.run(Duration::from_millis(10));
    assert_eq!(net.done(0, good), Some(Ok(Completion::Joined { contacted: 1 })));
    assert_eq!(net.view(1), all_alive(2));
    // One address after the other, each takes a second.
    net.run(Duration::from_millis(2_900));
    assert_eq!(net.done(0, dead), None);
    net.run(Duration::from_millis(200));
    let line = "\t* failed to join 10.0.0.2:7946: refused\n";
    let text = format!("3 errors occurred:\n{}\n", line.repeat(3));
    let Some(Err(error)) = net.done(0, dead) else { panic!("joined") };
    assert_eq!(error.go_text(), text);
    let Error::Join(failures) = error else { panic!("{error}") };
    assert!(failures.iter().all(|failure| failure.address == "10.0.0.2:7946"));
}

#[test]
fn entries_are_taken_in_order_and_names_resolved_when_it_is_their_turn() {
    let mut net = Net::new(2);
    net.split = vec![1];
    let op = net.start_join(
        0,
        &["10.0.0.1", "/x", "gone.test", "n1/seed.test:7946"],
        OldEvents::Deliver,
    );
    assert!(net.nodes[0].resolving.is_empty(), "the address comes first");
    net.run(Duration::from_millis(1_100));
    net.split.clear();
    assert_eq!(net.nodes[0].resolving, [(op, "gone.test".to_owned())]);
    let error = Err("lookup gone.test: no such host".to_owned());
    net.call(0, |engine, now| engine.resolved(now, op, error));
    assert_eq!(net.nodes[0].resolving[1], (op, "seed.test".to_owned()));
    let ips = vec![addr_of(1).ip(); 2];
    net.call(0, |engine, now| engine.resolved(now, op, Ok(ips)));
    net.run(Duration::from_millis(10));
    // All addresses are contacted; failures of some are not an error.
    assert_eq!(net.done(0, op), Some(Ok(Completion::Joined { contacted: 2 })));
    assert_eq!(net.view(1), all_alive(2));
    // An answer that is no longer needed has no effect.
    net.call(0, |engine, now| engine.resolved(now, op, Ok(vec![addr_of(1).ip()])));
    net.run(Duration::from_millis(10));
    assert_eq!(net.done(0, op), None);
}

#[test]
fn only_the_join_that_asked_for_it_ignores_old_events() {
    let mut net = Net::new(3);
    for at in [1, 2] {
        let name = format!("old{at}");
        net.call(at, |engine, now| engine.user_event(now, &UserEventSpec::new(&name, ""))).unwrap();
    }
    // Both run at the same time; the second delivers old events.
    let ignoring = net.start_join(0, &["name.test"], OldEvents::Ignore);
    net.start_join(0, &["10.0.0.1"], OldEvents::Deliver);
    net.run(Duration::from_millis(10));
    assert!(net.nodes[0].events.contains(&"user old1".to_owned()));
    net.call(0, |engine, now| engine.resolved(now, ignoring, Ok(vec![addr_of(2).ip()])));
    net.run(Duration::from_millis(10));
    assert_eq!(net.view(0), all_alive(3));
    assert!(!net.nodes[0].events.contains(&"user old2".to_owned()));
}

#[test]
fn lonely_node_has_the_names_of_its_seeds_resolved_again() {
    let mut net = Net::new(2);
    let op = net.start_join(1, &["seed.test"], OldEvents::Deliver);
    assert_eq!(net.nodes[1].resolving.pop(), Some((op, "seed.test".to_owned())));
    net.call(1, |engine, now| engine.resolved(now, op, Ok(vec![addr_of(0).ip()])));
    net.run(Duration::from_secs(5));
    assert_eq!(net.view(1), all_alive(2));
    net.kill(0);
    net.run(Duration::from_secs(60));
    net.call(1, |engine, now| engine.start_force_leave(now, "n0", Prune::Yes));
    net.run(Duration::from_secs(120));
    // One at a time: the first has not been answered yet.
    assert_eq!(net.nodes[1].resolving.len(), 1);
    let (own, host) = net.nodes[1].resolving.pop().unwrap();
    assert_eq!(host, "seed.test");
    net.call(1, |engine, now| engine.resolved(now, own, Err("no such host".to_owned())));
    assert_eq!(net.done(1, own), None, "nobody asked for it");
    net.run(Duration::from_secs(40));
    assert_eq!(net.nodes[1].resolving.len(), 1, "again at the next interval");
}

#[test]
fn joins_under_way_are_bounded() {
    let mut net = Net::new(1);
    let entries = ["name.test".to_owned()];
    let mut start =
        || net.call(0, |engine, now| engine.start_join(now, &entries, OldEvents::Deliver));
    let first = start().unwrap();
    for _ in 1..256 {
        start().unwrap();
    }
    assert_eq!(start().unwrap_err().to_string(), "too many joins are under way");
    net.call(0, |engine, now| engine.resolved(now, first, Err("no".to_owned())));
    net.call(0, |engine, now| engine.start_join(now, &entries, OldEvents::Deliver)).unwrap();
}
