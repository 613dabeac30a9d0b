//! Network coordinates (Vivaldi): estimate round-trip times without measuring each pair.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::base::{Rng, error_texts};

/// A point in the latency space; seconds. Go: `coordinate.Coordinate`.
#[derive(Clone, Debug, PartialEq)]
pub struct Coordinate {
    /// Euclidean part; 8 dimensions.
    pub vec: Vec<f64>,
    /// Error estimate; starts at 1.5, smaller is better.
    pub error: f64,
    /// Correction from recent samples.
    pub adjustment: f64,
    /// Access-link part of the distance; at least 10 µs.
    pub height: f64,
}

impl Default for Coordinate {
    /// Zero dimensions, all values zero: the result of decoding an empty message.
    fn default() -> Self {
        Self { vec: Vec::new(), error: 0.0, adjustment: 0.0, height: 0.0 }
    }
}

impl Coordinate {
    /// The coordinate of a node without measurements. Go: `NewCoordinate`.
    pub fn origin() -> Self {
        Self { vec: vec![0.0; DIMENSIONS], error: ERROR_MAX, adjustment: 0.0, height: HEIGHT_MIN }
    }

    /// Estimated round-trip time, truncated to nanoseconds as Go does.
    ///
    /// `None` if the dimensions differ.
    pub fn distance_to(&self, other: &Self) -> Option<Duration> {
        if self.vec.len() != other.vec.len() {
            return None;
        }
        Some(Duration::from_nanos(u64::try_from(self.distance_nanos(other)).unwrap_or(0)))
    }

    /// Whether all components are finite.
    pub fn is_valid(&self) -> bool {
        let parts = [self.error, self.adjustment, self.height];
        self.vec.iter().chain(&parts).all(|part| part.is_finite())
    }

    fn distance_nanos(&self, other: &Self) -> i64 {
        let raw = self.raw_distance(other);
        let adjusted = raw + self.adjustment + other.adjustment;
        let distance = if adjusted > 0.0 { adjusted } else { raw };
        (distance * 1.0e9) as i64
    }

    /// The distance in seconds. Go passes distances through a `time.Duration` everywhere.
    fn distance(&self, other: &Self) -> f64 {
        seconds(self.distance_nanos(other))
    }

    fn raw_distance(&self, other: &Self) -> f64 {
        magnitude(&diff(&self.vec, &other.vec)) + self.height + other.height
    }

    /// Moves away from `other` by `force`, or towards it if negative. Go: `ApplyForce`.
    fn apply_force(&mut self, rng: &mut Rng, force: f64, other: &Self) {
        let (unit, mag) = unit_vector(rng, &self.vec, &other.vec);
        for (part, unit) in self.vec.iter_mut().zip(&unit) {
            *part += unit * force;
        }
        if mag > ZERO_THRESHOLD {
            let height = (self.height + other.height) * force / mag + self.height;
            self.height = height.max(HEIGHT_MIN);
        }
    }
}

/// Our coordinate and its update rule. Go: `coordinate.Client` with `DefaultConfig`.
pub(crate) struct Vivaldi {
    pub(crate) coordinate: Coordinate,
    adjustment_index: usize,
    adjustment_samples: [f64; ADJUSTMENT_WINDOW],
    latencies: BTreeMap<Arc<str>, Vec<f64>>,
    /// How often the coordinate became invalid and was reset.
    pub(crate) resets: u64,
}

/// Why a measurement was not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UpdateError {
    Dimensions,
    Invalid,
    Rtt(Duration),
}

error_texts! {
    UpdateError {
        Self::Dimensions => "dimensions aren't compatible";
        Self::Invalid => "coordinate is invalid";
        Self::Rtt(rtt) =>
            "round trip time not in valid range, duration {rtt:?} is not a positive value less \
             than 10s ";
    }
}

impl std::error::Error for UpdateError {}

impl Vivaldi {
    pub(crate) fn new() -> Self {
        Self {
            coordinate: Coordinate::origin(),
            adjustment_index: 0,
            adjustment_samples: [0.0; ADJUSTMENT_WINDOW],
            latencies: BTreeMap::new(),
            resets: 0,
        }
    }

