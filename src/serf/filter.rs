//! Decides which nodes a query is for.

use tracing::warn;

use super::{
    Filter, Member,
    context::Context,
    message,
    regex::{Allowance, QUERY_WORK_MAX, RegexCache, Unusable, WorkBucket},
};
use crate::base::{Instant, printable};

/// Matches the filters of queries, with bounded work.
pub(crate) struct Filters {
    regexes: RegexCache,
    /// Work that may still be spent on peers' expressions.
    pub(crate) work: WorkBucket,
}

impl Filters {
    pub(crate) fn new(now: Instant) -> Self {
        Self { regexes: RegexCache::default(), work: WorkBucket::new(now) }
    }

    /// Whether a query is for us. Its expressions are charged to a budget that all queries of peers
    /// share, of which one query may take at most half.
    pub(crate) fn concern_us(&mut self, cx: &mut Context, query: &message::Query<'_>) -> bool {
        let shared = self.work.at(cx.now).0;
        let allowed = shared.min(QUERY_WORK_MAX);
        let mut work = Allowance(allowed);
        let concerns = self.match_member(cx, query, None, &mut work);
        *self.work.at(cx.now) = Allowance(shared - (allowed - work.0));
        concerns
    }

    /// Whether all filters match `member`, or ourselves if it is `None`. Names are compared first;
    /// expressions are charged to `work`, and one over budget matches nothing. Go:
    /// `serf/query.go:shouldProcessQuery`.
    pub(crate) fn match_member(
        &mut self,
        cx: &mut Context,
        query: &message::Query<'_>,
        member: Option<&Member>,
        work: &mut Allowance,
    ) -> bool {
        let transform = cx.config.transform.clone();
        let name = member.map_or(&cx.name, |member| &member.name).clone();
        let mut expressions = Vec::new();
        for raw in &query.filters {
            match transform.decode_filter(raw.as_slice()) {
                Ok(Filter::Nodes(names)) if names.contains(&name.as_bytes()) => {}
                Ok(Filter::Nodes(_)) => return false,
                Ok(Filter::Tag { tag, expr }) => expressions.push((tag, expr)),
                Err(error) => {
                    if member.is_none() && cx.logs.old.admit(cx.now) {
                        warn!(target: "serf", "failed to decode filter: {error}");
                    }
                    return false;
                }
            }
        }
        expressions.into_iter().all(|(tag, expr)| self.match_tag(cx, tag, expr, member, work))
    }

    fn match_tag(
        &mut self,
        cx: &mut Context,
        tag: &[u8],
        expr: &[u8],
        member: Option<&Member>,
        work: &mut Allowance,
    ) -> bool {
        let tags = member.map_or(&cx.tags, |member| &member.tags);
        let value = std::str::from_utf8(tag).ok().and_then(|tag| tags.get(tag));
        match self.regexes.is_match(expr, value.unwrap_or_default(), work) {
            Ok(matches) => matches,
            Err(reason) => {
                cx.stats.refused_filters += u64::from(reason == Unusable::OverBudget);
                if member.is_none() && cx.logs.old.admit(cx.now) {
                    let expr = printable(expr);
                    warn!(target: "serf", "failed to compile filter regex ({expr}): {reason}");
                }
                false
            }
        }
    }
}
