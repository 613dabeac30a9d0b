//! The rules of the house: what no compiler checks about sources, documents and tables.

mod book;
mod circles;
mod figures;
mod packages;
mod parity;
mod rules;
mod sources;
mod style;
mod supply;
mod texts;
