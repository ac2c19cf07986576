//! [`Rows`] on a real Cassandra, over CQL.
//!
//! It blocks whoever asks; what waits for the network are tasks on two threads of its own, so that it
//! never waits for a thread that waits for it.
//!
//! # Rules
//! - Writes and changes on condition are sent once: an error is that of the only attempt, so
//!   what it says of the outcome is true (`driver/outcome.rs`). Who asks may ask again.
//! - A write carries its own timestamp; reads, and they alone, may be sent to a second node when the
//!   first is slow.
//! - So many requests and bytes are in flight at most; after a failure the next request waits, longer
//!   after each one. Leases and the ring, which have times of their own, wait for nothing.
//! - Every request has a time-out, so every call has an end.
//!
//! Not here: the text of requests (`cql.rs`); how a session comes to be (`driver/connect.rs`); what is
//! looked at rather than kept (`driver/looks.rs`); which tables there are (`driver/tables.rs`).

mod connect;
mod looks;
mod outcome;
mod requests;
mod statements;
mod tables;
mod values;

pub use connect::{Config, ConnectError, TlsFiles};

use super::cql::{self, Bounds};
use super::rows::{Change, Changed, CommitLogSync, Consistency, Read, Row, Rows, RowsError, Write};
use super::schema::{self, Shape};
use outcome::Pace;
use scylla::client::session::Session;
use scylla::response::PagingState;
use scylla::response::query_result::QueryRowsResult;
use scylla::statement::Statement;
use scylla::statement::batch::{Batch, BatchType};
use statements::{Mode, Statements};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinSet;
use values::Value;

/// What a `gc_grace` of its own is not.
const AS_SHAPED: u32 = u32::MAX;
/// A change of the schema takes its time on a cluster.
const SCHEMA_TIMEOUT: Duration = Duration::from_secs(30);
/// What is in flight is counted in these.
const UNIT_BYTES: usize = 1 << 10;

/// A session with a cluster.
#[derive(Debug)]
pub struct Driver {
    inner: Arc<Inner>,
    /// Taken when it ends.
    runtime: Option<Runtime>,
}

#[derive(Debug)]
struct Inner {
    session: Session,
    config: Config,
    statements: Statements,
    requests: Semaphore,
    /// In units of [`UNIT_BYTES`].
    bytes: Semaphore,
    pace: Pace,
    change_pace: Pace,
    /// Instead of that of a table's shape, or [`AS_SHAPED`].
    gc_grace_seconds: AtomicU32,
    /// The nodes did not agree on the schema when they were asked last.
    is_apart: AtomicBool,
}

impl Driver {
    /// Connects; whether the keyspace is there is not looked at.
    ///
    /// # Errors
    /// [`ConnectError`], with what to do about it.
    pub fn connect(config: &Config) -> Result<Self, ConnectError> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let builder = builder.worker_threads(2).thread_name("cassandra").enable_all();
        let runtime = builder.build().map_err(ConnectError::Runtime)?;
        let wanted = config.clone();
        let connected = blocking(&runtime, async move { connect::session(&wanted).await })
            .unwrap_or_else(|| {
                Err(ConnectError::Unreachable {
                    points: config.contact_points.join(", "),
                    why: "the driver's task died".to_owned(),
                    more: "",
                })
            });
        let (session, local_dc) = match connected {
            Ok(connected) => connected,
            Err(error) => {
                runtime.shutdown_background();
                return Err(error);
            }
        };
        let inner = Inner {
            session,
            config: Config { local_dc, ..config.clone() },
            statements: Statements::default(),
            requests: Semaphore::new(config.requests_in_flight_max.max(1)),
            bytes: Semaphore::new(units(config.bytes_in_flight_max)),
            pace: Pace::default(),
            change_pace: Pace::default(),
            gc_grace_seconds: AtomicU32::new(AS_SHAPED),
            is_apart: AtomicBool::new(false),
        };
        Ok(Self { inner: Arc::new(inner), runtime: Some(runtime) })
    }

    /// Tables that are created from now on remember deletions for so long.
    pub fn set_gc_grace_seconds(&self, seconds: u32) {
        self.inner.gc_grace_seconds.store(seconds, Ordering::Relaxed);
    }

    /// The keyspace's replication, as the database says it; `None` if there is no such keyspace.
    ///
    /// # Errors
    /// [`RowsError`].
    pub fn replication(&self) -> Result<Option<String>, RowsError> {
        self.run(|inner| async move {
            let text = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?";
            let name = [Value::of_text(&inner.config.keyspace)];
            let rows = inner.select(text, name.to_vec()).await?;
            values::column_text(&rows, "replication").map(|found| found.into_iter().next())
        })
    }

    /// Creates the keyspace; `replication` is a map of CQL.
    ///
    /// # Errors
    /// [`RowsError`].
    pub fn create_keyspace(&self, replication: &str) -> Result<(), RowsError> {
        let text = cql::create_keyspace(&self.inner.config.keyspace, replication);
        self.run(|inner| async move {
            inner.alter(text).await?;
            // So that rows find their nodes from the first on.
            let fresh = inner.session.refresh_metadata().await;
            fresh.map_err(|error| RowsError::Unknown(error.to_string()))
        })
    }

    fn run<T, F, W>(&self, work: W) -> Result<T, RowsError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, RowsError>> + Send + 'static,
        W: FnOnce(Arc<Inner>) -> F,
    {
        let died = || RowsError::Unknown("the driver's task died".to_owned());
        let runtime = self.runtime.as_ref().ok_or_else(died)?;
        blocking(runtime, work(Arc::clone(&self.inner))).unwrap_or_else(|| Err(died()))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Not waited for: this may be a thread of another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Runs it on the runtime's threads and waits; `None` if it died.
fn blocking<T, F>(runtime: &Runtime, work: F) -> Option<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    runtime.spawn(async move {
        // Whoever asked waits below.
        let _ = sender.send(work.await);
    });
    receiver.recv().ok()
}

