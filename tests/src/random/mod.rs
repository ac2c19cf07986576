//! Data and queries made at random, and what two answers have to have in common.
//!
//! The same seed makes the same data and the same queries.
//!
//! Not here: who answers ([`crate::naive`], the engine).

pub mod census;
pub mod data;
pub mod judge;
pub mod queries;
