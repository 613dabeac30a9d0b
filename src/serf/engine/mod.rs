//! One member as one value: its state, the membership engine and running operations.

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
