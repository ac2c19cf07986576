//! Takes writes in: checks, cuts by partition, fans out to replicas.
//!
//! A request goes through here once: who and how much (`routes`), body to rows (`resolve`, with
//! `series_cache` so that known labels are never parsed again), rows to mutations (`plan`),
//! mutations to replicas and answers to one answer (`fan_out`, `tally`). What comes in another form (`otlp`) is made a remote
//! write first. Nothing in this crate is
//! state that matters: a distributor that starts anew asks for labels again and goes on.

mod batch;
mod config;
mod error;
mod extras;
mod fan_out;
mod gate;
mod ha;
mod held;
mod import;
mod label_hash;
mod message;
mod metadata;
mod otlp;
mod plan;
mod pool;
mod refusal;
mod resolve;
mod routes;
mod routing;
mod series_cache;
mod service;
mod symbols;
mod tally;
mod telemetry;
mod tenant;
#[cfg(test)]
mod testing;
mod validate;

pub use config::{Config, Fault};
pub use error::Error;
pub use gate::Cause;
pub use refusal::{Item, Reason, Refusals};
pub use routes::{router, takes_any_length};
pub use service::{Distributor, Parts, PushSeries};
