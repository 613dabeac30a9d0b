//! Nodes of the world, each around an unchanged production engine.

mod driven;
mod observation;
mod serf;
mod swim;

pub use driven::Node;
pub use observation::{Observation, ObservationKind};
pub use serf::SerfNode;
pub use swim::SwimNode;
