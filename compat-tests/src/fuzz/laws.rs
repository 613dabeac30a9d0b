//! Limits on the cost of input, in bytes, packets and log lines.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

/// A constant cost, and a cost for each byte of input.
#[derive(Clone, Copy, Debug)]
pub struct Price {
    /// The constant.
    pub base: usize,
    /// For each byte.
    pub per_byte: usize,
}

impl Price {
    /// The highest cost of an input of `len` bytes.
    pub const fn of(self, len: usize) -> usize {
        self.base + self.per_byte * len
    }
}

/// The program's allocator, if it counts. Only one thread may run.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    /// Bytes allocated now.
    pub allocated: fn() -> usize,
    /// Sets the most that may be allocated; what exceeds it ends the program.
    pub set_limit: fn(usize),
}

/// Enables the limits on memory. Further calls have no effect.
pub fn set_meter(meter: Meter) {
    if METER.set(meter).is_ok() {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // The report of a violation takes memory.
            (meter.set_limit)(usize::MAX);
            report(info);
        }));
    }
}

/// Bytes allocated now; zero without a meter.
pub fn allocated() -> usize {
    METER.get().map_or(0, |meter| (meter.allocated)())
}

/// A limit that ends with this value.
#[derive(Debug)]
pub struct Limit(());

impl Drop for Limit {
    fn drop(&mut self) {
        if let Some(meter) = METER.get() {
            (meter.set_limit)(usize::MAX);
        }
    }
}

/// Permits `bytes` more than are allocated now, until the result is dropped.
pub fn limit_memory(bytes: usize) -> Limit {
    if let Some(meter) = METER.get() {
        (meter.set_limit)((meter.allocated)() + bytes);
    }
    Limit(())
}

/// Asserts that at most the cost is allocated in addition to `before`.
///
/// # Panics
/// More is allocated.
pub fn assert_kept(what: &str, before: usize, price: Price, len: usize) {
    let kept = allocated().saturating_sub(before);
    let most = price.of(len);
    assert!(kept <= most, "{what}: {kept} bytes kept for {len} bytes, {most} are allowed");
}

/// Log lines at level INFO and above, by their place in the code. Lines about changes of members
/// are not counted: there is one for each change.
#[derive(Clone, Debug, Default)]
pub struct Lines(BTreeMap<Place, usize>);

/// A file and a line in it.
type Place = (&'static str, u32);

impl Lines {
    /// Runs `work` and counts what it logs.
    pub fn count<T>(&mut self, work: impl FnOnce() -> T) -> T {
        thread_local! {
            static COUNTER: tracing::Dispatch = tracing::Dispatch::new(Arc::new(LineCounter));
        }
        LINES.replace(std::mem::take(&mut self.0));
        let result = COUNTER.with(|counter| tracing::dispatcher::with_default(counter, work));
        self.0 = LINES.take();
        result
    }

    /// Adds lines of the same second.
    pub fn add(&mut self, others: Self) {
        for (place, count) in others.0 {
            *self.0.entry(place).or_default() += count;
        }
    }

    /// Asserts that no cause has more lines than one second permits.
    ///
    /// # Panics
    /// There are more.
    pub fn assert_second(&self) {
        for ((file, line), count) in &self.0 {
            assert!(*count <= LINES_A_SECOND_MAX, "{count} log lines a second: {file}:{line}");
        }
    }
}

thread_local! {
    static LINES: RefCell<BTreeMap<Place, usize>> = const { RefCell::new(BTreeMap::new()) };
}

struct LineCounter;

impl Subscriber for LineCounter {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn event(&self, event: &Event<'_>) {
        let mut message = Text(String::new());
        event.record(&mut message);
        if MEMBER_CHANGES.iter().any(|change| message.0.starts_with(change)) {
            return;
        }
        let place = event.metadata();
        let place = (place.file().unwrap_or_default(), place.line().unwrap_or_default());
        LINES.with_borrow_mut(|lines| *lines.entry(place).or_default() += 1);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The message of a line.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

/// Prefixes of lines about changes of members.
const MEMBER_CHANGES: [&str; 4] = ["EventMember", "Updating address", "Marking", "Suspect"];
/// Most lines of one cause in a second.
const LINES_A_SECOND_MAX: usize = 10;
static METER: OnceLock<Meter> = OnceLock::new();
