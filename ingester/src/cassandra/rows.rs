//! What is asked of the database: rows of tables, each a key and one value.
//!
//! Every table has one column of data. So a row is one writer's or another's and never a mixture of
//! both, and the database's rule for a cell (the later timestamp; at a tie a tombstone, then the
//! greater value) is the rule for the row.
//!
//! # Rules
//! - A write is [`Ok`] only when a quorum of the nodes has synced it. After
//!   [`RowsError::Unknown`] it may be there, or come later, or never.
//! - Rows that are changed on condition ([`Rows::change`]) are changed by nothing else: such a change
//!   has timestamps of the database's own.
//! - A call blocks and has an end: the driver's time-out.
//!
//! Not here: which tables there are (`schema.rs`); who implements it (`fake.rs`, and a driver).

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use store::Error;

/// One part of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Column {
    /// A `bigint`.
    Int(i64),
    /// A `text`.
    Text(String),
}

/// Where a row stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The partition key's columns.
    pub partition: Vec<Column>,
    /// The clustering columns. None are the partition's static column, or in a deletion all of it.
    pub row: Vec<Column>,
}

/// A row to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Into which table.
    pub table: String,
    /// Where.
    pub key: Key,
    /// What; `None` deletes the row or, without clustering columns, the partition.
    pub data: Option<Arc<[u8]>>,
    /// Of two writes of a row the one with the greater timestamp stands.
    pub timestamp: i64,
}

/// Rows to be read: of one partition, from `first` to `last`, both included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Of which table.
    pub table: String,
    /// Of which partition.
    pub partition: Vec<Column>,
    /// From here on; an empty one is the beginning, the static column included.
    pub first: Vec<Column>,
    /// Up to here; `None` is the end.
    pub last: Option<Vec<Column>>,
    /// So many at most, the first ones.
    pub rows_max: usize,
}

/// A row that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its clustering columns; none for the static column.
    pub row: Vec<Column>,
    /// Its value.
    pub data: Arc<[u8]>,
}

/// How many nodes have to be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Any one: what it does not have another may have.
    One,
    /// A quorum: what a quorum acknowledged is among its answers.
    Quorum,
    /// A quorum, and changes on condition that were begun are finished first or will fail.
    Serial,
}

/// Clustering columns, and the row's value from now on; `None` deletes it.
pub type RowChange = (Vec<Column>, Option<Arc<[u8]>>);

/// A change of one partition on condition of its static column: all of it, or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Of which table.
    pub table: String,
    /// Of which partition.
    pub partition: Vec<Column>,
    /// What the static column has to be; `None` if there has to be none.
    pub expected: Option<Arc<[u8]>>,
    /// What it is then.
    pub guard: Arc<[u8]>,
    /// The rows that change with it.
    pub rows: Vec<RowChange>,
}

/// What came of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It was made.
    Applied,
    /// The static column was this.
    Refused(Option<Arc<[u8]>>),
}

/// When a node answers a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitLogSync {
    /// When it is on disk: `batch` or `group`.
    Synced,
    /// Before: what it answered in the last seconds is lost when it crashes.
    Periodic,
}

/// What the database says of a table that it does not know.
pub(super) const MISSING: &str = "does not exist";

/// Why something was not done, or is not known to have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowsError {
    /// A time-out or a cut connection: a write may be there, or come later, or never.
    #[error("the outcome is not known: {0}")]
    Unknown(String),
    /// Nothing was done: no such table, no right, too large.
    #[error("{0}")]
    Refused(String),
}

impl RowsError {
    /// Whether the database says that it knows no such table.
    #[must_use]
    pub fn is_of_missing_table(&self) -> bool {
        matches!(self, Self::Refused(why) if why.contains(MISSING))
    }
}

/// A database. All of it blocks.
pub trait Rows: Debug + Send + Sync {
    /// The names of the keyspace's tables, ascending: those that any node has.
    ///
    /// # Errors
    /// [`RowsError`].
    fn tables(&self) -> Result<Vec<String>, RowsError>;

    /// Whether every node that can be asked has a table.
    ///
    /// # Errors
    /// [`RowsError`].
    fn is_everywhere(&self, table: &str) -> Result<bool, RowsError>;

