//! Answers PromQL over HTTP: asks enough replicas, joins, evaluates.

pub mod coverage;
pub mod reconcile;
pub mod select;

pub use select::{BlockingSource, ReplicatedSource};
