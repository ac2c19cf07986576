//! One node of the fake: its cells, by Cassandra's rules, and what of them is on its disk.

use crate::cassandra::rows::{Column, Key, Read, Row, Write};
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

/// A value or, where it was deleted, none; and when by the writer's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) timestamp: i64,
    pub(super) data: Option<Arc<[u8]>>,
}

impl Cell {
    /// Whether this one stands rather than another: the later; at a tie a tombstone; then the
    /// greater value.
    pub(super) fn wins(&self, other: &Self) -> bool {
        let rank = |cell: &Self| (cell.timestamp, cell.data.is_none());
        rank(self).cmp(&rank(other)).then_with(|| self.data.cmp(&other.data)).is_gt()
    }
}

/// A partition of one table on one node.
#[derive(Clone, Debug, Default)]
pub(super) struct Partition {
    /// By clustering columns.
    pub(super) cells: BTreeMap<Vec<Column>, Cell>,
    /// When all of it was deleted: hides every cell that is not later.
    pub(super) deleted: Option<i64>,
}

impl Partition {
    fn apply(&mut self, write: &Write) {
        if write.key.row.is_empty() && write.data.is_none() {
            self.deleted = self.deleted.max(Some(write.timestamp));
            return;
        }
        let cell = Cell { timestamp: write.timestamp, data: write.data.clone() };
        let stands = self.cells.entry(write.key.row.clone()).or_insert_with(|| cell.clone());
        if cell.wins(stands) {
            *stands = cell;
        }
    }
}

/// The rows that some replicas of a partition have between them: from `first` to `last`, so many at
/// most.
pub(super) fn read(replicas: &[&Partition], read: &Read) -> Vec<Row> {
    let deleted = replicas.iter().filter_map(|replica| replica.deleted).max();
    let mut rows = Vec::new();
    let mut from = Bound::Included(read.first.clone());
    while rows.len() < read.rows_max {
        let next = |replica: &&Partition| {
            let mut cells = replica.cells.range((from.clone(), Bound::Unbounded));
            cells.next().map(|(row, _)| row.clone())
        };
        let Some(row) = replicas.iter().filter_map(next).min() else { break };
        if read.last.as_ref().is_some_and(|last| row > *last) {
            break;
        }
        let cells = replicas.iter().filter_map(|replica| replica.cells.get(&row));
        let stands = cells.reduce(|stands, cell| if cell.wins(stands) { cell } else { stands });
        let seen = stands.filter(|cell| deleted.is_none_or(|at| cell.timestamp > at));
        if let Some(data) = seen.and_then(|cell| cell.data.clone()) {
            rows.push(Row { row: row.clone(), data });
        }
        from = Bound::Excluded(row);
    }
    rows
}

/// A table's id, and a partition key in it.
pub(super) type Place = (u128, Vec<Column>);

/// One node.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) partitions: HashMap<Place, Partition>,
    /// What was answered before it was synced: the table and the write.
    unsynced: Vec<(u128, Write)>,
    /// What is on disk of the partitions that `unsynced` touches.
    on_disk: HashMap<Place, Partition>,
}

impl Node {
    /// Takes a write in. A node that answers before it syncs may lose it.
    pub(super) fn apply(&mut self, table: u128, write: &Write, is_periodic: bool) {
        let place = (table, write.key.partition.clone());
        let partition = self.partitions.entry(place.clone()).or_default();
        if is_periodic {
            self.on_disk.entry(place).or_insert_with(|| partition.clone());
            self.unsynced.push((table, write.clone()));
        }
        partition.apply(write);
    }

    /// What was written by now is on disk.
    pub(super) fn sync(&mut self) {
        self.unsynced.clear();
        self.on_disk.clear();
    }

    /// The node's power goes and comes back.
    pub(super) fn crash(&mut self) {
        self.unsynced.clear();
        self.partitions.extend(std::mem::take(&mut self.on_disk));
    }

    /// A table is gone.
    pub(super) fn forget(&mut self, table: u128) {
        self.partitions.retain(|(id, _), _| *id != table);
        self.on_disk.retain(|(id, _), _| *id != table);
        self.unsynced.retain(|(id, _)| *id != table);
    }
}

/// A write of one row.
pub(super) fn write_of(table: &str, key: Key, data: Option<Arc<[u8]>>, timestamp: i64) -> Write {
    Write { table: table.to_owned(), key, data, timestamp }
}
