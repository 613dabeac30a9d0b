//! Which nodes a query is for.

use tracing::warn;

use super::{
    Filter, Member, message,
    regex::{Allowance, QUERY_WORK_MAX, Unusable},
    state::State,
};
use crate::base::{Instant, printable};

impl State {
    /// Whether a query is for us; what its expressions cost is taken from what all queries of
    /// peers share, and one may take half of that at most.
    pub(crate) fn concerns_us(&mut self, now: Instant, query: &message::Query<'_>) -> bool {
        let shared = self.filter_work.at(now).0;
        let allowed = shared.min(QUERY_WORK_MAX);
        let mut work = Allowance(allowed);
        let concerns = self.matches(query, None, &mut work);
        *self.filter_work.at(now) = Allowance(shared - (allowed - work.0));
        concerns
    }

    /// Whether all filters match `member`, or ourselves if there is none. Names are compared
    /// first; expressions are charged to `work`, and one over budget matches nothing.
    /// Go: `serf/query.go:shouldProcessQuery`.
    pub(crate) fn matches(
        &mut self,
        query: &message::Query<'_>,
        member: Option<&Member>,
        work: &mut Allowance,
    ) -> bool {
        let transform = self.config.transform.clone();
        let name = member.map_or(&self.name, |member| &member.name).clone();
        let mut expressions = Vec::new();
        for raw in &query.filters {
            match transform.decode_filter(raw.as_slice()) {
                Ok(Filter::Nodes(names)) if names.contains(&name.as_bytes()) => {}
                Ok(Filter::Nodes(_)) => return false,
                Ok(Filter::Tag { tag, expr }) => expressions.push((tag, expr)),
                Err(error) => {
                    if member.is_none() && self.logs.old.admit(self.now) {
                        warn!(target: "serf", "failed to decode filter: {error}");
                    }
                    return false;
                }
            }
        }
        expressions.into_iter().all(|(tag, expr)| self.matches_tag(tag, expr, member, work))
    }

    fn matches_tag(
        &mut self,
        tag: &[u8],
        expr: &[u8],
        member: Option<&Member>,
        work: &mut Allowance,
    ) -> bool {
        let tags = member.map_or(&self.tags, |member| &member.tags);
        let value = std::str::from_utf8(tag).ok().and_then(|tag| tags.get(tag));
        match self.regexes.is_match(expr, value.unwrap_or_default(), work) {
            Ok(matches) => matches,
            Err(reason) => {
                self.stats.refused_filters += u64::from(reason == Unusable::OverBudget);
                if member.is_none() && self.logs.old.admit(self.now) {
                    warn!(target: "serf", "failed to filter by regex \"{}\"", printable(expr));
                }
                false
            }
        }
    }
}
