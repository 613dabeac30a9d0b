//! The members shown by `serf top`; their memory is bounded, whatever the agent sends.

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use crate::{
    base::{printable, printable_text},
    rpc::{self, protocol::Member},
    serf::Coordinate,
};

/// A member; its texts are escaped for the terminal.
pub(super) struct Row {
    pub(super) label: String,
    pub(super) status: String,
    pub(super) addr: String,
    /// Version of Serf's protocol.
    pub(super) version: u8,
    pub(super) tags: String,
    /// How often it returned from a failure since this program started.
    pub(super) flaps: u64,
    pub(super) rtt_ms: Option<f64>,
    has_failed: bool,
    coordinate: Option<Coordinate>,
    /// All its texts in lower case, for the filter.
    text: String,
}

/// Sort keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Name,
    Status,
    Rtt,
    Flaps,
    Address,
}

/// The members, within the limit on memory.
pub(super) struct Members {
    own: Arc<str>,
    rows: HashMap<Arc<str>, Row>,
    /// Approximate memory of the rows.
    bytes: usize,
    /// Members of the last list that exceeded the limit.
    pub(super) left_out: usize,
}

impl Members {
    pub(super) fn new(own: Arc<str>) -> Self {
        Self { own, rows: HashMap::new(), bytes: 0, left_out: 0 }
    }

    /// Replaces all members; the counts of those that remain are kept.
    pub(super) fn take_list(&mut self, members: &[Member]) {
        let mut old = std::mem::take(&mut self.rows);
        (self.bytes, self.left_out) = (0, 0);
        for member in members {
            let before = old.remove(member.name.as_str());
            if !self.insert(member, before) {
                self.left_out += 1;
            }
        }
        self.estimate_all();
    }

