//! One member as one value: the state, the membership engine below it, and operations.

mod join;
mod joins;
mod machine;
mod operation;
mod ops;
mod previous;
mod rejoin;
#[cfg(test)]
mod tests;

pub use machine::Engine;
