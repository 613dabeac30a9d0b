use std::io;

use tracing_subscriber::layer::SubscriberExt as _;

use super::*;
use crate::agent::log::{layer::AgentLayer, recent};

// parity: rpc-stream: monitor backlog and live
#[test]
fn monitors_get_the_backlog_of_their_level_and_then_live_lines() {
    let hub = LogHub::start(Level::Err, false);
    for n in 0..600 {
        hub.write(Level::Debug, "agent", &format!("line {n}"));
    }
    hub.write(Level::Warn, "serf", "odd");
    let (backlog, mut lines) = hub.monitor(Level::Debug, "c".into());
    assert_eq!(backlog.len(), 512);
    assert!(backlog[0].ends_with("[DEBUG] agent: line 89"), "{}", backlog[0]);
    assert!(backlog[511].ends_with("[WARN] serf: odd"));
    let (backlog, _) = hub.monitor(Level::Warn, "d".into());
    assert_eq!(backlog.len(), 1);
    hub.write(Level::Info, "agent.ipc", "live");
    assert!(lines.try_recv().unwrap().ends_with("[INFO] agent.ipc: live"));
}

#[test]
fn lines_of_each_message_are_made_while_somebody_reads_them() {
    let hub = LogHub::start(Level::Info, false);
    let layer = tracing_subscriber::registry().with(AgentLayer { hub: hub.clone() });
    tracing::subscriber::with_default(layer, || {
        let made = || {
            tracing::debug!(target: "serf.messages", "messageJoinType: b");
            let lines = hub.lock().ring.at_least(Level::Trace, false);
            lines.iter().filter(|line| line.contains("messageJoinType")).count()
        };
        assert_eq!(made(), 0);
        let (_, lines) = hub.monitor(Level::Debug, "c".into());
        assert_eq!(made(), 1);
        drop(lines);
        // The closed monitor is detected at the next line of any kind.
        hub.write(Level::Info, "serf", "x");
        assert_eq!(made(), 1);
        hub.set_level(Level::Debug);
        assert_eq!(made(), 2);
        let lines = hub.lock().ring.at_least(Level::Trace, false);
        assert!(lines.last().unwrap().ends_with("[DEBUG] serf: messageJoinType: b"));
        hub.set_level(Level::Info);
        assert_eq!(made(), 2);
    });
}

#[test]
fn a_slow_monitor_loses_lines_and_is_reported_once() {
    let hub = LogHub::start(Level::Err, false);
    let (_, mut lines) = hub.monitor(Level::Info, "c".into());
    for n in 0..2000 {
        hub.write(Level::Info, "agent", &n.to_string());
    }
    let (backlog, _) = hub.monitor(Level::Warn, "d".into());
    // The warning itself is no longer in the ring; it is logged at the first loss only.
    assert!(backlog.is_empty());
    for n in 0..512 {
        assert!(lines.try_recv().unwrap().ends_with(&format!(": {n}")));
    }
    assert!(lines.try_recv().is_err());
}

