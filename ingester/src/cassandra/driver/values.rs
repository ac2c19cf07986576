//! Values to be bound, and rows that came.
//!
//! Columns are taken as the bytes that CQL has for them: a bigint is eight, the greatest first.

use crate::cassandra::rows::{Changed, Column, Read, Row, RowsError};
use crate::cassandra::schema::{ColumnDef, ColumnType, Shape};
use scylla::cluster::metadata::ColumnType as CqlType;
use scylla::deserialize::DeserializationError;
use scylla::deserialize::row::{ColumnIterator, RawColumn};
use scylla::response::query_result::QueryRowsResult;
use scylla::serialize::SerializationError;
use scylla::serialize::value::SerializeValue;
use scylla::serialize::writers::{CellWriter, WrittenCellProof};
use std::sync::Arc;

/// A value to be bound.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Int(i64),
    /// How many rows.
    Limit(i32),
    Text(String),
    Blob(Arc<[u8]>),
}

impl Value {
    pub(super) fn of(column: &Column) -> Self {
        match column {
            Column::Int(number) => Self::Int(*number),
            Column::Text(text) => Self::Text(text.clone()),
        }
    }

    pub(super) fn of_text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl SerializeValue for Value {
    fn serialize<'b>(
        &self,
        of: &CqlType<'_>,
        writer: CellWriter<'b>,
    ) -> Result<WrittenCellProof<'b>, SerializationError> {
        match self {
            Self::Int(number) => number.serialize(of, writer),
            Self::Limit(number) => number.serialize(of, writer),
            Self::Text(text) => text.serialize(of, writer),
            Self::Blob(bytes) => (&**bytes).serialize(of, writer),
        }
    }
}

fn unreadable(why: impl ToString) -> RowsError {
    RowsError::Unknown(format!("an answer that cannot be read: {}", why.to_string()))
}

/// The columns of a row, by their place.
type Cells<'f> = Vec<Option<&'f [u8]>>;

fn cells<'f>(row: ColumnIterator<'f, 'f>) -> Result<Cells<'f>, RowsError> {
    let cell = |column: Result<RawColumn<'f, 'f>, DeserializationError>| {
        let column = column.map_err(unreadable)?;
        Ok(column.slice.map(|slice| slice.as_slice()))
    };
    row.map(cell).collect()
}

fn all<'f>(page: &'f QueryRowsResult) -> Result<Vec<Cells<'f>>, RowsError> {
    let rows = page.rows::<ColumnIterator<'f, 'f>>().map_err(unreadable)?;
    rows.map(|row| cells(row.map_err(unreadable)?)).collect()
}

fn place(page: &QueryRowsResult, name: &str) -> Option<usize> {
    page.column_specs().get_by_name(name).map(|(place, _)| place)
}

/// The texts of a column, where it is not null. A map is shown with its entries.
pub(super) fn column_text(page: &QueryRowsResult, name: &str) -> Result<Vec<String>, RowsError> {
    let place = place(page, name).ok_or_else(|| unreadable(format!("no column {name}")))?;
    let is_map = page
        .column_specs()
        .get_by_index(place)
        .is_some_and(|spec| matches!(spec.typ(), CqlType::Collection { .. }));
    let found = all(page)?;
    let cells = found.iter().filter_map(|row| row.get(place).copied().flatten());
    Ok(cells
        .map(|bytes| if is_map { map_text(bytes) } else { String::from_utf8_lossy(bytes).into() })
        .collect())
}

