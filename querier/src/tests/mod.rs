//! The whole router in this process: requests in, answers out, series in memory.

mod bad_input;
mod grafana;
mod labels;
mod limits;
mod parameters;
mod support;
