//! Tests across crates: architecture, conformance, crashes, real processes.
//!
//! What is in here serves the tests in `tests/`: [`process`] runs the real binary, [`promqltest`]
//! and [`compliance`] run upstream's scripts and queries, [`naive`] is a second implementation of
//! PromQL, and [`random`] makes data and queries to hold the engine against it.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a harness that cannot go on fails its test"
)]

pub mod compliance;
pub mod engine_load;
pub mod memory;
pub mod naive;
pub mod process;
pub mod promqltest;
pub mod random;
pub mod random_query;
pub mod random_series;
pub mod shared;
