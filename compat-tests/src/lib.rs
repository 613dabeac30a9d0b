//! Helpers shared by the compatibility tests.