    /// Updates a member from an event.
    pub(super) fn take_one(&mut self, member: &Member) {
        let before = self.remove(&member.name);
        self.insert(member, before);
        self.estimate(&member.name);
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Row> {
        let (name, row) = self.rows.remove_entry(name)?;
        self.bytes = self.bytes.saturating_sub(row.bytes(&name));
        Some(row)
    }

    fn insert(&mut self, member: &Member, before: Option<Row>) -> bool {
        let row = Row::new(member, before);
        let bytes = row.bytes(&member.name);
        if self.bytes + bytes > BYTES_MAX {
            return false;
        }
        if self.rows.insert(member.name.as_str().into(), row).is_none() {
            self.bytes += bytes;
        }
        true
    }

    /// Updates coordinates; those of unknown members and invalid ones are ignored.
    pub(super) fn take_coordinates(&mut self, coordinates: Vec<(Arc<str>, Coordinate)>) {
        let mut is_own = false;
        for (name, coordinate) in coordinates {
            if coordinate.vec.len() > DIMENSIONS_MAX || !coordinate.is_valid() {
                continue;
            }
            if let Some(row) = self.rows.get_mut(&name) {
                row.coordinate = Some(coordinate);
                is_own |= name == self.own;
                self.estimate(&name);
            }
        }
        if is_own {
            self.estimate_all();
        }
    }

    fn estimate_all(&mut self) {
        let own = self.rows.get(&self.own).and_then(|row| row.coordinate.clone());
        for row in self.rows.values_mut() {
            row.estimate(own.as_ref());
        }
        self.forget_own();
    }

    fn estimate(&mut self, name: &str) {
        let own = self.rows.get(&self.own).and_then(|row| row.coordinate.clone());
        if let Some(row) = self.rows.get_mut(name) {
            row.estimate(own.as_ref());
        }
        self.forget_own();
    }

    /// The agent itself has no round-trip time.
    fn forget_own(&mut self) {
        if let Some(row) = self.rows.get_mut(&self.own) {
            row.rtt_ms = None;
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Row> {
        self.rows.get(name)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The number of members with each status, Serf's statuses first.
    pub(super) fn statuses(&self) -> Vec<(String, usize)> {
        let mut counts: Vec<_> = STATUSES.map(|status| (status.to_owned(), 0)).into();
        for row in self.rows.values() {
            if let Some((_, count)) = counts.iter_mut().find(|(known, _)| *known == row.status) {
                *count += 1;
            } else if counts.len() < STATUSES_MAX {
                counts.push((row.status.clone(), 1));
            }
        }
        counts
    }

    /// The names of the members whose texts contain all of `words`, sorted.
    pub(super) fn arranged(&self, words: &str, sort: Sort, is_reversed: bool) -> Vec<Arc<str>> {
        let words: Vec<_> = words.split_whitespace().map(str::to_lowercase).collect();
        let matches = |row: &Row| words.iter().all(|word| row.text.contains(word));
        let mut rows: Vec<_> = self.rows.iter().filter(|(_, row)| matches(row)).collect();
        rows.sort_unstable_by(|(a_name, a), (b_name, b)| {
            let order = if sort == Sort::Name { a_name.cmp(b_name) } else { compare(sort, a, b) };
            let order = if is_reversed { order.reverse() } else { order };
            order.then_with(|| a_name.cmp(b_name))
        });
        rows.into_iter().map(|(name, _)| Arc::clone(name)).collect()
    }
}

impl Row {
    fn new(member: &Member, before: Option<Self>) -> Self {
        let tags = member.tags.iter().map(|(name, value)| format!("{name}={value}"));
        let tags = printable_text(&tags.collect::<Vec<_>>().join(" "), TAGS_BYTES_MAX).to_string();
        let label = printable(&member.name).to_string();
        let status = printable_text(&member.status, STATUS_BYTES_MAX).to_string();
        let addr = rpc::endpoint(&member.addr.0, member.port);
        let addr = printable_text(&addr, ADDR_BYTES_MAX).to_string();
        let text = format!("{label} {status} {addr} {tags}").to_lowercase();
        let (had_failed, flaps) =
            before.as_ref().map_or((false, 0), |row| (row.has_failed, row.flaps));
        Self {
            flaps: flaps + u64::from(had_failed && status == "alive"),
            has_failed: status == "failed",
            label,
            status,
            addr,
            version: member.delegate_cur,
            tags,
            rtt_ms: None,
            coordinate: before.and_then(|row| row.coordinate),
            text,
        }
    }

    fn estimate(&mut self, own: Option<&Coordinate>) {
        let distance = own.zip(self.coordinate.as_ref()).and_then(|(own, to)| own.distance_to(to));
        self.rtt_ms = distance.map(|rtt| rtt.as_secs_f64() * 1e3);
    }

    fn bytes(&self, name: &str) -> usize {
        let Self { label, status, addr, tags, text, .. } = self;
        let texts = [name, label, status, addr, tags, text].map(str::len);
        size_of::<Self>() + DIMENSIONS_MAX * size_of::<f64>() + texts.iter().sum::<usize>()
    }
}

/// Compares rows so that the most interesting come first: failures, long round trips, many flaps.
fn compare(sort: Sort, a: &Row, b: &Row) -> Ordering {
    let rank = |row: &Row| ["failed", "leaving", "left"].iter().position(|s| *s == row.status);
    match sort {
        // The map is sorted by names.
        Sort::Name => Ordering::Equal,
        Sort::Status => rank(a).unwrap_or(usize::MAX).cmp(&rank(b).unwrap_or(usize::MAX)),
        Sort::Rtt => b.rtt_ms.unwrap_or(-1.0).total_cmp(&a.rtt_ms.unwrap_or(-1.0)),
        Sort::Flaps => b.flaps.cmp(&a.flaps),
        Sort::Address => a.addr.cmp(&b.addr),
    }
}

/// Serf's statuses, in display order.
pub(super) const STATUSES: [&str; 4] = ["alive", "leaving", "failed", "left"];
/// Most different statuses that are counted.
const STATUSES_MAX: usize = 8;
/// Most memory of all rows; 10,000 members take about 8 MiB.
const BYTES_MAX: usize = 128 << 20;
const TAGS_BYTES_MAX: usize = 1024;
const STATUS_BYTES_MAX: usize = 16;
const ADDR_BYTES_MAX: usize = 64;
/// Most dimensions of a coordinate; Serf's have 8.
const DIMENSIONS_MAX: usize = 16;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::rpc::protocol::Blob;

    pub(in crate::cli::top) fn member(name: &str, status: &str) -> Member {
        Member {
            name: name.to_owned(),
            addr: Blob(vec![10, 0, 0, 1]),
            port: 7946,
            tags: [("role".to_owned(), "web".to_owned())].into(),
            status: status.to_owned(),
            protocol_min: 1,
            protocol_max: 5,
            protocol_cur: 2,
            delegate_min: 2,
            delegate_max: 5,
            delegate_cur: 5,
        }
    }

    pub(in crate::cli::top) fn coordinate(x: f64) -> Coordinate {
        Coordinate { vec: vec![x, 0.0], error: 1.0, adjustment: 0.0, height: 0.001 }
    }

    #[test]
    fn a_member_flaps_when_it_comes_back_whichever_way_that_is_heard() {
        let mut members = Members::new("a".into());
        let flaps = |members: &Members| members.get("b").unwrap().flaps;
        members.take_list(&[member("b", "alive")]);
        for (status, count) in [("failed", 0), ("failed", 0), ("alive", 1), ("alive", 1)] {
            members.take_one(&member("b", status));
            assert_eq!(flaps(&members), count);
        }
        members.take_one(&member("b", "failed"));
        members.take_list(&[member("b", "alive")]);
        assert_eq!(flaps(&members), 2);
        // A member that left has not failed.
        for status in ["failed", "left", "alive"] {
            members.take_one(&member("b", status));
        }
        assert_eq!(flaps(&members), 2);
        members.take_list(&[]);
        assert_eq!((members.len(), members.bytes), (0, 0));
    }

    #[test]
    fn hostile_answers_take_bounded_memory_and_paint_nothing() {
        let mut members = Members::new("a".into());
        let mut hostile = member("\u{1b}[2J\u{202e}", "alive\n\u{7}");
        hostile.tags = [("x\u{1b}".to_owned(), "y\r".repeat(10_000))].into();
        hostile.addr = Blob(vec![7; 10_000]);
        members.take_list(std::slice::from_ref(&hostile));
        let row = members.rows.values().next().unwrap();
        for text in [&row.label, &row.status, &row.addr, &row.tags, &row.text] {
            assert!(!text.contains(|c: char| crate::base::repaints(c)), "{text:?}");
            assert!(text.len() < 4096);
        }
        // Infinite coordinates, and those without end.
        let endless = Coordinate { vec: vec![0.0; 1_000], ..coordinate(0.0) };
        for wrong in [coordinate(f64::INFINITY), endless] {
            members.take_coordinates(vec![(hostile.name.as_str().into(), wrong)]);
        }
        assert!(members.rows.values().all(|row| row.coordinate.is_none()));
        let long = "x".repeat(1 << 20);
        let endless: Vec<_> = (0..200).map(|n| member(&format!("{n}{long}"), "alive")).collect();
        members.take_list(&endless);
        assert_eq!(members.len() + members.left_out, 200);
        assert!(members.left_out > 70 && members.bytes <= BYTES_MAX);
        for member in &endless {
            members.take_one(member);
        }
        assert!(members.bytes <= BYTES_MAX);
        for n in 0..100 {
            members.take_list(&[member("b", &n.to_string())]);
        }
        assert!(members.statuses().len() <= STATUSES_MAX);
    }
}
