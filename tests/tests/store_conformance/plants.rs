//! Mistakes with a database that the suite has to see: a layer between a store and its rows that
//! makes them.

use ingester::cassandra::fake::Fake;
use ingester::cassandra::{
    Change, Changed, Column, Consistency, Key, Read, Row, Rows, RowsError, Write, rows, schema,
};
use std::sync::atomic::{AtomicU64, Ordering};

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plant {
    /// A file's number without the life that gave it: those of two lives are the same.
    KeyTwice,
    /// A row of the manifest is deleted by a plain write at timestamp 2, far below the one that the
    /// database gave it when it was written on condition.
    DeleteBelow,
    /// A table's id is drawn, and does not follow from its name.
    TableTwice,
}

/// Ids that were drawn.
static DRAWN: AtomicU64 = AtomicU64::new(1);

/// Rows with a mistake on the way to them.
#[derive(Debug)]
pub(super) struct Planted {
    fake: Fake,
    plant: Plant,
}

impl Planted {
    pub(super) fn new(fake: Fake, plant: Plant) -> Self {
        Self { fake, plant }
    }

    fn partition(&self, table: &str, partition: &[Column]) -> Vec<Column> {
        let is_of_files = table.starts_with("segments_") || table == schema::DEFINITIONS;
        match partition {
            [Column::Int(file), part] if is_of_files && self.plant == Plant::KeyTwice => {
                vec![Column::Int(file & 0x0fff_ffff), part.clone()]
            }
            other => other.to_vec(),
        }
    }
}

impl Rows for Planted {
    fn tables(&self) -> Result<Vec<String>, RowsError> {
        self.fake.tables()
    }

    fn is_everywhere(&self, table: &str) -> Result<bool, RowsError> {
        self.fake.is_everywhere(table)
    }

    fn clock_ms(&self) -> Result<Option<i64>, RowsError> {
        self.fake.clock_ms()
    }

    fn create_table(&self, name: &str, id: u128) -> Result<(), RowsError> {
        let id = match self.plant {
            Plant::TableTwice => u128::from(DRAWN.fetch_add(1, Ordering::Relaxed)),
            _ => id,
        };
        self.fake.create_table(name, id)
    }

    fn drop_table(&self, name: &str) -> Result<(), RowsError> {
        self.fake.drop_table(name)
    }

    fn write(&self, rows: &[Write]) -> Result<(), RowsError> {
        let moved = |write: &Write| {
            let partition = self.partition(&write.table, &write.key.partition);
            Write { key: Key { partition, row: write.key.row.clone() }, ..write.clone() }
        };
        self.fake.write(&rows.iter().map(moved).collect::<Vec<_>>())
    }

    fn read(&self, read: &Read, consistency: Consistency) -> Result<Vec<Row>, RowsError> {
        let partition = self.partition(&read.table, &read.partition);
        self.fake.read(&Read { partition, ..read.clone() }, consistency)
    }

    fn change(&self, change: &Change) -> Result<Changed, RowsError> {
        if self.plant != Plant::DeleteBelow {
            return self.fake.change(change);
        }
        let (deletes, rows) = change.rows.iter().cloned().partition(|(_, data)| data.is_none());
        let changed = self.fake.change(&Change { rows, ..change.clone() })?;
        let deletes: Vec<(Vec<Column>, _)> = deletes;
        let delete = |(row, _)| Write {
            table: change.table.clone(),
            key: Key { partition: change.partition.clone(), row },
            data: None,
            timestamp: 2,
        };
        self.fake.write(&deletes.into_iter().map(delete).collect::<Vec<_>>())?;
        Ok(changed)
    }

    fn commit_log_sync(&self) -> Result<Vec<(String, rows::CommitLogSync)>, RowsError> {
        self.fake.commit_log_sync()
    }
}
