//! The whole router in this process: requests in, answers out, series in memory.

mod admin;
mod bad_input;
mod cache;
mod cardinality;
mod cost;
mod exemplars;
mod export;
mod federate;
mod federation;
mod flights;
mod grafana;
mod labels;
mod language;
mod limits;
mod name_stats;
mod parameters;
mod properties;
mod query_status;
mod remote_read;
mod support;
mod turns;
