//! Helpers shared by the compatibility tests.

pub mod go;
