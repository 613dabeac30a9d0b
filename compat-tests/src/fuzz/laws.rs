//! Prices: what a unit of input may cost, in bytes, packets and log lines.

use std::{
    cell::Cell,
    sync::{Arc, OnceLock},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    span::{Attributes, Id, Record},
};

/// A constant and a price for each byte of input.
#[derive(Clone, Copy, Debug)]
pub struct Price {
    /// Free.
    pub base: usize,
    /// For each byte.
    pub per_byte: usize,
}

impl Price {
    /// What an input of `len` bytes may cost.
    pub const fn of(self, len: usize) -> usize {
        self.base + self.per_byte * len
    }
}

/// The allocator of the program, if it counts. Only one thread may be at work.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    /// Bytes allocated now.
    pub allocated: fn() -> usize,
    /// Sets the most that may be allocated; what exceeds it ends the program.
    pub set_limit: fn(usize),
}

static METER: OnceLock<Meter> = OnceLock::new();

/// Makes the laws of memory count. The second call changes nothing.
pub fn set_meter(meter: Meter) {
    if METER.set(meter).is_ok() {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // A broken law must be told, which takes memory.
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

/// Allows `bytes` more than is allocated now, until the result is dropped.
pub fn limit_memory(bytes: usize) -> Limit {
    if let Some(meter) = METER.get() {
        (meter.set_limit)((meter.allocated)() + bytes);
    }
    Limit(())
}

/// Asserts that no more than the price is held beyond `before`.
///
/// # Panics
/// More is held.
pub fn assert_kept(what: &str, before: usize, price: Price, len: usize) {
    let kept = allocated().saturating_sub(before);
    let most = price.of(len);
    assert!(kept <= most, "{what}: {kept} bytes kept for {len} bytes, {most} are allowed");
}

thread_local! {
    static LINES: Cell<usize> = const { Cell::new(0) };
}

/// Runs `work`; gives how many log lines at level INFO or above it wrote.
pub fn count_lines<T>(work: impl FnOnce() -> T) -> (T, usize) {
    thread_local! {
        static COUNTER: tracing::Dispatch = tracing::Dispatch::new(Arc::new(LineCounter));
    }
    let before = LINES.get();
    let result = COUNTER.with(|counter| tracing::dispatcher::with_default(counter, work));
    (result, LINES.get() - before)
}

struct LineCounter;

impl Subscriber for LineCounter {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn event(&self, _: &Event<'_>) {
        LINES.set(LINES.get() + 1);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
