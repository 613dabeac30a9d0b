//! The rules of the house: what no compiler checks about sources, documents and tables.

mod parity;
mod rules;
