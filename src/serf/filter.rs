//! Which nodes a query is for.

use tracing::warn;

use super::{Filter, Member, message, state::State};
use crate::base::printable;

impl State {
    /// Whether all filters match `member`, or ourselves if there is none.
    /// Go: `serf/query.go:shouldProcessQuery`.
    pub(crate) fn matches(&mut self, query: &message::Query<'_>, member: Option<&Member>) -> bool {
        let transform = self.config.transform.clone();
        query.filters.iter().all(|raw| match transform.decode_filter(raw.as_slice()) {
            Ok(filter) => self.matches_filter(&filter, member),
            Err(error) => {
                if member.is_none() {
                    if self.logs.old.admit(self.now) {
                        warn!(target: "serf", "failed to decode filter: {error}");
                    }
                }
                false
            }
        })
    }

    fn matches_filter(&mut self, filter: &Filter<'_>, member: Option<&Member>) -> bool {
        let (name, tags) = match member {
            Some(member) => (&member.name, &member.tags),
            None => (&self.name, &self.tags),
        };
        match filter {
            Filter::Nodes(names) => names.contains(&name.as_bytes()),
            Filter::Tag { tag, expr } => {
                let value = std::str::from_utf8(tag).ok().and_then(|tag| tags.get(tag));
                let Some(regex) = self.regexes.compile(expr) else {
                    if self.logs.old.admit(self.now) {
                        warn!(
                            target: "serf",
                            "failed to filter by regex \"{}\"", printable(expr)
                        );
                    }
                    return false;
                };
                regex.is_match(value.unwrap_or_default().as_bytes())
            }
        }
    }
}