/// A suspended terminal, until its gate is dropped.
struct Terminal {
    gate: Arc<Mutex<()>>,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl io::Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        drop(self.gate.lock());
        self.shown.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn on_terminal() -> (LogHub, Arc<Mutex<()>>, impl Fn() -> Vec<String>) {
    let (gate, shown) = (Arc::default(), Arc::new(Mutex::new(Vec::new())));
    let terminal = Terminal { gate: Arc::clone(&gate), shown: Arc::clone(&shown) };
    let hub = LogHub::start_on(terminal, Level::Info, false);
    let flushed = hub.clone();
    let lines = move || {
        // Each takes at most a second, which a busy machine may need.
        (0..20).for_each(|_| flushed.flush());
        let text = String::from_utf8(shown.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    };
    (hub, gate, lines)
}

#[test]
fn an_unread_console_blocks_nothing_and_reports_what_it_missed() {
    let (hub, gate, shown) = on_terminal();
    let still = gate.lock().unwrap();
    // More lines than the queue accepts, held back and not.
    for n in 0..CONSOLE_LINES_MAX + 5 {
        hub.write(Level::Info, "agent", &n.to_string());
    }
    hub.open_gate();
    for n in 0..CONSOLE_LINES_MAX + 1_000 {
        hub.print(&format!("text {n}"));
        hub.write(Level::Info, "serf", &n.to_string());
    }
    hub.flush();
    drop(still);
    // The loss is reported although no further line is printed.
    let lines = shown();
    let reported: Vec<usize> = lines
        .iter()
        .filter_map(|line| line.split_once("[WARN] agent: Dropped "))
        .map(|(_, rest)| rest.strip_suffix(" lines to the console").unwrap().parse().unwrap())
        .collect();
    assert_eq!(reported[0], 5, "{reported:?}");
    let lost: usize = reported.iter().sum();
    let made = 3 * CONSOLE_LINES_MAX + 2_005;
    assert_eq!(lines.len() - reported.len() + lost, made, "{reported:?}");
    assert!(lost > CONSOLE_LINES_MAX, "{reported:?}");
    hub.print("the end");
    let lines = shown();
    assert!(lines.ends_with(&["the end".to_owned()]), "{:?}", lines.last());
}

#[test]
fn no_line_overtakes_those_that_were_held() {
    for _ in 0..4 {
        let (hub, _gate, shown) = on_terminal();
        let writer = hub.clone();
        let (half, reached) = sync_mpsc::channel();
        let writing = thread::spawn(move || {
            for n in 0..12_000 {
                writer.write(Level::Info, "agent", &n.to_string());
                if n == 3_000 {
                    half.send(()).unwrap();
                }
            }
        });
        reached.recv().unwrap();
        hub.open_gate();
        writing.join().unwrap();
        let number = |line: &String| line.rsplit_once(' ').unwrap().1.parse::<u32>().unwrap();
        let numbers: Vec<_> = shown().iter().map(number).collect();
        assert_eq!(numbers, (0..12_000).collect::<Vec<_>>());
    }
}

#[test]
fn lines_that_are_kept_are_bounded_in_bytes() {
    let (hub, gate, shown) = on_terminal();
    let still = gate.lock().unwrap();
    let line = "x".repeat(4_000);
    for _ in 0..2 {
        for _ in 0..CONSOLE_BYTES_MAX / line.len() + 100 {
            hub.write(Level::Info, "agent", &line);
        }
        hub.open_gate();
    }
    // Bytes of lines held back, queued, and in the ring.
    let waiting = hub.shared.backlog.bytes.load(Ordering::Relaxed);
    assert!(waiting <= CONSOLE_BYTES_MAX, "{waiting}");
    let (backlog, _) = hub.monitor(Level::Info, "c".into());
    let kept = backlog.iter().map(|line| line.len()).sum::<usize>();
    assert!((recent::BYTES_MAX / 2..=recent::BYTES_MAX).contains(&kept), "{kept}");
    drop(still);
    let lines = shown();
    assert!(lines.iter().any(|line| line.ends_with(" lines to the console")));
    assert_eq!(hub.shared.backlog.bytes.load(Ordering::Relaxed), 0);
}

/// Clients may come and go for a long time while nothing is logged.
#[test]
fn monitors_that_have_gone_are_not_kept() {
    let hub = LogHub::start(Level::Err, false);
    for _ in 0..1_000 {
        drop(hub.monitor(Level::Debug, "c".into()));
    }
    let (_, _lines) = hub.monitor(Level::Debug, "d".into());
    assert_eq!(hub.lock().monitors.len(), 1);
}

/// What was received is kept as its name as long as nobody reads it, and read like any line.
#[test]
fn events_are_lines_for_those_who_read_them() {
    let hub = LogHub::start(Level::Warn, false);
    let layer = tracing_subscriber::registry().with(AgentLayer { hub: hub.clone() });
    tracing::subscriber::with_default(layer, || {
        let mut names = vec![Name::User("deploy".into()), Name::Query("load".into())];
        assert!(!hub.received(&mut names) && names.is_empty());
        hub.write(Level::Info, "serf", "between");
        let (backlog, mut lines) = hub.monitor(Level::Info, "c".into());
        let ends = |line: &str| line.split_once("] ").unwrap().1.to_owned();
        let backlog: Vec<_> = backlog.iter().map(|line| ends(line)).collect();
        let expected = [
            "agent: Received event: user-event: deploy",
            "agent: Received event: query: load",
            "serf: between",
        ];
        assert_eq!(backlog, expected);
        assert!(hub.received(&mut vec![Name::Member(crate::serf::MemberEventKind::Join)]));
        let live = lines.try_recv().unwrap();
        assert_eq!(ends(&live), "agent: Received event: member-join");
    });
}
