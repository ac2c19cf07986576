//! Tests across crates: architecture, conformance, crashes, real processes.
//!
//! What is in here serves the tests in `tests/`: [`process`] runs the real binary, [`compliance`]
//! upstream's queries; its scripts the crate `promqltest` runs, over [`StoreSubject`] and [`HttpSubject`]
//! too. [`naive`] is a second implementation of PromQL, and [`random`] makes data and queries to hold the engine
//! against it.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a harness that cannot go on fails its test"
)]

pub mod compliance;
pub mod engine_load;
pub mod naive;
mod over_http;
pub mod process;
pub mod random;
pub mod random_query;
pub mod random_series;
pub mod shared;
pub mod store_suite;
mod stored;

pub use over_http::HttpSubject;
pub use promqltest::{self, memory};
pub use stored::{StoreSource, StoreSubject};
