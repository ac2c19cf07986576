//! Prepared statements: each text once, with how it is to be run.
//!
//! # Invariants
//! - At most [`STATEMENTS_MAX`] are kept; a new one over that, or a table that is dropped, empties
//!   the cache: journal tables come and go, and a text costs one round trip.
//! - Only reads are said to be idempotent, so only they are sent twice.
//! - A node lists a table some moments before it knows it: a statement about one that is listed and that no
//!   node knows is prepared again until one does.

use super::{Inner, outcome};
use crate::cassandra::rows::{Consistency, RowsError};
use parking_lot::Mutex;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::frame::types::{Consistency as Level, SerialConsistency};
use scylla::policies::retry::{DefaultRetryPolicy, FallthroughRetryPolicy};
use scylla::policies::speculative_execution::SimpleSpeculativeExecutionPolicy;
use scylla::statement::batch::Batch;
use scylla::statement::prepared::PreparedStatement;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// So many are kept: a few of each table.
const STATEMENTS_MAX: usize = 1_024;
/// A page of large rows: some megabytes.
const BULK_PAGE: i32 = 8;
/// A page of small ones.
const PAGE: i32 = 1_000;
/// When another node is asked for what one did not answer.
const SPECULATE_AFTER: Duration = Duration::from_millis(100);

/// When a table that is being made is asked for again.
const MADE_SOON: Duration = Duration::from_millis(100);

/// How a statement is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// A read of the database's own tables, which each node has.
    Own,
    /// A read.
    Read(Consistency),
    /// A walk over all partitions of a table.
    Scan,
    /// A write of a row.
    Write,
    /// A part of a change on condition.
    Change,
}

/// The cache.
#[derive(Debug, Default)]
pub(super) struct Statements {
    // A leaf: nothing is waited for while it is held.
    held: Mutex<HashMap<(String, u8), PreparedStatement>>,
    // Who prepares. Taken before `held`.
    preparing: tokio::sync::Mutex<()>,
    speculative: OnceLock<ExecutionProfile>,
}

impl Statements {
    /// The statement of a text about a table of ours, prepared now if it was not.
    pub(super) async fn of_table(
        &self,
        inner: &Inner,
        (table, text): (&str, &str),
        mode: Mode,
    ) -> Result<PreparedStatement, RowsError> {
        let mut waited = Duration::ZERO;
        loop {
            let outcome = self.get(inner, text, mode).await;
            let is_missing = outcome.as_ref().is_err_and(RowsError::is_of_missing_table);
            if !is_missing
                || waited >= inner.config.request_timeout
                || inner.id(table).await?.is_none()
            {
                return outcome;
            }
            tokio::time::sleep(MADE_SOON).await;
            waited += MADE_SOON;
        }
    }

    /// The statement of a text, prepared now if it was not.
    pub(super) async fn get(
        &self,
        inner: &Inner,
        text: &str,
        mode: Mode,
    ) -> Result<PreparedStatement, RowsError> {
        let key = (text.to_owned(), number(mode));
        if let Some(found) = self.held.lock().get(&key) {
            return Ok(found.clone());
        }
        // One after the other: a node that has just started lets statements of equal text that are prepared at
        // once put each other out.
        let _alone = self.preparing.lock().await;
        if let Some(found) = self.held.lock().get(&key) {
            return Ok(found.clone());
        }
        let timeout = inner.config.request_timeout;
        let prepared = tokio::time::timeout(timeout, inner.session.prepare(text)).await;
        let late = |_| RowsError::Unknown("no answer when a statement was prepared".to_owned());
        let mut prepared = prepared.map_err(late)?.map_err(|error| outcome::of_prepare(&error))?;
        self.set(&mut prepared, inner, mode);
        let mut held = self.held.lock();
        if held.len() >= STATEMENTS_MAX {
            held.clear();
        }
        held.insert(key, prepared.clone());
        Ok(prepared)
    }

    /// Forgets those whose text holds `name`: a table's, with its keyspace and a space behind it.
    pub(super) fn forget(&self, name: &str) {
        self.held.lock().retain(|(text, _), _| !text.contains(name));
    }

    fn set(&self, statement: &mut PreparedStatement, inner: &Inner, mode: Mode) {
        let is_read = matches!(mode, Mode::Own | Mode::Scan | Mode::Read(_));
        statement.set_is_idempotent(is_read);
        statement.set_consistency(level(mode));
        statement.set_page_size(PAGE);
        if is_read {
            let has_guard = statement.get_statement().contains(" guard");
            if matches!(mode, Mode::Read(_)) && !has_guard {
                statement.set_page_size(BULK_PAGE);
            }
            statement.set_retry_policy(Some(Arc::new(DefaultRetryPolicy::new())));
        } else {
            statement.set_retry_policy(Some(Arc::new(FallthroughRetryPolicy::new())));
        }
        if mode == Mode::Read(Consistency::Serial) {
            statement.set_retry_policy(Some(Arc::new(FallthroughRetryPolicy::new())));
        }
        if mode == Mode::Read(Consistency::One) {
            let profile = self.speculative.get_or_init(|| {
                let default = inner.session.get_default_execution_profile_handle();
                let policy = SimpleSpeculativeExecutionPolicy {
                    max_retry_count: 1,
                    retry_interval: SPECULATE_AFTER,
                };
                let builder = default.pointee_to_builder();
                builder.speculative_execution_policy(Some(Arc::new(policy))).build()
            });
            statement.set_execution_profile_handle(Some(profile.clone().into_handle()));
        }
    }
}

/// A change on condition is sent once, and holds in the data centre.
pub(super) fn on_condition(batch: &mut Batch) {
    once(batch);
    batch.set_serial_consistency(Some(SerialConsistency::LocalSerial));
}

/// Several statements of one partition are sent once, and a quorum of the data centre answers.
pub(super) fn once(batch: &mut Batch) {
    batch.set_consistency(level(Mode::Write));
    batch.set_is_idempotent(false);
    batch.set_retry_policy(Some(Arc::new(FallthroughRetryPolicy::new())));
}

fn level(mode: Mode) -> Level {
    match mode {
        Mode::Own | Mode::Read(Consistency::One) => Level::LocalOne,
        Mode::Scan | Mode::Read(Consistency::Quorum) | Mode::Write | Mode::Change => {
            Level::LocalQuorum
        }
        Mode::Read(Consistency::Serial) => Level::LocalSerial,
    }
}

fn number(mode: Mode) -> u8 {
    match mode {
        Mode::Own => 0,
        Mode::Read(Consistency::One) => 1,
        Mode::Read(Consistency::Quorum) => 2,
        Mode::Read(Consistency::Serial) => 3,
        Mode::Write => 4,
        Mode::Change => 5,
        Mode::Scan => 6,
    }
}
