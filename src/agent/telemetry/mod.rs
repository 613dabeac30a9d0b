//! Telemetry: the metrics of the last minute, which SIGUSR1 prints, and their way to statsd and
//! statsite. Go: `agent/command.go`, `setupTelemetry`; go-metrics.

mod memory;
mod push;
mod recorder;

pub(super) use recorder::Telemetry;
