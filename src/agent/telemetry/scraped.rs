//! Totals since the start, as OpenMetrics text for scrapers.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use metrics::Key;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, text},
    metrics::{MetricType, exemplar::Exemplar},
    registry,
};

use crate::driver::metric_table::{Kind, METRICS, Metric, Unit, row};

/// The totals. Clones share them.
#[derive(Clone, Default)]
pub(in crate::agent) struct Scraped {
    totals: Arc<Mutex<BTreeMap<Series, Total>>>,
    /// Labels of all series.
    labels: Arc<BTreeMap<String, String>>,
}

/// Identifies a series: the index of its metric in the table, and its labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Series {
    name: &'static str,
    labels: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
enum Total {
    Number(f64),
    Samples { sum: f64, count: u64, buckets: Vec<(f64, u64)> },
}

impl Series {
    /// The series of a key; `None`: the key is not in the table.
    pub(super) fn of(key: &Key) -> Option<Self> {
        let (metric, rest) = row(key.name())?;
        let label = metric.label.split(',').next().unwrap_or_default();
        let mut labels: Vec<_> = rest.iter().map(|rest| pair(label, rest)).collect();
        labels.extend(key.labels().map(|label| pair(label.key(), label.value())));
        Some(Self { name: metric.name, labels })
    }
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

impl Scraped {
    /// Starts without totals; all series will have these labels.
    pub(in crate::agent) fn new(labels: BTreeMap<String, String>) -> Self {
        let scraped = Self { totals: Arc::default(), labels: Arc::new(labels) };
        // To a scraper, a counter that first appears with a count has not increased; so counters
        // start at 0.
        let plain = METRICS.iter().filter(|metric| metric.label.is_empty());
        let plain = plain.filter(|metric| metric.kind == Kind::Counter);
        let plain = plain.map(|metric| Series { name: metric.name, labels: Vec::new() });
        let labelled = STARTING
            .iter()
            .map(|&(name, label, value)| Series { name, labels: vec![pair(label, value)] });
        for series in plain.chain(labelled) {
            scraped.record(&series, 0.0, 1);
        }
        scraped
    }

    /// Sets a gauge that is read only when scraped.
    pub(in crate::agent) fn set(
        &self,
        name: &'static str,
        label: Option<(&str, &str)>,
        value: f64,
    ) {
        let labels = label.iter().map(|(name, value)| pair(name, value)).collect();
        self.record(&Series { name, labels }, value, 1);
    }

    /// Records a value measured `times` times.
    pub(super) fn record(&self, series: &Series, value: f64, times: u64) {
        let Some((metric, _)) = row(series.name) else { return };
        let value = if metric.unit == Unit::Time { value / 1e3 } else { value };
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        if !totals.contains_key(series) {
            if totals.len() >= SERIES_MAX {
                return;
            }
            totals.insert(series.clone(), Total::new(metric));
        }
        let Some(total) = totals.get_mut(series) else { return };
        match (total, metric.kind) {
            (Total::Number(last), Kind::Gauge) => *last = value,
            (Total::Number(sum), _) => *sum += value * times as f64,
            (Total::Samples { sum, count, buckets }, _) => {
                *sum += value * times as f64;
                *count += times;
                if let Some((_, count)) = buckets.iter_mut().find(|(bound, _)| value <= *bound) {
                    *count += times;
                }
            }
        }
    }

    /// All totals, in the format of OpenMetrics 1.0.
    pub(in crate::agent) fn render(&self) -> String {
        let owned = |text: &String| Cow::Owned(text.clone());
        let labels = self.labels.iter().map(|(name, value)| (owned(name), owned(value)));
        let mut registry = registry::Registry::with_labels(labels);
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::new();
        // Writing to a `String` cannot fail.
        let _ = text::encode(&mut text, &registry);
        text
    }
}

/// Refuses names that cannot be labels of all series.
pub(in crate::agent) fn check_label(name: &str) -> Result<(), String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_name = name.chars().all(is_part) && !name.starts_with(|c: char| c.is_ascii_digit());
    if !is_name || name.is_empty() || name.starts_with("__") {
        return Err(format!("metrics_label: {name:?} is no name of a label"));
    }
    let is_taken = |metric: &Metric| metric.label.split(',').any(|label| label == name);
    if name == "le" || METRICS.iter().any(is_taken) {
        return Err(format!("metrics_label: metrics have labels {name:?} of their own"));
    }
    Ok(())
}

impl Total {
    fn new(metric: &Metric) -> Self {
        if metric.kind != Kind::Sample {
            return Self::Number(0.0);
        }
        let bounds = match metric.unit {
            Unit::Count => COUNTS,
            Unit::Bytes => BYTES,
            Unit::Time => SECONDS,
        };
        let buckets =
            bounds.iter().copied().chain([f64::INFINITY]).map(|bound| (bound, 0)).collect();
        Self::Samples { sum: 0.0, count: 0, buckets }
    }

    fn encode(&self, kind: Kind, to: &mut MetricEncoder<'_>) -> fmt::Result {
        type NoExemplar<'e> = Option<&'e Exemplar<[(String, String); 0], f64>>;
        match self {
            Self::Number(value) if kind == Kind::Gauge => to.encode_gauge(value),
            Self::Number(value) => to.encode_counter(value, NoExemplar::None),
            Self::Samples { sum, count, buckets } => {
                to.encode_histogram::<[(String, String); 0]>(*sum, *count, buckets, None)
            }
        }
    }
}

