//! Network coordinates (Vivaldi): round-trip times estimated without measuring each pair.

/// A point in the latency space; seconds. Go: `coordinate.Coordinate`.
#[derive(Clone, Debug, PartialEq)]
pub struct Coordinate {
    /// Euclidean part; 8 dimensions.
    pub vec: Vec<f64>,
    /// Confidence; starts at 1.5, smaller is better.
    pub error: f64,
    /// Correction from recent samples.
    pub adjustment: f64,
    /// Access-link part of the distance; at least 10 µs.
    pub height: f64,
}

impl Coordinate {
    /// Estimated round-trip time, truncated to nanoseconds as Go does.
    ///
    /// `None` if the dimensions differ.
    pub fn distance_to(&self, other: &Self) -> Option<std::time::Duration> {
        let _ = other;
        todo!()
    }
}
