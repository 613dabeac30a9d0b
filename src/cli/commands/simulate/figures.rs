//! Formats figures of reports.

use std::time::Duration;

pub(super) fn seconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{:.3}", time.as_secs_f64()))
}

/// Seconds with six decimals, for JSON.
pub(super) fn json_seconds(time: Option<Duration>) -> Option<f64> {
    time.map(|time| (time.as_secs_f64() * 1e6).round() / 1e6)
}

/// The value below which `share` of the sorted times lie.
pub(super) fn quantile(sorted: &[Duration], share: f64) -> Option<Duration> {
    let place = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1));
    sorted.get(place - 1).copied()
}
