//! The form of a log line.

use std::sync::Arc;

use super::Level;

/// A line in the form that was configured.
pub(super) fn format_line(json: bool, level: Level, component: &str, message: &str) -> Arc<str> {
    if json {
        let time = jiff::Timestamp::now().to_string();
        let fields = serde_json::json!({
            "time": time, "level": level.name(), "component": component, "message": message,
        });
        fields.to_string().into()
    } else {
        let time = jiff::Zoned::now().strftime("%Y/%m/%d %H:%M:%S").to_string();
        format!("{time} [{}] {component}: {message}", level.name()).into()
    }
}

pub(super) fn lost_line(json: bool, lost: u64) -> Arc<str> {
    format_line(json, Level::Warn, "agent", &format!("Dropped {lost} lines to the console"))
}