fn units(bytes: usize) -> usize {
    (bytes / UNIT_BYTES).clamp(1, u32::MAX as usize / 2)
}

fn closed<T>(_: T) -> RowsError {
    RowsError::Refused("the driver has ended".to_owned())
}

impl Inner {
    fn shape(table: &str) -> Result<Shape, RowsError> {
        let none = || RowsError::Refused(format!("`{table}` is no table of this schema"));
        schema::shape(table).ok_or_else(none)
    }

    /// A request's right to be in flight, with so many bytes.
    async fn admit(
        &self,
        bytes: usize,
    ) -> Result<(SemaphorePermit<'_>, SemaphorePermit<'_>), RowsError> {
        let all = units(self.config.bytes_in_flight_max);
        let wanted = u32::try_from((bytes / UNIT_BYTES + 1).min(all)).unwrap_or(1);
        // Always in this order.
        let request = self.requests.acquire().await.map_err(closed)?;
        Ok((request, self.bytes.acquire_many(wanted).await.map_err(closed)?))
    }

    /// Reads a few rows of the database's own tables.
    async fn select(&self, text: &str, values: Vec<Value>) -> Result<QueryRowsResult, RowsError> {
        let prepared = self.statements.get(self, text, Mode::Own).await?;
        let result = self.session.execute_unpaged(&prepared, values).await;
        outcome::rows(result.map_err(outcome::of_read)?)
    }

    /// Changes the schema, and returns when the nodes agree.
    async fn alter(&self, text: String) -> Result<(), RowsError> {
        let mut statement = Statement::new(text);
        statement.set_request_timeout(Some(SCHEMA_TIMEOUT));
        let done = self.session.query_unpaged(statement, ()).await;
        done.map(drop).map_err(outcome::of_change)
    }

    /// Writes the rows of one request (`driver/requests.rs`).
    async fn write(&self, writes: &[Write]) -> Result<(), RowsError> {
        let Some(first) = writes.first() else { return Ok(()) };
        let shape = Self::shape(&first.table)?;
        let keyspace = &self.config.keyspace;
        let is_whole = first.key.row.is_empty();
        let text = match first.data.is_some() {
            true => cql::write(keyspace, &first.table, shape, is_whole),
            false => cql::delete(keyspace, &first.table, shape, is_whole),
        };
        let statement = (first.table.as_str(), text.as_str());
        let prepared = self.statements.of_table(self, statement, Mode::Write).await?;
        let _permits = self.admit(writes.iter().map(requests::bytes_of).sum()).await?;
        let done = if let [write] = writes {
            self.session.execute_unpaged(&prepared, bound_of(write)).await
        } else {
            let mut batch = Batch::new(BatchType::Unlogged);
            writes.iter().for_each(|_| batch.append_statement(prepared.clone()));
            statements::once(&mut batch);
            let bound: Vec<Vec<Value>> = writes.iter().map(bound_of).collect();
            self.session.batch(&batch, bound).await
        };
        done.map(drop).map_err(outcome::of_write)
    }

