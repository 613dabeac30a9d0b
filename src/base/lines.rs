//! Test helper: captures the log lines that a call causes.

use std::sync::mpsc;

/// Texts of log lines at INFO or above.
struct Lines(mpsc::Sender<String>);

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0.push_str(&format!("{value:?}"));
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.send(text.0).expect("the lines are read at the end");
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// Log lines that `act` causes.
pub(crate) fn lines_of(act: impl FnOnce()) -> Vec<String> {
    let (sender, lines) = mpsc::channel();
    tracing::subscriber::with_default(Lines(sender), act);
    lines.try_iter().collect()
}
