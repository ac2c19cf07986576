//! The vocabulary of Cumae: pure data, no I/O, no serde.
//!
//! Every other crate speaks in these words. Nothing here reads a clock, a disk or a socket, and
//! nothing here knows how bytes look on disk or on a wire, but for the bytes of a histogram that
//! decide between two.

pub mod column;
pub mod context;
pub mod delete;
pub mod exemplar;
pub mod histogram;
pub mod kind;
pub mod label;
pub mod matcher;
pub mod mutation;
pub mod partition;
pub mod query_shard;
pub mod read;
pub mod regex;
pub mod retention;
pub mod sample;
pub mod series;
pub mod split_mix;
pub mod tenant;
pub mod time;
pub mod timestamps;
mod wanted;

pub use column::{Column, HistogramColumn, SeriesColumns};
pub use context::{Context, Principal, RequestId};
pub use delete::{DeleteAnswer, DeleteRequest, Tombstone};
pub use exemplar::Exemplar;
pub use histogram::Histogram;
pub use kind::Kind;
pub use label::{DuplicateLabel, LabelSet, LabelTable, METRIC_NAME, Text};
pub use matcher::{MatchOp, Matcher};
pub use partition::{PartitionKey, Token};
pub use query_shard::QueryShard;
pub use retention::{CompiledRetention, Retention, RetentionRule, RetentionRules};
pub use sample::{HistogramSample, Sample};
pub use series::{Handle, SeriesId, SeriesRef};
pub use split_mix::SplitMix64;
pub use tenant::TenantId;
pub use time::{Clock, DayBucket, TimeRange, TimestampMs};
pub use timestamps::Timestamps;
