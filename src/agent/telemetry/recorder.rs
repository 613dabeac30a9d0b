//! The recorder of the `metrics` facade.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

use super::{
    memory::Memory,
    push::Push,
    scraped::{Scraped, Series},
};
use crate::driver::metric_table::Kind;

/// The agent's sinks for metrics. Clones share them.
#[derive(Clone)]
pub(in crate::agent) struct Telemetry(Arc<Inner>);

struct Inner {
    /// Part of gauge names if there is a server, as in Go.
    host: Option<String>,
    memory: Mutex<Memory>,
    pushes: Vec<Push>,
    scraped: Option<Scraped>,
}

impl Telemetry {
    /// Keeps the last minute, sends to the configured servers from a task of the runtime, and keeps
    /// totals for scrapers.
    pub(in crate::agent) fn start(
        statsite: Option<&str>,
        statsd: Option<&str>,
        host: &str,
        scraped: Option<Scraped>,
    ) -> Self {
        let mut pushes = Vec::new();
        pushes.extend(statsite.map(Push::statsite));
        pushes.extend(statsd.map(Push::statsd));
        let host = (!pushes.is_empty()).then(|| host.to_owned());
        let memory = Mutex::new(Memory::new(SystemTime::now()));
        Self(Arc::new(Inner { host, memory, pushes, scraped }))
    }

    /// Makes it the recorder of this process; only the first call has an effect.
    pub(in crate::agent) fn install(&self) {
        let _ = metrics::set_global_recorder(self.clone());
    }

    /// The complete intervals, one line for each metric. Go: `InmemSignal`.
    pub(in crate::agent) fn dump(&self) -> String {
        self.0.memory.lock().unwrap_or_else(PoisonError::into_inner).dump(SystemTime::now())
    }

    fn measure(&self, kind: Kind, key: &Key) -> Arc<Measure> {
        let mut name = PREFIX.to_owned();
        if let (Kind::Gauge, Some(host)) = (kind, &self.0.host) {
            let _ = write!(name, ".{host}");
        }
        let _ = write!(name, ".{}", key.name());
        for label in key.labels() {
            let _ = write!(name, ".{}", label.value());
        }
        let telemetry = self.clone();
        let series = self.0.scraped.as_ref().and_then(|_| Series::of(key));
        Arc::new(Measure { telemetry, kind, name: name.into(), series })
    }
}

impl Recorder for Telemetry {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.measure(Kind::Counter, key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.measure(Kind::Gauge, key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.measure(Kind::Sample, key))
    }
}

struct Measure {
    telemetry: Telemetry,
    kind: Kind,
    name: Arc<str>,
    series: Option<Series>,
}

impl Measure {
    fn record_times(&self, value: f64, times: u64) {
        let Inner { memory, pushes, scraped, .. } = &*self.telemetry.0;
        let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.record(SystemTime::now(), self.kind, &self.name, value, times);
        drop(memory);
        for push in pushes {
            push.send(self.kind, &self.name, value);
        }
        if let (Some(scraped), Some(series)) = (scraped, &self.series) {
            scraped.record(series, value, times);
        }
    }
}

impl CounterFn for Measure {
    fn increment(&self, value: u64) {
        self.record_times(value as f64, 1);
    }

    /// Not used: no counter is set to a value.
    fn absolute(&self, _value: u64) {}
}

impl GaugeFn for Measure {
    /// Not used: no gauge is changed by a difference.
    fn increment(&self, _value: f64) {}
    fn decrement(&self, _value: f64) {}

    fn set(&self, value: f64) {
        self.record_times(value, 1);
    }
}

impl HistogramFn for Measure {
    fn record(&self, value: f64) {
        self.record_times(value, 1);
    }

    fn record_many(&self, value: f64, count: usize) {
        self.record_times(value, count as u64);
    }
}

/// Go: the name given to `metrics.DefaultConfig`.
const PREFIX: &str = "serf-agent";
