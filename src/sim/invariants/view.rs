//! All tables at one moment, and violations found in them.

use std::{fmt, net::SocketAddr};

use crate::{
    sim::{Observation, Oracle, SwimNode, World},
    swim::NodeStateKind,
};

/// A violation of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Name of the rule, which is that of its file.
    pub rule: &'static str,
    /// World time in nanoseconds.
    pub at: u64,
    /// The node whose view violates the rule.
    pub observer: u32,
    /// The node in that view.
    pub subject: u32,
    /// Description of the violation.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at {}.{:03} s: node {} about node {}: {}",
            self.rule,
            self.at / 1_000_000_000,
            self.at % 1_000_000_000 / 1_000_000,
            self.observer,
            self.subject,
            self.detail
        )
    }
}

/// One row of one node's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// State according to the observer.
    pub state: NodeStateKind,
    /// Incarnation according to the observer.
    pub incarnation: u32,
    /// Digest of address, port, meta and versions.
    pub digest: u64,
    /// Address, if it is valid.
    pub addr: Option<SocketAddr>,
}

/// The tables of all running nodes at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// World time in nanoseconds.
    pub at: u64,
    nodes: usize,
    /// `rows[observer * nodes + subject]`.
    rows: Vec<Option<Row>>,
    /// Number of starts of each observer; `None` if its process does not exist.
    lives: Vec<Option<u32>>,
    /// Rows about names that belong to no node: observer, state.
    strangers: Vec<(u32, NodeStateKind)>,
    /// Observations of the nodes since the previous scan.
    pub seen: Vec<Observation>,
}

impl View {
    /// Reads all tables.
    pub fn scan(world: &World<SwimNode>) -> Self {
        let nodes = world.len() as usize;
        let mut rows = vec![None; nodes * nodes];
        let mut lives = vec![None; nodes];
        let mut strangers = Vec::new();
        for observer in 0..nodes {
            let Some(node) = world.node(observer as u32) else { continue };
            lives[observer] = Some(world.life(observer as u32));
            for row in node.engine().nodes() {
                let subject = SwimNode::index_of(row.name) as usize;
                if subject < nodes {
                    rows[observer * nodes + subject] = Some(Row {
                        state: row.state,
                        incarnation: row.incarnation.0,
                        digest: digest(&[row.addr, &row.port.to_be_bytes(), row.meta, &row.vsn.0]),
                        addr: <[u8; 4]>::try_from(row.addr).ok().map(|ip| (ip, row.port).into()),
                    });
                } else {
                    strangers.push((observer as u32, row.state));
                }
            }
        }
        let at = world.now().as_nanos();
        Self { at, nodes, rows, lives, strangers, seen: Vec::new() }
    }

    /// Creates a view from rows, for unit tests of rules.
    pub fn from_rows(at: u64, rows: Vec<Vec<Option<Row>>>) -> Self {
        let nodes = rows.len();
        let lives = vec![Some(0); nodes];
        let rows = rows.into_iter().flatten().collect();
        Self { at, nodes, rows, lives, strangers: Vec::new(), seen: Vec::new() }
    }

    /// Number of nodes.
    pub fn len(&self) -> u32 {
        self.nodes as u32
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.nodes == 0
    }

    /// Number of starts of a node; `None` if its process does not exist.
    pub fn life(&self, observer: u32) -> Option<u32> {
        self.lives[observer as usize]
    }

    /// The row of `subject` in the table of `observer`.
    pub fn row(&self, observer: u32, subject: u32) -> Option<Row> {
        self.rows[observer as usize * self.nodes + subject as usize]
    }

    /// Rows about names that belong to no node: observer, state.
    pub fn strangers(&self) -> &[(u32, NodeStateKind)] {
        &self.strangers
    }

    /// All rows that exist: observer, subject, row.
    pub fn rows(&self) -> impl Iterator<Item = (u32, u32, Row)> {
        self.rows.iter().enumerate().filter_map(|(place, row)| {
            let (observer, subject) = (place / self.nodes, place % self.nodes);
            row.map(|row| (observer as u32, subject as u32, row))
        })
    }

    pub(super) fn violation(
        &self,
        rule: &'static str,
        observer: u32,
        subject: u32,
        detail: String,
    ) -> Violation {
        Violation { rule, at: self.at, observer, subject, detail }
    }
}

/// Whether more than a quarter of the observers undisturbed since `at` are late; returns how many
/// of how many, and one of them. A single node may miss a rumour by chance.
pub(super) fn many_late(
    view: &View,
    oracle: &Oracle,
    subject: u32,
    at: u64,
    late: impl Fn(Row) -> bool,
) -> Option<(usize, usize, u32)> {
    let observers: Vec<u32> = (0..view.len())
        .filter(|it| *it != subject && oracle.is_quiet_since(*it, at))
        .filter(|it| view.life(*it).is_some())
        .collect();
    let mut behind =
        observers.iter().filter(|observer| view.row(**observer, subject).is_some_and(&late));
    let first = *behind.next()?;
    let count = 1 + behind.count();
    (4 * count > observers.len()).then_some((count, observers.len(), first))
}

/// FNV-1a over length-prefixed parts.
fn digest(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in (part.len() as u16).to_be_bytes().iter().chain(part.iter()) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}
