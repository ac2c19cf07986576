//! The binary `cumae`: roles, configuration, telemetry, command line.
pub mod config;