    /// Updates our coordinate from a round trip of `rtt` to `node`, whose coordinate is `other`.
    /// Go: `Client.Update`.
    pub(crate) fn update(
        &mut self,
        rng: &mut Rng,
        node: &Arc<str>,
        other: &Coordinate,
        rtt: Duration,
    ) -> Result<(), UpdateError> {
        if other.vec.len() != self.coordinate.vec.len() {
            return Err(UpdateError::Dimensions);
        }
        if !other.is_valid() {
            return Err(UpdateError::Invalid);
        }
        if rtt > RTT_MAX {
            return Err(UpdateError::Rtt(rtt));
        }
        let rtt = i64::try_from(rtt.as_nanos()).unwrap_or(i64::MAX);
        let rtt = self.filter_latency(node, seconds(rtt));
        self.update_vivaldi(rng, other, rtt);
        self.update_adjustment(other, rtt);
        self.update_gravity(rng);
        if !self.coordinate.is_valid() {
            self.resets += 1;
            self.coordinate = Coordinate::origin();
        }
        Ok(())
    }

    pub(crate) fn forget(&mut self, node: &str) {
        self.latencies.remove(node);
    }

    /// Median of the last three round trips; the larger of two.
    fn filter_latency(&mut self, node: &Arc<str>, rtt: f64) -> f64 {
        let samples = self.latencies.entry(node.clone()).or_default();
        samples.push(rtt);
        if samples.len() > LATENCY_FILTER_SIZE {
            samples.remove(0);
        }
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(rtt)
    }

    fn update_vivaldi(&mut self, rng: &mut Rng, other: &Coordinate, rtt: f64) {
        let rtt = rtt.max(ZERO_THRESHOLD);
        let own = &mut self.coordinate;
        let distance = own.distance(other);
        let wrongness = (distance - rtt).abs() / rtt;
        let total_error = (own.error + other.error).max(ZERO_THRESHOLD);
        // The weight uses the old error, the force the new one.
        let weight = own.error / total_error;
        let error = VIVALDI_CE * weight * wrongness + own.error * (1.0 - VIVALDI_CE * weight);
        own.error = error.min(ERROR_MAX);
        let force = VIVALDI_CC * weight * (rtt - distance);
        own.apply_force(rng, force, other);
    }

    fn update_adjustment(&mut self, other: &Coordinate, rtt: f64) {
        let sample = rtt - self.coordinate.raw_distance(other);
        if let Some(slot) = self.adjustment_samples.get_mut(self.adjustment_index) {
            *slot = sample;
        }
        self.adjustment_index = (self.adjustment_index + 1) % ADJUSTMENT_WINDOW;
        let sum = self.adjustment_samples.iter().fold(0.0, |sum, sample| sum + sample);
        self.coordinate.adjustment = sum / (2.0 * ADJUSTMENT_WINDOW as f64);
    }

    fn update_gravity(&mut self, rng: &mut Rng) {
        let origin = Coordinate::origin();
        let distance = origin.distance(&self.coordinate);
        let force = -(distance / GRAVITY_RHO).powi(2);
        self.coordinate.apply_force(rng, force, &origin);
    }
}

/// Go: `time.Duration.Seconds`.
fn seconds(nanos: i64) -> f64 {
    (nanos / 1_000_000_000) as f64 + (nanos % 1_000_000_000) as f64 / 1e9
}

fn diff(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn magnitude(vec: &[f64]) -> f64 {
    vec.iter().fold(0.0, |sum, part| sum + part * part).sqrt()
}

/// Direction and distance from `b` to `a`; if they coincide, a random direction and 0. Go:
/// `unitVectorAt`.
fn unit_vector(rng: &mut Rng, a: &[f64], b: &[f64]) -> (Vec<f64>, f64) {
    let scaled = |vec: Vec<f64>, by: f64| vec.into_iter().map(|part| part * by).collect();
    let between = diff(a, b);
    let mag = magnitude(&between);
    if mag > ZERO_THRESHOLD {
        return (scaled(between, 1.0 / mag), mag);
    }
    let random = a.iter().map(|_| rng.unit() - 0.5).collect::<Vec<_>>();
    let mag = magnitude(&random);
    if mag > ZERO_THRESHOLD {
        return (scaled(random, 1.0 / mag), 0.0);
    }
    let first = a.iter().enumerate().map(|(at, _)| if at == 0 { 1.0 } else { 0.0 });
    (first.collect(), 0.0)
}

// Go: coordinate/config.go: DefaultConfig.
const DIMENSIONS: usize = 8;
const ERROR_MAX: f64 = 1.5;
const VIVALDI_CE: f64 = 0.25;
const VIVALDI_CC: f64 = 0.25;
const ADJUSTMENT_WINDOW: usize = 20;
const HEIGHT_MIN: f64 = 10.0e-6;
const LATENCY_FILTER_SIZE: usize = 3;
const GRAVITY_RHO: f64 = 150.0;
/// Go: `zeroThreshold`.
const ZERO_THRESHOLD: f64 = 1.0e-6;
const RTT_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
