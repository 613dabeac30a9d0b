//! Go's regular expressions (RE2 syntax), at a known price.
//!
//! `regex-syntax` parses, [`translate`] makes Go's dialect readable to it, [`program`] matches
//! characters. The expressions come from peers and run on the engine's task, so that each step of
//! this is charged to an allowance; an expression over budget matches nothing.

mod program;
#[cfg(test)]
mod tests;
mod translate;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
};

use program::Program;
use translate::translate;

use crate::base::Instant;

/// A compiled expression.
#[derive(Clone, Debug)]
pub(crate) struct Regex(Arc<Program>);

#[cfg(any(test, feature = "agent"))]
impl Regex {
    /// Compiles an expression of our own side; `None` if Go would not compile it.
    pub(crate) fn compile(expr: &[u8]) -> Option<Self> {
        Self::compile_within(expr, &mut Allowance(u64::MAX))
    }

    /// The same; `None` also if the work exceeds the allowance.
    pub(crate) fn compile_within(expr: &[u8], work: &mut Allowance) -> Option<Self> {
        compile(expr, work).ok()
    }

    /// Whether it matches anywhere in `text`.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text, &mut Allowance(u64::MAX)).unwrap_or_default()
    }
}

/// Work that may still be done, in units of about 5 ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance(pub(crate) u64);

impl Allowance {
    /// Takes the price of work about to be done; an error if too little is left for it.
    fn charge(&mut self, price: u64) -> Result<(), Unusable> {
        self.0 = self.0.checked_sub(price).ok_or(Unusable::OverBudget)?;
        Ok(())
    }
}

/// Why an expression gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// Go would not compile it, or it is larger than any expression may be.
    Invalid,
    /// The allowance is spent.
    OverBudget,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "not an expression, or too large a one",
            Self::OverBudget => "too much work",
        })
    }
}

/// The allowance of all expressions of peers together: a bucket that fills with time.
#[derive(Debug)]
pub(crate) struct WorkBucket {
    left: Allowance,
    filled: Instant,
}

impl WorkBucket {
    pub(crate) fn new(now: Instant) -> Self {
        Self { left: Allowance(WORK_MAX), filled: now }
    }

    /// What may be done now.
    pub(crate) fn at(&mut self, now: Instant) -> &mut Allowance {
        let micros = u64::try_from(now.since(self.filled).as_micros()).unwrap_or(u64::MAX);
        let gained = micros.saturating_mul(WORK_PER_MICROSECOND);
        self.left.0 = self.left.0.saturating_add(gained).min(WORK_MAX);
        self.filled = self.filled.max(now);
        &mut self.left
    }
}

/// Compiled expressions of recent queries, bounded in number and bytes.
#[derive(Default)]
pub(crate) struct RegexCache {
    compiled: BTreeMap<Arc<[u8]>, Result<Regex, Unusable>>,
    /// Oldest first.
    order: VecDeque<Arc<[u8]>>,
    bytes: usize,
}

impl RegexCache {
    /// Whether the expression matches anywhere in `text`.
    pub(crate) fn is_match(
        &mut self,
        expr: &[u8],
        text: &str,
        work: &mut Allowance,
    ) -> Result<bool, Unusable> {
        self.compile(expr, work)?.0.is_match(text, work)
    }

    /// Invalid expressions are cached too; those over budget are not, as the budget refills.
    fn compile(&mut self, expr: &[u8], work: &mut Allowance) -> Result<Regex, Unusable> {
        if expr.len() > EXPR_BYTES_MAX {
            return Err(Unusable::Invalid);
        }
        if let Some(known) = self.compiled.get(expr) {
            return known.clone();
        }
        let compiled = compile(expr, work);
        if compiled.as_ref().err() != Some(&Unusable::OverBudget) {
            let expr: Arc<[u8]> = expr.into();
            self.bytes += size(&expr, &compiled);
            self.order.push_back(expr.clone());
            self.compiled.insert(expr, compiled.clone());
            self.shrink();
        }
        compiled
    }

    fn shrink(&mut self) {
        while self.order.len() > CACHE_MAX || self.bytes > CACHE_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            if let Some(compiled) = self.compiled.remove(&oldest) {
                self.bytes -= size(&oldest, &compiled);
            }
        }
    }
}

/// Memory of a cached expression, about.
fn size(expr: &[u8], compiled: &Result<Regex, Unusable>) -> usize {
    let program = compiled.as_ref().map_or(0, |regex| regex.0.bytes());
    2 * expr.len() + program + ENTRY_OVERHEAD
}

fn compile(expr: &[u8], work: &mut Allowance) -> Result<Regex, Unusable> {
    if expr.len() > EXPR_BYTES_MAX {
        return Err(Unusable::Invalid);
    }
    let text = std::str::from_utf8(expr).map_err(|_| Unusable::Invalid)?;
    let translated = translate(text, work)?;
    let hir = regex_syntax::ParserBuilder::new()
        .utf8(false)
        .nest_limit(NESTING_MAX)
        .build()
        .parse(&translated)
        .map_err(|_| Unusable::Invalid)?;
    Ok(Regex(Arc::new(Program::build(&hir, work)?)))
}

/// Most work done at once: some 3 ms.
const WORK_MAX: u64 = 600_000;
/// Most work for one query.
pub(super) const QUERY_WORK_MAX: u64 = WORK_MAX / 2;
/// How fast the bucket fills: 5 % of the time of one core.
const WORK_PER_MICROSECOND: u64 = 10;
/// Expressions kept compiled.
const CACHE_MAX: usize = 64;
/// Memory of all expressions kept compiled.
const CACHE_BYTES_MAX: usize = 1024 * 1024;
/// What an entry of the cache takes beside expression and program, about.
const ENTRY_OVERHEAD: usize = 128;
/// Longest expression looked at; a query of 1024 bytes holds less.
const EXPR_BYTES_MAX: usize = 8 * 1024;
/// Deepest nesting of groups.
const NESTING_MAX: u32 = 100;