    async fn read(&self, read: &Read, mode: Mode) -> Result<Vec<Row>, RowsError> {
        let shape = Self::shape(&read.table)?;
        let keyspace = &self.config.keyspace;
        let wants_guard = shape.has_guard && read.first.is_empty();
        let bounds = bounds_of(read, shape, wants_guard);
        let mut bound: Vec<Value> = read.partition.iter().map(Value::of).collect();
        match bounds {
            Bounds::Guard => {}
            Bounds::One => bound.extend(read.first.iter().map(Value::of)),
            Bounds::Range { last, .. } => {
                bound.extend(read.first.iter().map(Value::of));
                bound.extend(read.last.iter().flatten().take(last).map(Value::of));
            }
        }
        bound.push(Value::Limit(i32::try_from(read.rows_max).unwrap_or(i32::MAX)));
        let text = cql::read(keyspace, &read.table, shape, bounds);
        let mut prepared = self.statements.of_table(self, (&read.table, &text), mode).await?;
        if schema::journal_of(&read.table).is_some() {
            // Who reads a journal knows how large its rows are.
            prepared.set_page_size(i32::try_from(read.rows_max).unwrap_or(1).clamp(1, 1_000));
        }
        let _permits = if is_timed_read(read) { None } else { Some(self.admit(0).await?) };
        let mut found = values::Found::new(read, shape, wants_guard);
        let mut at = PagingState::start();
        loop {
            let page = self.session.execute_single_page(&prepared, &bound, at).await;
            let (page, next) = page.map_err(outcome::of_read)?;
            found.take(&outcome::rows(page)?)?;
            match next.into_paging_control_flow() {
                ControlFlow::Continue(more) if !found.is_full() => at = more,
                _ => return Ok(found.rows()),
            }
        }
    }

    async fn change(&self, change: &Change) -> Result<Changed, RowsError> {
        let shape = Self::shape(&change.table)?;
        let (keyspace, table) = (&self.config.keyspace, &change.table);
        let partition = || change.partition.iter().map(Value::of);
        let mut batch = Batch::new(BatchType::Unlogged);
        let mut bound = Vec::with_capacity(change.rows.len() + 1);
        let text = cql::change_guard(keyspace, table, shape, change.expected.is_none());
        let statement = self.statements.of_table(self, (table, &text), Mode::Change).await?;
        batch.append_statement(statement);
        let mut guard = vec![Value::Blob(Arc::clone(&change.guard))];
        guard.extend(partition());
        guard.extend(change.expected.iter().map(|before| Value::Blob(Arc::clone(before))));
        bound.push(guard);
        for (row, data) in &change.rows {
            let text = cql::change_row(keyspace, table, shape, data.is_none());
            batch.append_statement(self.statements.get(self, &text, Mode::Change).await?);
            let data = data.iter().map(|data| Value::Blob(Arc::clone(data)));
            bound.push(data.chain(partition()).chain(row.iter().map(Value::of)).collect());
        }
        statements::on_condition(&mut batch);
        let answer = self.session.batch(&batch, bound).await.map_err(outcome::of_change)?;
        values::changed(&outcome::rows(answer)?)
    }
}

/// Whether what is asked of a table has times of its own, which are not to be lengthened: a lease that is not
/// renewed in time is another's.
fn is_timed(table: &str) -> bool {
    table == schema::LEASE || table == schema::RING
}

/// A guard alone: whoever reads more of those tables has no time of his own.
fn is_timed_read(read: &Read) -> bool {
    is_timed(&read.table) && read.last.as_ref().is_some_and(Vec::is_empty)
}

/// A row's values, in the order of the statement's places.
fn bound_of(write: &Write) -> Vec<Value> {
    let mut bound = vec![Value::Int(write.timestamp)];
    bound.extend(write.data.iter().map(|data| Value::Blob(Arc::clone(data))));
    bound.extend(write.key.partition.iter().chain(&write.key.row).map(Value::of));
    bound
}

