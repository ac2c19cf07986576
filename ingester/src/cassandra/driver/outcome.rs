//! What an error of the driver says of the outcome, and how long the next request waits after one.
//!
//! | error | of a write | of a change on condition |
//! | --- | --- | --- |
//! | time-out of the database or of ours, `WriteFailure`, connection cut, an answer that cannot be read | unknown: it was sent | unknown |
//! | `Overloaded`, `ServerError` | unknown: some replicas may have it by then | unknown |
//! | `Unavailable` | not done: looked at before anything is sent | unknown: a later phase may say it too |
//! | no connection, nothing to send, no stream | not done: it never left | not done |
//! | syntax, invalid (no such table, too large), no right, login | not done | not done |
//!
//! This holds since nothing but a read is sent twice by the driver: with retries the last error would say
//! nothing of the first attempt.
//!
//! Not here: who asks again, and how often (`rows.rs`).

use crate::cassandra::rows::{MISSING, RowsError};
use scylla::errors::{DbError, ExecutionError, PrepareError, RequestAttemptError};
use scylla::response::query_result::{QueryResult, QueryRowsResult};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What a role needs, for whoever has to grant it.
const RIGHTS: &str = "the role needs SELECT, MODIFY, CREATE and DROP on the keyspace, and SELECT on \
     the keyspace system_views";

/// Whether what an error is about was certainly not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// It is not known.
    Perhaps,
    /// It was refused as a whole: to ask again is of no use.
    Never,
    /// Not enough replicas were alive to begin it.
    NotBegun,
}

/// Of a write.
pub(super) fn of_write(error: ExecutionError) -> RowsError {
    match sent(&error) {
        Sent::Perhaps => RowsError::Unknown(text(&error)),
        Sent::Never | Sent::NotBegun => RowsError::Refused(text(&error)),
    }
}

/// Of a change on condition, or of the schema.
pub(super) fn of_change(error: ExecutionError) -> RowsError {
    match sent(&error) {
        Sent::Perhaps | Sent::NotBegun => RowsError::Unknown(text(&error)),
        Sent::Never => RowsError::Refused(text(&error)),
    }
}

/// Of a read: what may be answered when it is asked again is unknown.
pub(super) fn of_read(error: ExecutionError) -> RowsError {
    of_change(error)
}

/// Of a statement that could not be prepared: it was never run.
pub(super) fn of_prepare(error: &PrepareError) -> RowsError {
    match error {
        PrepareError::AllAttemptsFailed { first_attempt } => {
            let text = told(first_attempt, error.to_string());
            match of_attempt(first_attempt) {
                Sent::Never => RowsError::Refused(text),
                Sent::Perhaps | Sent::NotBegun => RowsError::Unknown(text),
            }
        }
        _ => RowsError::Unknown(error.to_string()),
    }
}

/// An answer that has to be rows.
pub(super) fn rows(result: QueryResult) -> Result<QueryRowsResult, RowsError> {
    result.into_rows_result().map_err(|error| RowsError::Unknown(error.to_string()))
}

fn sent(error: &ExecutionError) -> Sent {
    match error {
        ExecutionError::BadQuery(_) => Sent::Never,
        ExecutionError::ConnectionPoolError(_) | ExecutionError::EmptyPlan => Sent::NotBegun,
        ExecutionError::LastAttemptError(attempt) => of_attempt(attempt),
        _ => Sent::Perhaps,
    }
}

fn of_attempt(error: &RequestAttemptError) -> Sent {
    match error {
        RequestAttemptError::SerializationError(_)
        | RequestAttemptError::CqlRequestSerialization(_) => Sent::Never,
        RequestAttemptError::UnableToAllocStreamId => Sent::NotBegun,
        RequestAttemptError::DbError(error, _) => match error {
            DbError::SyntaxError
            | DbError::Invalid
            | DbError::AlreadyExists { .. }
            | DbError::AuthenticationError
            | DbError::Unauthorized
            | DbError::ConfigError => Sent::Never,
            DbError::Unavailable { .. } | DbError::IsBootstrapping => Sent::NotBegun,
            _ => Sent::Perhaps,
        },
        _ => Sent::Perhaps,
    }
}

fn text(error: &ExecutionError) -> String {
    match error {
        ExecutionError::LastAttemptError(attempt) => told(attempt, error.to_string()),
        _ => error.to_string(),
    }
}

