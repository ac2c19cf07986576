//! Tests across crates: architecture, conformance, crashes, real processes.

pub mod compliance;
pub mod memory;
pub mod promqltest;
pub mod random_query;
pub mod random_series;
pub mod shared;
