//! Limits the work spent on regular expressions.

use std::fmt;

use crate::base::Instant;

/// Remaining work, in units of about 5 ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance(pub(crate) u64);

impl Allowance {
    /// Charges the cost of work before it is done; fails if too little is left.
    pub(super) fn charge(&mut self, price: u64) -> Result<(), Unusable> {
        self.0 = self.0.checked_sub(price).ok_or(Unusable::OverBudget)?;
        Ok(())
    }
}

/// Why an expression could not be matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// Go would not compile it, or it exceeds a size limit.
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

/// The allowance shared by all expressions of peers: a bucket that refills over time.
#[derive(Debug)]
pub(crate) struct WorkBucket {
    left: Allowance,
    filled: Instant,
}

impl WorkBucket {
    pub(crate) fn new(now: Instant) -> Self {
        Self { left: Allowance(WORK_MAX), filled: now }
    }

    /// The allowance available at `now`.
    pub(crate) fn at(&mut self, now: Instant) -> &mut Allowance {
        let micros = u64::try_from(now.since(self.filled).as_micros()).unwrap_or(u64::MAX);
        let gained = micros.saturating_mul(WORK_PER_MICROSECOND);
        self.left.0 = self.left.0.saturating_add(gained).min(WORK_MAX);
        self.filled = self.filled.max(now);
        &mut self.left
    }
}

/// Most work done at once: about 3 ms.
pub(super) const WORK_MAX: u64 = 600_000;
/// Most work for one query of a peer.
pub(crate) const QUERY_WORK_MAX: u64 = WORK_MAX / 2;
/// Refill rate of the bucket: 5 % of the time of one core.
pub(super) const WORK_PER_MICROSECOND: u64 = 10;
