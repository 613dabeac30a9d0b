//! Helpers shared by the compatibility tests.

pub mod agents;
pub mod alone;
pub mod bare;
pub mod fuzz;
pub mod go;
pub mod lossy;
pub mod matrix;
pub mod node;
pub mod process;
pub mod record;
pub mod rpc;
