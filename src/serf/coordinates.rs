//! The coordinates known to this member.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tracing::{error, trace};

use super::{
    TransformError,
    context::Context,
    coordinate::{Coordinate, Vivaldi},
};

/// Our coordinate, and the last received one of each other member.
pub(crate) struct Coordinates {
    vivaldi: Option<Vivaldi>,
    known: BTreeMap<Arc<str>, Coordinate>,
}

impl Coordinates {
    /// Starts with our coordinate at the origin; empty if coordinates are disabled.
    pub(crate) fn new(own_name: &Arc<str>, enabled: bool) -> Self {
        let vivaldi = enabled.then(Vivaldi::new);
        let own = vivaldi.iter().map(|own| (own_name.clone(), own.coordinate.clone()));
        Self { known: own.collect(), vivaldi }
    }

    /// The coordinate of a member, or our own.
    pub(crate) fn get(&self, name: &str) -> Option<&Coordinate> {
        self.known.get(name)
    }

    /// Our own coordinate, unless coordinates are disabled.
    pub(crate) fn own(&self) -> Option<&Coordinate> {
        self.vivaldi.as_ref().map(|vivaldi| &vivaldi.coordinate)
    }

    /// How often our coordinate became invalid and was reset; `None` if coordinates are disabled.
    pub(crate) fn resets(&self) -> Option<u64> {
        self.vivaldi.as_ref().map(|vivaldi| vivaldi.resets)
    }

    /// Handles an acked direct probe, whose ack carries a coordinate. Go: `serf/ping_delegate.go`.
    pub(crate) fn handle_ping_complete(
        &mut self,
        cx: &mut Context,
        node: &Arc<str>,
        rtt: Duration,
        payload: &[u8],
    ) {
        let Some(vivaldi) = &mut self.vivaldi else { return };
        if payload.is_empty() {
            return;
        }
        let other = match cx.config.transform.decode_coordinate(payload) {
            Ok(other) => other,
            Err(error) => {
                if cx.logs.messages.admit(cx.now) {
                    match error {
                        TransformError::Version(_) => error!(target: "serf", "{error}"),
                        error => error!(
                            target: "serf",
                            "Failed to decode coordinate from ping: {error}"
                        ),
                    }
                }
                return;
            }
        };
        let before = vivaldi.coordinate.clone();
        match vivaldi.update(&mut cx.rng, node, &other, rtt) {
            Ok(()) => {
                cx.stats.coordinate_zero_rtt += u64::from(rtt.is_zero());
                let own = vivaldi.coordinate.clone();
                let moved = before.distance_to(&own).unwrap_or_default();
                cx.stats.coordinate_adjustment.add(moved);
                self.known.insert(node.clone(), other);
                self.known.insert(cx.name.clone(), own);
            }
            Err(error) => {
                cx.stats.coordinate_rejected += 1;
                trace!(target: "serf", "Rejected coordinate from {node}: {error}");
            }
        }
    }

    pub(crate) fn forget(&mut self, name: &str) {
        if let Some(vivaldi) = &mut self.vivaldi {
            vivaldi.forget(name);
            self.known.remove(name);
        }
    }
}