/// Which rows a request names.
fn bounds_of(read: &Read, shape: Shape, wants_guard: bool) -> Bounds {
    match &read.last {
        Some(last) if last.is_empty() && wants_guard => Bounds::Guard,
        Some(last) if *last == read.first && last.len() == shape.clustering.len() => Bounds::One,
        // A bound would hide the guard of a partition without a row in it.
        Some(last) if !wants_guard => Bounds::Range { first: read.first.len(), last: last.len() },
        _ => Bounds::Range { first: read.first.len(), last: 0 },
    }
}

impl Rows for Driver {
    fn tables(&self) -> Result<Vec<String>, RowsError> {
        self.run(|inner| async move { inner.pace.of(inner.tables()).await })
    }

    fn is_everywhere(&self, table: &str) -> Result<bool, RowsError> {
        let table = table.to_owned();
        self.run(move |inner| async move { inner.pace.of(inner.is_everywhere(&table)).await })
    }

    fn clock_ms(&self) -> Result<Option<i64>, RowsError> {
        self.run(|inner| async move { inner.clock_ms().await.map(Some) })
    }

    fn create_table(&self, name: &str, id: u128) -> Result<(), RowsError> {
        let name = name.to_owned();
        self.run(move |inner| async move { inner.pace.of(inner.create_table(&name, id)).await })
    }

    fn drop_table(&self, name: &str) -> Result<(), RowsError> {
        let text = cql::drop_table(&self.inner.config.keyspace, name);
        let is_ours = Inner::shape(name).map(drop);
        let table = format!("{}.{name} ", self.inner.config.keyspace);
        self.run(move |inner| async move {
            is_ours?;
            let done = inner.pace.of(inner.alter(text)).await;
            inner.statements.forget(&table);
            done
        })
    }

    fn write(&self, rows: &[Write]) -> Result<(), RowsError> {
        let rows = rows.to_vec();
        self.run(move |inner| async move {
            inner.pace.wait().await;
            let mut tasks = JoinSet::new();
            for request in requests::of(rows) {
                let inner = Arc::clone(&inner);
                tasks.spawn(async move { inner.write(&request).await });
            }
            let mut outcome = Ok(());
            while let Some(done) = tasks.join_next().await {
                let done = done.unwrap_or_else(|died| Err(RowsError::Unknown(died.to_string())));
                // What is not known outweighs what is known not to be.
                if done.is_err() && !matches!(outcome, Err(RowsError::Unknown(_))) {
                    outcome = done;
                }
            }
            inner.pace.note(outcome.is_ok());
            outcome
        })
    }

    fn read(&self, read: &Read, consistency: Consistency) -> Result<Vec<Row>, RowsError> {
        let read = read.clone();
        self.run(move |inner| async move {
            let work = inner.read(&read, Mode::Read(consistency));
            if is_timed_read(&read) { work.await } else { inner.pace.of(work).await }
        })
    }

    fn read_many(
        &self,
        reads: &[Read],
        consistency: Consistency,
    ) -> Vec<Result<Vec<Row>, RowsError>> {
        let (reads, count) = (reads.to_vec(), reads.len());
        let none = || RowsError::Unknown("its task died".to_owned());
        let answers = self.run(move |inner| async move {
            inner.pace.wait().await;
            let mut tasks = JoinSet::new();
            for (number, read) in reads.into_iter().enumerate() {
                let inner = Arc::clone(&inner);
                let mode = Mode::Read(consistency);
                tasks.spawn(async move { (number, inner.read(&read, mode).await) });
            }
            let mut answers: Vec<_> = (0..count).map(|_| Err(none())).collect();
            while let Some(done) = tasks.join_next().await {
                if let Ok((number, answer)) = done
                    && let Some(place) = answers.get_mut(number)
                {
                    *place = answer;
                }
            }
            inner.pace.note(answers.iter().any(Result::is_ok) || count == 0);
            Ok(answers)
        });
        answers.unwrap_or_else(|error| (0..count).map(|_| Err(error.clone())).collect())
    }

    fn change(&self, change: &Change) -> Result<Changed, RowsError> {
        let change = change.clone();
        self.run(move |inner| async move {
            let work = inner.change(&change);
            if is_timed(&change.table) { work.await } else { inner.change_pace.of(work).await }
        })
    }

    fn datacenter(&self) -> Option<String> {
        Some(self.inner.config.local_dc.clone())
    }

    fn commit_log_sync(&self) -> Result<Vec<(String, CommitLogSync)>, RowsError> {
        self.run(|inner| async move { inner.commit_log_sync().await })
    }
}