/// A map of texts as CQL writes it.
fn map_text(bytes: &[u8]) -> String {
    let mut rest = bytes.get(4..).unwrap_or_default();
    let mut texts = Vec::new();
    while let Some((len, behind)) = rest.split_first_chunk::<4>() {
        let len = usize::try_from(i32::from_be_bytes(*len)).unwrap_or(0).min(behind.len());
        let (text, behind) = behind.split_at(len);
        texts.push(format!("'{}'", String::from_utf8_lossy(text)));
        rest = behind;
    }
    let pairs: Vec<String> = texts.chunks(2).map(|pair| pair.join(": ")).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// Keys of these columns, which are all there is in a row.
pub(super) fn keys(
    page: &QueryRowsResult,
    columns: &[ColumnDef],
) -> Result<Vec<Vec<Column>>, RowsError> {
    let found = all(page)?;
    found.iter().map(|row| key(columns, row).ok_or_else(|| unreadable("not a key"))).collect()
}

/// Tables and their sizes: a name, and a number of four or eight bytes or of any length.
pub(super) fn sizes(page: &QueryRowsResult) -> Result<Vec<(String, u64)>, RowsError> {
    let size = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let found = all(page)?;
    let named = found.iter().filter_map(|row| match row[..] {
        [Some(name), Some(bytes)] => Some((String::from_utf8_lossy(name).into(), size(bytes))),
        _ => None,
    });
    Ok(named.collect())
}

fn key(columns: &[ColumnDef], cells: &[Option<&[u8]>]) -> Option<Vec<Column>> {
    let columns = columns.iter().zip(cells);
    columns
        .map(|((_, of), cell)| match of {
            ColumnType::Int => Some(Column::Int(i64::from_be_bytes((*cell)?.try_into().ok()?))),
            ColumnType::Text => Some(Column::Text(String::from_utf8_lossy((*cell)?).into_owned())),
        })
        .collect()
}

/// The ids of a column, as CQL writes them.
pub(super) fn column_uuid(page: &QueryRowsResult, name: &str) -> Result<Vec<String>, RowsError> {
    let place = place(page, name).ok_or_else(|| unreadable(format!("no column {name}")))?;
    let found = all(page)?;
    let ids = found.iter().filter_map(|row| row.get(place).copied().flatten()?.try_into().ok());
    Ok(ids
        .map(|bytes: [u8; 16]| {
            let hex = format!("{:032x}", u128::from_be_bytes(bytes));
            [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
        })
        .collect())
}

/// The first of a column of numbers.
pub(super) fn column_int(page: &QueryRowsResult, name: &str) -> Result<Option<i64>, RowsError> {
    let place = place(page, name).ok_or_else(|| unreadable(format!("no column {name}")))?;
    let found = all(page)?;
    let first = found.first().and_then(|row| row.get(place).copied().flatten());
    Ok(first.and_then(|bytes| bytes.try_into().ok()).map(i64::from_be_bytes))
}

/// What came of a change on condition.
pub(super) fn changed(page: &QueryRowsResult) -> Result<Changed, RowsError> {
    let found = all(page)?;
    let first = found.first().ok_or_else(|| unreadable("no row"))?;
    let cell = |name: &str| first.get(place(page, name)?).copied().flatten();
    match cell("[applied]") {
        Some([0]) => Ok(Changed::Refused(cell("guard").map(Arc::from))),
        Some([_]) => Ok(Changed::Applied),
        _ => Err(unreadable("it does not say whether the change was made")),
    }
}

/// The rows of one read, page by page.
#[derive(Debug)]
pub(super) struct Found<'r> {
    read: &'r Read,
    shape: Shape,
    wants_guard: bool,
    guard: Option<Arc<[u8]>>,
    pages: usize,
    is_at_end: bool,
    rows: Vec<Row>,
}

impl<'r> Found<'r> {
    pub(super) fn new(read: &'r Read, shape: Shape, wants_guard: bool) -> Self {
        let (guard, pages, is_at_end, rows) = (None, 0, false, Vec::new());
        Self { read, shape, wants_guard, guard, pages, is_at_end, rows }
    }

    /// Whether no more is wanted.
    pub(super) fn is_full(&self) -> bool {
        self.is_at_end || self.rows.len() >= self.read.rows_max
    }

    /// Takes a page.
    pub(super) fn take(&mut self, page: &QueryRowsResult) -> Result<(), RowsError> {
        for row in all(page)? {
            let (guard, rest) = match self.shape.has_guard {
                true => (row.first().copied().flatten(), row.get(1..).unwrap_or_default()),
                false => (None, &row[..]),
            };
            self.take_guard(guard)?;
            self.pages += 1;
            // A partition that has a guard and nothing else has one row of nulls.
            let Some((Some(data), key)) = rest.split_last() else { continue };
            let Some(key) = self::key(self.shape.clustering, key) else { continue };
            if self.read.last.as_ref().is_some_and(|last| key > *last) {
                self.is_at_end = true;
                return Ok(());
            }
            self.rows.push(Row { row: key, data: Arc::from(*data) });
        }
        Ok(())
    }

    /// Each row of a partition has its guard: if it changes on the way, so may have the rows.
    fn take_guard(&mut self, guard: Option<&[u8]>) -> Result<(), RowsError> {
        if !self.wants_guard {
            return Ok(());
        }
        if self.pages > 0 && self.guard.as_deref() != guard {
            return Err(RowsError::Unknown("it was changed while it was read".to_owned()));
        }
        if self.guard.as_deref() != guard {
            self.guard = guard.map(Arc::from);
        }
        Ok(())
    }

    /// All of them, the guard first.
    pub(super) fn rows(self) -> Vec<Row> {
        let guard = self.guard.map(|data| Row { row: Vec::new(), data });
        guard.into_iter().chain(self.rows).take(self.read.rows_max).collect()
    }
}
