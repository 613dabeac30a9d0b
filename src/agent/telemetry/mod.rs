//! Telemetry: the metrics of the last minute, which SIGUSR1 prints, their way to statsd and
//! statsite, and their totals for scrapers. Go: `agent/command.go`, `setupTelemetry`; go-metrics.

mod memory;
mod push;
mod recorder;
mod scraped;
mod table;

pub(super) use recorder::Telemetry;
pub(super) use scraped::{Scraped, check_label};
