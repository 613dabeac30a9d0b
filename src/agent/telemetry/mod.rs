//! Telemetry: the metrics of the last minute, printed on SIGUSR1, the sinks statsd and statsite,
//! and totals for scrapers. Go: `agent/command.go`, `setupTelemetry`; go-metrics.

mod memory;
mod push;
mod recorder;
mod scraped;

pub(super) use recorder::Telemetry;
pub(super) use scraped::{Scraped, check_label};