/// The database's own words where they say it all, and what to do about them.
fn told(attempt: &RequestAttemptError, whole: String) -> String {
    match attempt {
        RequestAttemptError::DbError(DbError::Unauthorized, why) => format!("{why}; {RIGHTS}"),
        RequestAttemptError::DbError(DbError::Invalid, why) if why.contains(MISSING) => {
            format!("{why}; `cumae cassandra check` says what is missing")
        }
        RequestAttemptError::DbError(DbError::Invalid, why) => why.clone(),
        _ => whole,
    }
}

/// How long a request waits because of what failed before it: everybody together asks a database that
/// is in trouble a few times a second.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// In a row.
    failures: AtomicU32,
    asked: AtomicU32,
}

/// After the first failure; twice as long after each more, up to 64 times.
const PAUSE_MS: u64 = 20;
const DOUBLED_MAX: u32 = 6;

impl Pace {
    /// Waits, asks, and remembers what came of it.
    pub(super) async fn of<T>(
        &self,
        work: impl Future<Output = Result<T, RowsError>>,
    ) -> Result<T, RowsError> {
        self.wait().await;
        let outcome = work.await;
        self.note(outcome.is_ok());
        outcome
    }

    pub(super) async fn wait(&self) {
        let pause = self.pause();
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }

    pub(super) fn note(&self, is_good: bool) {
        if is_good {
            self.failures.store(0, Ordering::Relaxed);
        } else {
            let _ = self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |failures| {
                (failures <= DOUBLED_MAX).then_some(failures + 1)
            });
        }
    }

    /// Spread by a third, so that those who failed at once do not ask at once.
    fn pause(&self) -> Duration {
        let failures = self.failures.load(Ordering::Relaxed);
        if failures == 0 {
            return Duration::ZERO;
        }
        let whole = PAUSE_MS << (failures - 1).min(DOUBLED_MAX);
        let turn = self.asked.fetch_add(1, Ordering::Relaxed);
        let spread = u64::from(turn.wrapping_mul(0x9e37_79b9) >> 24);
        Duration::from_millis(whole - whole * spread / (3 * 256))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scylla::errors::WriteType;
    use scylla::frame::types::Consistency;

    fn db(error: DbError) -> ExecutionError {
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, "why".to_owned()))
    }

    #[test]
    fn what_may_have_been_sent_is_unknown_and_what_was_refused_as_a_whole_is_not() {
        let timeout = DbError::WriteTimeout {
            consistency: Consistency::LocalQuorum,
            received: 1,
            required: 2,
            write_type: WriteType::Simple,
        };
        for error in [timeout, DbError::Overloaded, DbError::ServerError] {
            assert!(matches!(of_write(db(error.clone())), RowsError::Unknown(_)), "{error}");
            assert!(matches!(of_change(db(error.clone())), RowsError::Unknown(_)), "{error}");
        }
        let late = ExecutionError::RequestTimeout(Duration::from_secs(1));
        assert!(matches!(of_write(late), RowsError::Unknown(_)));
        for error in [DbError::Invalid, DbError::SyntaxError, DbError::Unauthorized] {
            assert!(matches!(of_write(db(error.clone())), RowsError::Refused(_)), "{error}");
            assert!(matches!(of_change(db(error.clone())), RowsError::Refused(_)), "{error}");
        }
    }

    #[test]
    fn too_few_replicas_never_began_a_write_and_may_have_ended_a_change() {
        let few = || {
            let consistency = Consistency::LocalQuorum;
            db(DbError::Unavailable { consistency, required: 2, alive: 1 })
        };
        assert!(matches!(of_write(few()), RowsError::Refused(_)));
        assert!(matches!(of_change(few()), RowsError::Unknown(_)));
        assert!(matches!(of_read(few()), RowsError::Unknown(_)));
    }

    #[test]
    fn each_failure_makes_the_next_one_wait_longer_up_to_a_bound_and_a_success_ends_it() {
        let pace = Pace::default();
        assert_eq!(pace.pause(), Duration::ZERO);
        let mut shortest = 0;
        for _ in 0..20 {
            pace.note(false);
            let pause = pace.pause().as_millis();
            assert!(pause > shortest && pause <= 1_280, "{pause}");
            shortest = (pause / 2).min(600);
        }
        pace.note(true);
        assert_eq!(pace.pause(), Duration::ZERO);
    }
}
