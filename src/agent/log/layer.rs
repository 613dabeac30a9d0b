//! Converts `tracing` events to log lines.

use std::{
    cell::Cell,
    fmt::{self, Write as _},
};

use tracing::{Event, Metadata, Subscriber, field::Visit, subscriber::Interest};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt as _},
};

use super::{Level, LogHub, line};

/// Makes a hub the log of this process. Later agents in the same process log to the first one's
/// console.
pub(in crate::agent) fn install(hub: &LogHub) {
    let layer = tracing_subscriber::registry().with(AgentLayer { hub: hub.clone() });
    let _ = tracing::subscriber::set_global_default(layer);
}

/// The layer that forwards events of `tracing` to the hub.
pub(super) struct AgentLayer {
    pub(super) hub: LogHub,
}

impl<S: Subscriber> Layer<S> for AgentLayer {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if component(metadata.target()).is_some() {
            Interest::sometimes()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let level = Level::from(*metadata.level());
        // All other lines are kept in the ring, whatever is shown.
        let each_message = level == Level::Trace || metadata.target() == MESSAGES;
        !each_message || level >= self.hub.finest()
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let Some(component) = component(metadata.target()) else { return };
        let mut text = Text { message: MESSAGE.take(), ..Text::default() };
        text.message.clear();
        event.record(&mut text);
        let Text { mut message, fields, list, tail } = text;
        message.extend([fields, list, tail]);
        self.hub.write(Level::from(*metadata.level()), component, &message);
        if message.capacity() <= MESSAGE_KEPT_MAX {
            MESSAGE.set(message);
        }
    }
}

/// Go's name of the logging component; `None`: another crate.
fn component(target: &str) -> Option<&str> {
    if target == MESSAGES {
        return Some("serf");
    }
    if ["agent", "agent.ipc", "agent.mdns", "serf", "memberlist"].contains(&target) {
        return Some(target);
    }
    let path = target.strip_prefix("ruserf::")?;
    Some(match path.split("::").next().unwrap_or_default() {
        "swim" | "wire" | "transport" | "msgpack" => "memberlist",
        "agent" | "cli" => "agent",
        "rpc" | "client" => "agent.ipc",
        _ => "serf",
    })
}

/// An event as text. Some fields are for messages that Go ends with several lines.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
    /// Follows the message, on separate lines: the items of an error list, or a script's output.
    list: String,
    /// Follows the list.
    tail: String,
}

impl Text {
    fn record(&mut self, name: &str, value: &dyn fmt::Display) {
        // All logged text passes here, so that text from peers is escaped here, whatever the caller
        // has done.
        let _ = match name {
            "message" => write!(self.message, "{}", line::one_line(value)),
            "tail" => write!(self.tail, "{}", line::one_line(value)),
            name => write!(self.fields, " {name}={}", line::one_line(value)),
        };
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        self.record(field.name(), &format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        match field.name() {
            "list" => self.list = line::list(value),
            "lines" => self.list = line::lines(value),
            name => self.record(name, &value),
        }
    }
}

thread_local! {
    /// Buffer for a message, so that none is allocated for each.
    static MESSAGE: Cell<String> = const { Cell::new(String::new()) };
}

/// Largest buffer that is kept for reuse.
const MESSAGE_KEPT_MAX: usize = 8 << 10;
/// Target of the log lines for each received Serf message.
const MESSAGES: &str = "serf.messages";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_the_names_of_go() {
        for (target, name) in [
            ("ruserf::swim::probe", Some("memberlist")),
            ("ruserf::serf::reap", Some("serf")),
            ("ruserf::driver", Some("serf")),
            ("ruserf::agent::run", Some("agent")),
            ("agent.ipc", Some("agent.ipc")),
            ("hyper::x", None),
        ] {
            assert_eq!(component(target), name, "{target}");
        }
    }
}
