//! What input may cost in memory. The allocator counts for the whole process: each of these tests
//! has one of its own.

use std::alloc::System;

use cap::Cap;

mod alloc_budget;
mod fuzz_corpus;
mod slow_subscriber;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);
