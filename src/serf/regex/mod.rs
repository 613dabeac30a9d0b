//! Go's regular expressions (RE2 syntax), with bounded work.
//!
//! `regex-syntax` parses, [`translate`] converts Go's dialect to its dialect, [`program`] matches
//! characters. The expressions come from peers and run on the engine's task, so each step is
//! charged to an allowance; an expression over budget matches nothing.
//! this is charged to an allowance; an expression over budget matches nothing.

mod allowance;
mod cache;
mod program;
#[cfg(test)]
mod tests;
mod translate;

pub(crate) use allowance::{Allowance, Unusable};
pub(super) use allowance::{QUERY_WORK_MAX, WorkBucket};
#[cfg(any(test, feature = "agent"))]
pub(crate) use cache::Regex;
pub(crate) use cache::RegexCache;
