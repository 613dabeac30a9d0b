//! Compiles expressions and caches a bounded number of them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::{Allowance, Unusable, program::Program, translate::translate};

/// A compiled expression.
#[derive(Clone, Debug)]
pub(crate) struct Regex(Arc<Program>);

#[cfg(any(test, feature = "agent"))]
impl Regex {
    /// Compiles an expression of this node's user; `None` if Go would not compile it.
    pub(crate) fn compile(expr: &[u8]) -> Option<Self> {
        Self::compile_within(expr, &mut Allowance(u64::MAX))
    }

    /// Compiles an expression; `None` also if the work exceeds the allowance.
    pub(crate) fn compile_within(expr: &[u8], work: &mut Allowance) -> Option<Self> {
        compile(expr, work).ok()
    }

    /// Whether the expression matches anywhere in `text`.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text, &mut Allowance(u64::MAX)).unwrap_or_default()
    }
}

/// Compiled expressions of recent queries, limited in number and bytes.
#[derive(Default)]
pub(crate) struct RegexCache {
    pub(super) compiled: BTreeMap<Arc<[u8]>, Result<Regex, Unusable>>,
    /// Cached expressions, the oldest first.
    pub(super) order: VecDeque<Arc<[u8]>>,
    pub(super) bytes: usize,
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

/// Approximate memory of a cached expression.
pub(super) fn size(expr: &[u8], compiled: &Result<Regex, Unusable>) -> usize {
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

/// Most expressions cached.
pub(super) const CACHE_MAX: usize = 64;
/// Memory limit of all cached expressions.
pub(super) const CACHE_BYTES_MAX: usize = 1024 * 1024;
/// Approximate memory of a cache entry in addition to expression and program.
const ENTRY_OVERHEAD: usize = 128;
/// Longest expression accepted; a query of 1024 bytes holds less.
pub(super) const EXPR_BYTES_MAX: usize = 8 * 1024;
/// Deepest nesting of groups.
const NESTING_MAX: u32 = 100;
