//! Checks from the agent's log whether its seeds resolve.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::finding::Finding;

/// Seeds that do not resolve, after the lines so far.
#[derive(Debug, Default)]
struct Seeds<'l> {
    /// Seeds of joins that do not resolve, with the reason.
    unresolved: BTreeMap<&'l str, &'l str>,
    /// Seeds that name other sources of addresses, such as files and services, and fail.
    sources: BTreeMap<&'l str, &'l str>,
    /// Joins that run, the oldest first: their seeds about which nothing was reported.
    joins: VecDeque<BTreeSet<&'l str>>,
    /// Sources that failed before this round of `retry_join`, but not in it.
    earlier: BTreeSet<&'l str>,
}

/// Finds seeds that did not resolve in the last join of each.
pub(super) fn findings(lines: &[&str]) -> Vec<Finding> {
    let mut seeds = Seeds::default();
    for line in lines {
        seeds.read(line);
    }
    let all = seeds.unresolved.into_iter().chain(seeds.sources);
    all.map(|(seed, reason)| {
        let problem = format!("The seed {seed} does not resolve ({reason}).");
        Finding::new("seed", problem, REMEDY).about(seed)
    })
    .collect()
}

impl<'l> Seeds<'l> {
    fn read(&mut self, line: &'l str) {
        let after = |text: &str| line.split_once(text).map(|(_, rest)| rest);
        if let Some(rest) = FAILED.iter().find_map(|text| after(text)) {
            let (seed, reason) = rest.split_once(": ").unwrap_or((rest, "unknown reason"));
            self.unresolved.insert(seed, reason);
            for join in &mut self.joins {
                join.remove(seed);
            }
        } else if let Some(rest) = after(" agent: Failed to look up seeds: ") {
            let (what, _) = rest.split_once(": ").unwrap_or((rest, ""));
            let mut prefixes = ["lookup ", "open ", "address "].into_iter();
            let seed = prefixes.find_map(|prefix| what.strip_prefix(prefix)).unwrap_or(what);
            self.sources.insert(seed, rest);
            self.earlier.remove(seed);
        } else if let Some(rest) = after(" agent: joining: [") {
            let (list, _) = rest.split_once("] replay: ").unwrap_or_default();
            self.joins.push_back(list.split(' ').collect());
        } else if after(" agent: joined: ").or_else(|| after(" agent: error joining: ")).is_some() {
            for seed in self.joins.pop_front().unwrap_or_default() {
                self.unresolved.remove(seed);
            }
        } else if after(" agent: Joining cluster...").is_some() {
            self.earlier = self.sources.keys().copied().collect();
        } else if after(" agent: Join completed").or_else(|| after(" agent: Join failed")).is_some()
        {
            for seed in std::mem::take(&mut self.earlier) {
                self.sources.remove(seed);
            }
        }
    }
}

/// Texts before a seed that does not resolve: those of newer and of older agents.
const FAILED: [&str; 2] = [" memberlist: failed to resolve ", " memberlist: Failed to resolve "];
const REMEDY: &str = "Correct the seed in start_join, retry_join or -join, what it names, or the \
    name servers in /etc/resolv.conf.";