impl Collector for Scraped {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut totals = totals.into_iter().peekable();
        while let Some((first, total)) = totals.next() {
            let Some((metric, _)) = row(first.name) else { continue };
            let unit = match metric.unit {
                Unit::Count => None,
                Unit::Bytes => Some(registry::Unit::Bytes),
                Unit::Time => Some(registry::Unit::Seconds),
            };
            let kind = match metric.kind {
                Kind::Gauge => MetricType::Gauge,
                Kind::Counter => MetricType::Counter,
                Kind::Sample => MetricType::Histogram,
            };
            let name = metric.scraped_name();
            let mut family = encoder.encode_descriptor(&name, metric.help, unit.as_ref(), kind)?;
            let mut next = Some((first, total));
            while let Some((series, total)) = next {
                let labels = series.labels.as_slice();
                if labels.is_empty() {
                    total.encode(metric.kind, &mut family)?;
                } else {
                    total.encode(metric.kind, &mut family.encode_family(&labels)?)?;
                }
                next = totals.next_if(|(next, _)| next.name == metric.name);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Scraped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scraped").finish_non_exhaustive()
    }
}

/// Bucket bounds.
const COUNTS: &[f64] = &[0.0, 1.0, 10.0, 100.0, 1_000.0, 10_000.0];
const BYTES: &[f64] = &[64.0, 256.0, 1_024.0, 4_096.0, 65_536.0, 1_048_576.0, 16_777_216.0];
const SECONDS: &[f64] =
    &[0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];
/// Counters with a label that start at 0.
const STARTING: &[(&str, &str, &str)] = &[
    ("agent.handler.runs", "outcome", "ok"),
    ("agent.handler.runs", "outcome", "failed"),
    ("agent.handler.runs", "outcome", "killed"),
    ("agent.handler.runs", "outcome", "not_started"),
    ("agent.events.dropped", "subscriber", "handlers"),
    ("agent.events.dropped", "subscriber", "clients"),
];
/// Most series; some contain names from the network, whose number the driver limits.
const SERIES_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(scraped: &Scraped, name: &'static str, value: f64, times: u64) {
        scraped.record(&Series::of(&Key::from_name(name)).unwrap(), value, times);
    }

    #[test]
    fn totals_come_with_type_unit_and_help_and_names_from_the_network_are_quoted() {
        let scraped = Scraped::default();
        record(&scraped, "memberlist.udp.sent", 3.0, 1);
        record(&scraped, "memberlist.udp.sent", 4.0, 1);
        record(&scraped, "serf.coordinate.adjustment-ms", 7.0, 2);
        scraped.record(&Series::of(&Key::from_name("serf.events.a\"\n\\b")).unwrap(), 1.0, 1);
        scraped.set("serf.members", Some(("status", "alive")), 4.0);
        scraped.set("serf.members", Some(("status", "alive")), 5.0);
        let text = scraped.render();
        for line in [
            "# HELP memberlist_udp_sent_bytes Bytes sent in packets",
            "# TYPE memberlist_udp_sent_bytes counter",
            "# UNIT memberlist_udp_sent_bytes bytes",
            "memberlist_udp_sent_bytes_total 7.0",
            "# TYPE serf_coordinate_adjustment_seconds histogram",
            "serf_coordinate_adjustment_seconds_sum 0.014",
            "serf_coordinate_adjustment_seconds_count 2",
            "serf_coordinate_adjustment_seconds_bucket{le=\"0.005\"} 0",
            "serf_coordinate_adjustment_seconds_bucket{le=\"0.01\"} 2",
            "serf_coordinate_adjustment_seconds_bucket{le=\"+Inf\"} 2",
            "serf_events_by_event_total{event=\"a\\\"\\n\\\\b\"} 1.0",
            "serf_members{status=\"alive\"} 5.0",
        ] {
            assert!(text.lines().any(|printed| printed == line), "no {line} in\n{text}");
        }
        assert!(text.ends_with("\n# EOF\n"));
    }

    #[test]
    fn every_series_has_the_constant_labels() {
        let labels = [("dc", "a\"b"), ("rack", "7")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let scraped = Scraped::new(labels.into());
        record(&scraped, "memberlist.refute", 1.0, 1);
        record(&scraped, "memberlist.gossip", 1.0, 1);
        scraped.set("serf.members", Some(("status", "alive")), 4.0);
        let text = scraped.render();
        for zero in ["serf_member_flap_total{dc=", "agent_handler_runs_total{dc="] {
            let mut lines = text.lines().filter(|line| line.starts_with(zero));
            assert!(lines.next().is_some_and(|line| line.ends_with(" 0.0")), "{text}");
        }
        let values: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(values.len() > 10);
        for line in values {
            assert!(line.contains(r#"dc="a\"b",rack="7""#), "{line}");
        }
        assert!(check_label("dc_1").is_ok());
        for name in ["", "1", "a-b", "__a", "le", "status", "node_state", "é"] {
            assert!(check_label(name).is_err(), "{name}");
        }
    }

    #[test]
    fn series_are_bounded() {
        let scraped = Scraped::default();
        for n in 0..2 * SERIES_MAX {
            let key = Key::from_name(format!("serf.events.{n}"));
            scraped.record(&Series::of(&key).unwrap(), 1.0, 1);
        }
        assert_eq!(scraped.totals.lock().unwrap().len(), SERIES_MAX);
    }
}
