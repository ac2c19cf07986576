//! Answers PromQL over HTTP: asks enough replicas, joins, evaluates.

mod active;
mod admin;
mod admission;
mod call;
mod cardinality;
pub mod coverage;
mod delete;
mod error;
mod exemplar_calls;
mod histogram_json;
mod history;
mod http;
mod json;
mod label_calls;
mod label_name;
mod language;
mod metrics;
mod number;
mod page;
mod params;
mod querier;
mod query_calls;
mod query_status;
pub mod reconcile;
mod render;
mod routes;
mod rules;
mod run;
pub mod select;
mod source;
mod stats;
mod status;
mod suspects;
mod syntax;
#[cfg(test)]
mod tests;
mod time_param;

pub use error::Error;
pub use http::{Origins, dress};
pub use querier::{Parts, Querier, Settings};
pub use routes::PREFIXES;
pub use select::ReplicatedSource;
pub use source::{AllReplicas, SingleReplica, Source, SourceAnswer};
pub use status::rfc3339;
pub use syntax::tree;
pub use time_param::{parse_duration, parse_time};