    /// What the clocks of the nodes say, in milliseconds since 1970: the lowest of them; `None` if they say
    /// nothing.
    ///
    /// # Errors
    /// [`RowsError`].
    fn clock_ms(&self) -> Result<Option<i64>, RowsError>;

    /// Creates a table with this id, unless it is there. Returns when all nodes agree.
    ///
    /// # Errors
    /// [`RowsError`].
    fn create_table(&self, name: &str, id: u128) -> Result<(), RowsError>;

    /// Drops a table; none of that name is no error.
    ///
    /// # Errors
    /// [`RowsError`].
    fn drop_table(&self, name: &str) -> Result<(), RowsError>;

    /// Writes rows, all in flight at once, each to a quorum.
    ///
    /// # Errors
    /// [`RowsError`] if one of them failed; others may have been written.
    fn write(&self, rows: &[Write]) -> Result<(), RowsError>;

    /// Reads rows, ascending.
    ///
    /// # Errors
    /// [`RowsError`].
    fn read(&self, read: &Read, consistency: Consistency) -> Result<Vec<Row>, RowsError>;

    /// Reads several times, all in flight at once; the answers in the order of the reads.
    fn read_many(
        &self,
        reads: &[Read],
        consistency: Consistency,
    ) -> Vec<Result<Vec<Row>, RowsError>> {
        reads.iter().map(|read| self.read(read, consistency)).collect()
    }

    /// Makes a change on condition.
    ///
    /// # Errors
    /// [`RowsError::Unknown`]: it may have been made, and may be yet while its condition holds.
    fn change(&self, change: &Change) -> Result<Changed, RowsError>;

    /// The data centre whose quorum acknowledges, if that is known.
    fn datacenter(&self) -> Option<String> {
        None
    }

    /// What each node says of its commit log.
    ///
    /// # Errors
    /// [`RowsError`].
    fn commit_log_sync(&self) -> Result<Vec<(String, CommitLogSync)>, RowsError>;
}

impl RowsError {
    /// The store's word for it: a sender keeps its samples and tries again, and nobody calls it damage.
    #[must_use]
    pub fn on(self, path: &str) -> Error {
        Error::Unreachable { path: path.to_owned(), why: self.to_string() }
    }
}

/// Something that cannot be done now.
pub(super) fn refused(action: &'static str, path: &str, why: impl ToString) -> Error {
    Error::io(action, path, std::io::Error::other(why.to_string()))
}

/// Asks again while it is not known what came of it; each try ends by the driver's time-out.
pub(super) fn persist<T>(
    path: &str,
    mut ask: impl FnMut() -> Result<T, RowsError>,
) -> Result<T, Error> {
    let mut outcome = ask();
    for _ in 1..super::TRIES {
        if !matches!(outcome, Err(RowsError::Unknown(_))) {
            break;
        }
        outcome = ask();
    }
    outcome.map_err(|error| error.on(path))
}

/// Writes rows, the same again while it is not known what came of them.
pub(super) fn write_all(rows: &dyn Rows, writes: &[Write], path: &str) -> Result<(), Error> {
    persist(path, || rows.write(writes))
}

/// Reads rows, again while there is no answer.
pub(super) fn read_all(
    rows: &dyn Rows,
    read: &Read,
    consistency: Consistency,
) -> Result<Vec<Row>, Error> {
    persist(&read.table, || rows.read(read, consistency))
}

/// Creates a table, again while it is not known whether it is there.
pub(super) fn create(rows: &dyn Rows, name: &str) -> Result<(), Error> {
    persist(name, || rows.create_table(name, super::schema::table_id(name)))
}

/// Drops a table, again while it is not known whether it is gone.
pub(super) fn drop_table(rows: &dyn Rows, name: &str) -> Result<(), Error> {
    persist(name, || rows.drop_table(name))
}

/// The names of all tables.
pub(super) fn table_names(rows: &dyn Rows) -> Result<BTreeSet<String>, Error> {
    Ok(persist("tables", || rows.tables())?.into_iter().collect())
}
