//! ruserf
