//! Puts the parts of each role together: one role, or all of them in one process.

use crate::config::Config;
use crate::data_dir::DataDir;
use axum::Router;
use model::Clock;
use prometheus::Registry;
use std::sync::Arc;

/// Why the roles cannot be put together, or not be ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Two parts have a metric of the same name.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// The running roles of this process.
#[derive(Debug)]
pub(crate) struct Roles {}

impl Roles {
    /// Opens what is stored and starts every role that the configuration names.
    pub(crate) async fn start(
        _config: &Config,
        _data_dir: &DataDir,
        _clock: Arc<dyn Clock>,
        _registry: &Registry,
    ) -> Result<Self, Error> {
        Ok(Self {})
    }

    /// The routes of all roles.
    pub(crate) fn router(&self) -> Router {
        Router::new()
    }

    /// Ends the roles: what was accepted is on disk afterwards.
    pub(crate) async fn stop(self) -> Result<(), Error> {
        Ok(())
    }
}
