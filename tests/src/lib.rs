//! Tests across crates: architecture, conformance, crashes, real processes.
//!
//! What is in here serves the tests in `tests/`: [`process`] runs the real binary.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a harness that cannot go on fails its test"
)]

pub mod process;
