//! The targets.

use super::{
    capture, config, engine, expression, laws, mdns, message, packet, rpc, serf, stream, value,
};

/// Panics if a law is broken.
pub type Check = fn(&[u8]);

/// A target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is also its folder in the corpus.
    pub name: &'static str,
    /// Processes an input.
    pub check: Check,
    /// Limit on its peak memory: bytes, and bytes for each byte of the input.
    pub memory: laws::Price,
}

/// Every target.
pub const TARGETS: [Target; 11] = [
    target("packet", packet, laws::Price { base: 2 << 20, per_byte: 64 }),
    target("message", message, laws::Price { base: 64 << 10, per_byte: 32 }),
    target("stream", stream, laws::Price { base: 2 << 20, per_byte: 1_000 }),
    target("value", value, laws::Price { base: 64 << 10, per_byte: 256 }),
    target("serf", serf, laws::Price { base: 256 << 10, per_byte: 256 }),
    target("engine", engine, laws::Price { base: 4 << 20, per_byte: 1_000 }),
    target("rpc", rpc, laws::Price { base: 128 << 10, per_byte: 256 }),
    target("expression", expression, laws::Price { base: 4 << 20, per_byte: 64 }),
    target("mdns", mdns, laws::Price { base: 64 << 10, per_byte: 256 }),
    target("config", config, laws::Price { base: 256 << 10, per_byte: 256 }),
    target("capture", capture, laws::Price { base: 4 << 20, per_byte: 1_000 }),
];

const fn target(name: &'static str, check: Check, memory: laws::Price) -> Target {
    Target { name, check, memory }
}

/// Runs a target on an input and asserts its limits; that on memory if the allocator counts.
///
/// # Panics
/// A law is broken.
pub fn run(target: &Target, input: &[u8]) {
    let _limit = laws::limit_memory(target.memory.of(input.len()));
    (target.check)(input);
}

/// Runs the target of this name, for libFuzzer.
///
/// # Panics
/// There is no such target, or a law is broken.
pub fn run_named(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    run(target, input);
}

/// The body of a libFuzzer target, with an allocator that counts.
#[macro_export]
macro_rules! fuzz_target {
    ($name:literal) => {
        #[global_allocator]
        static ALLOCATOR: cap::Cap<std::alloc::System> =
            cap::Cap::new(std::alloc::System, usize::MAX);

        libfuzzer_sys::fuzz_target!(|input: &[u8]| {
            $crate::fuzz::laws::set_meter($crate::fuzz::laws::Meter {
                allocated: || ALLOCATOR.allocated(),
                set_limit: |bytes| {
                    let _ = ALLOCATOR.set_limit(bytes);
                },
            });
            $crate::fuzz::run_named($name, input)
        });
    };
}
