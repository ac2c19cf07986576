//! A partition that is changed on condition of its static column, its guard.

use super::rows::{Change, Changed, Column, Consistency, Read, RowChange, Rows, RowsError};
use std::sync::Arc;

/// A guard that is read or changed, and what it says.
pub(super) struct Guard<'a> {
    pub(super) rows: &'a dyn Rows,
    pub(super) table: &'static str,
    pub(super) partition: Vec<Column>,
}

impl Guard<'_> {
    /// What it says; `None` if there is none. Blocks.
    pub(super) fn read(&self) -> Result<Option<Arc<[u8]>>, RowsError> {
        let read = Read {
            table: self.table.to_owned(),
            partition: self.partition.clone(),
            first: Vec::new(),
            last: Some(Vec::new()),
            rows_max: 1,
        };
        Ok(self.rows.read(&read, Consistency::Serial)?.pop().map(|row| row.data))
    }

    /// Makes it another one, and changes rows with it, if it is what was expected. Blocks.
    pub(super) fn change(
        &self,
        expected: Option<Arc<[u8]>>,
        guard: Arc<[u8]>,
        more: Vec<RowChange>,
    ) -> Result<Changed, RowsError> {
        let (table, partition) = (self.table.to_owned(), self.partition.clone());
        self.rows.change(&Change { table, partition, expected, guard, rows: more })
    }
}
