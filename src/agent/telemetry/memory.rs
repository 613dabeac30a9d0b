//! The metrics of the last minute. Go: go-metrics, `InmemSink`.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::driver::metric_table::Kind;

/// The metrics of recent intervals.
pub(super) struct Memory {
    intervals: VecDeque<Interval>,
}

struct Interval {
    start: SystemTime,
    values: BTreeMap<(Kind, Arc<str>), Aggregate>,
}

struct Aggregate {
    count: u64,
    sum: f64,
    squares: f64,
    min: f64,
    max: f64,
    last: f64,
    updated: SystemTime,
}

impl Memory {
    pub(super) fn new(now: SystemTime) -> Self {
        let mut memory = Self { intervals: VecDeque::new() };
        memory.roll(now);
        memory
    }

    /// Records a value measured `times` times.
    pub(super) fn record(
        &mut self,
        now: SystemTime,
        kind: Kind,
        name: &Arc<str>,
        value: f64,
        times: u64,
    ) {
        self.roll(now);
        let Some(interval) = self.intervals.back_mut() else { return };
        let key = (kind, Arc::clone(name));
        if interval.values.len() >= NAMES_MAX && !interval.values.contains_key(&key) {
            return;
        }
        let aggregate = interval.values.entry(key).or_insert(Aggregate {
            count: 0,
            sum: 0.0,
            squares: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            last: 0.0,
            updated: now,
        });
        aggregate.count = aggregate.count.saturating_add(times);
        aggregate.sum += value * times as f64;
        aggregate.squares += value * value * times as f64;
        aggregate.min = aggregate.min.min(value);
        aggregate.max = aggregate.max.max(value);
        aggregate.last = value;
        aggregate.updated = now;
    }

    /// All complete intervals, the oldest first.
    pub(super) fn dump(&mut self, now: SystemTime) -> String {
        self.roll(now);
        let mut text = String::new();
        for interval in self.intervals.iter().take(self.intervals.len().saturating_sub(1)) {
            let start = go_time(interval.start, false);
            for ((kind, name), value) in &interval.values {
                let _ = match kind {
                    Kind::Gauge => writeln!(text, "[{start}][G] '{name}': {:.3}", value.last),
                    Kind::Counter => writeln!(text, "[{start}][C] '{name}': {}", value.text()),
                    Kind::Sample => writeln!(text, "[{start}][S] '{name}': {}", value.text()),
                };
            }
        }
        text
    }

    fn roll(&mut self, now: SystemTime) {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let start = UNIX_EPOCH + Duration::from_secs(since - since % INTERVAL.as_secs());
        if self.intervals.back().is_none_or(|last| last.start < start) {
            self.intervals.push_back(Interval { start, values: BTreeMap::new() });
        }
        if self.intervals.len() > INTERVALS_MAX {
            self.intervals.pop_front();
        }
    }
}

impl Aggregate {
    /// Go: `AggregateSample.String`.
    fn text(&self) -> String {
        let updated = go_time(self.updated, true);
        let deviation = self.deviation();
        if deviation == 0.0 {
            return format!("Count: {} Sum: {:.3} LastUpdated: {updated}", self.count, self.sum);
        }
        let mean = self.sum / self.count as f64;
        format!(
            "Count: {} Min: {:.3} Mean: {mean:.3} Max: {:.3} Stddev: {deviation:.3} Sum: {:.3} \
             LastUpdated: {updated}",
            self.count, self.min, self.max, self.sum
        )
    }

    fn deviation(&self) -> f64 {
        let count = self.count as f64;
        let spread = count * self.squares - self.sum * self.sum;
        let div = count * (count - 1.0);
        if div == 0.0 { 0.0 } else { (spread.max(0.0) / div).sqrt() }
    }
}

/// Formats a time as Go prints a `time.Time`.
fn go_time(time: SystemTime, fraction: bool) -> String {
    let Ok(time) = jiff::Timestamp::try_from(time) else { return String::new() };
    let zoned = time.to_zoned(jiff::tz::TimeZone::system());
    let format = if fraction { "%Y-%m-%d %H:%M:%S%.f %z %Z" } else { "%Y-%m-%d %H:%M:%S %z %Z" };
    zoned.strftime(format).to_string()
}

const INTERVAL: Duration = Duration::from_secs(10);
/// A minute, and the current interval.
const INTERVALS_MAX: usize = 7;
/// Most names in an interval; some contain names from the network.
const NAMES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000_000_000 + seconds)
    }

    #[test]
    fn intervals_of_ten_seconds_are_reported_when_they_are_over() {
        let mut memory = Memory::new(at(0));
        let (events, pings): (Arc<str>, Arc<str>) = ("serf-agent.events".into(), "p".into());
        memory.record(at(1), Kind::Counter, &events, 1.0, 1);
        memory.record(at(2), Kind::Counter, &events, 1.0, 1);
        memory.record(at(3), Kind::Sample, &pings, 1.0, 1);
        memory.record(at(3), Kind::Sample, &pings, 3.0, 2);
        memory.record(at(4), Kind::Gauge, &"g".into(), 7.0, 1);
        assert_eq!(memory.dump(at(9)), "");
        let text = memory.dump(at(10));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].ends_with("[G] 'g': 7.000"), "{text}");
        assert!(
            lines[1].contains("[C] 'serf-agent.events': Count: 2 Sum: 2.000 LastUpdated: 2001")
        );
        let sample = "[S] 'p': Count: 3 Min: 1.000 Mean: 2.333 Max: 3.000 Stddev: 1.155 Sum: 7.000";
        assert!(lines[2].contains(sample), "{text}");
    }

    #[test]
    fn a_minute_is_kept_and_names_are_bounded() {
        let mut memory = Memory::new(at(0));
        for second in 0..200 {
            memory.record(at(second), Kind::Counter, &"c".into(), 1.0, 1);
        }
        assert_eq!(memory.dump(at(200)).lines().count(), INTERVALS_MAX - 1);
        for n in 0..2 * NAMES_MAX {
            memory.record(at(201), Kind::Counter, &n.to_string().into(), 1.0, 1);
        }
        assert_eq!(memory.intervals.back().unwrap().values.len(), NAMES_MAX);
    }
}
