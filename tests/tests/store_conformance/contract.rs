//! What the store takes for granted of rows, of the fake and of a real Cassandra alike.

use ingester::cassandra::rows::Changed;
use ingester::cassandra::schema::{self, ints};
use ingester::cassandra::{Change, Column, Consistency, Key, Read, Row, Rows, RowsError, Write};
use std::collections::BTreeSet;
use std::sync::Arc;

const ALL: [Consistency; 3] = [Consistency::One, Consistency::Quorum, Consistency::Serial];

fn bytes(text: &str) -> Arc<[u8]> {
    text.as_bytes().into()
}

fn piece(piece: u64, data: Option<&str>, timestamp: i64) -> Write {
    let key = Key { partition: ints([7, 1]), row: ints([piece]) };
    let table = schema::DEFINITIONS.to_owned();
    Write { table, key, data: data.map(bytes), timestamp }
}

fn read(first: Option<u64>, last: Option<u64>, rows_max: usize) -> Read {
    let ends = |end: u64| ints([end]);
    Read {
        table: schema::DEFINITIONS.to_owned(),
        partition: ints([7, 1]),
        first: first.map_or_else(Vec::new, ends),
        last: last.map(ends),
        rows_max,
    }
}

fn numbers(rows: &dyn Rows, read: &Read) -> Vec<i64> {
    let found = rows.read(read, Consistency::Quorum).unwrap();
    let number = |row: &Row| match row.row[..] {
        [Column::Int(number)] => Some(number),
        _ => None,
    };
    found.iter().map(|row| number(row).unwrap()).collect()
}

/// Writes, the same again while the outcome is not known: any answer may be that.
fn write(rows: &dyn Rows, writes: &[Write]) {
    let mut outcome = rows.write(writes);
    for _ in 0..5 {
        if !matches!(outcome, Err(RowsError::Unknown(_))) {
            break;
        }
        outcome = rows.write(writes);
    }
    outcome.unwrap();
}

/// Rows are written once and deleted above; ranges end where they are said to.
pub(crate) fn rows_keep_their_order_and_their_timestamps(rows: &dyn Rows) {
    let table = schema::DEFINITIONS;
    for _ in 0..2 {
        rows.create_table(table, schema::table_id(table)).unwrap();
    }
    assert!(rows.tables().unwrap().contains(&table.to_owned()));
    let writes: Vec<Write> = (0..40).map(|at| piece(at, Some("x"), 1)).collect();
    write(rows, &writes);
    write(rows, &[piece(3, None, 2), piece(4, Some("y"), 2), piece(4, Some("late"), 1)]);
    // Below what deleted it.
    write(rows, &[piece(3, Some("again"), 1)]);

    assert_eq!(numbers(rows, &read(None, Some(5), 100)), [0, 1, 2, 4, 5]);
    assert_eq!(numbers(rows, &read(Some(2), None, 3)), [2, 4, 5]);
    assert_eq!(numbers(rows, &read(Some(3), Some(3), 1)), [0; 0]);
    let all: Vec<i64> = (0..40).filter(|at| *at != 3).collect();
    assert_eq!(numbers(rows, &read(None, None, usize::MAX)), all);
    for consistency in ALL {
        let found = rows.read(&read(Some(4), Some(4), 1), consistency).unwrap();
        assert_eq!(found, [Row { row: ints([4]), data: bytes("y") }], "{consistency:?}");
    }

    let mut gone = piece(0, None, 2);
    gone.key.row.clear();
    write(rows, &[gone, piece(50, Some("above"), 3)]);
    assert_eq!(numbers(rows, &read(None, None, 100)), [50]);
}

fn named(kind: &str, name: &str) -> Vec<Column> {
    vec![Column::Text(kind.to_owned()), Column::Text(name.to_owned())]
}

fn change(expected: Option<&str>, guard: &str, rows: &[(&str, Option<&str>)]) -> Change {
    Change {
        table: schema::MANIFEST.to_owned(),
        partition: ints([9]),
        expected: expected.map(bytes),
        guard: bytes(guard),
        rows: rows.iter().map(|(name, data)| (named("a", name), data.map(bytes))).collect(),
    }
}

/// A change is made whole, on condition, once; and what refused it is told.
pub(crate) fn a_change_is_made_on_condition_or_not_at_all(rows: &dyn Rows) {
    let table = schema::MANIFEST;
    rows.create_table(table, schema::table_id(table)).unwrap();
    let all = |rows_max| {
        let partition = ints([9]);
        let read = Read { table: table.to_owned(), partition, first: vec![], last: None, rows_max };
        let found = rows.read(&read, Consistency::Serial).unwrap();
        found.into_iter().map(|row| (row.row, row.data)).collect::<Vec<_>>()
    };
    assert_eq!(all(10), []);
    let refused = |found: Option<&str>| Changed::Refused(found.map(bytes));
    assert_eq!(rows.change(&change(Some("0"), "1", &[])).unwrap(), refused(None));
    assert_eq!(rows.change(&change(None, "1", &[])).unwrap(), Changed::Applied);
    assert_eq!(all(1), [(vec![], bytes("1"))], "a guard, and nothing else");
    assert_eq!(rows.change(&change(None, "2", &[("x", Some("-"))])).unwrap(), refused(Some("1")));

    let both = [("x", Some("1")), ("y", Some("2"))];
    assert_eq!(rows.change(&change(Some("1"), "2", &both)).unwrap(), Changed::Applied);
    let (x, y) = (named("a", "x"), named("a", "y"));
    assert_eq!(all(9), [(vec![], bytes("2")), (x.clone(), bytes("1")), (y.clone(), bytes("2"))]);
    assert_eq!(all(2), [(vec![], bytes("2")), (x, bytes("1"))]);

    let swap = [("x", None), ("y", Some("3"))];
    assert_eq!(rows.change(&change(Some("1"), "3", &swap)).unwrap(), refused(Some("2")));
    assert_eq!(rows.change(&change(Some("2"), "3", &swap)).unwrap(), Changed::Applied);
    assert_eq!(all(9), [(vec![], bytes("3")), (y, bytes("3"))]);
    assert_eq!(rows.change(&change(Some("2"), "3", &swap)).unwrap(), refused(Some("3")));
}

/// A table that is gone takes nothing, and says so.
pub(crate) fn a_table_that_was_dropped_refuses(rows: &dyn Rows) {
    let table = schema::journal_table(1);
    rows.create_table(&table, schema::table_id(&table)).unwrap();
    let key = Key { partition: ints([1, 0]), row: ints([0, 0]) };
    let write = Write { table: table.clone(), key, data: Some(bytes("x")), timestamp: 1 };
    rows.write(std::slice::from_ref(&write)).unwrap();
    for _ in 0..2 {
        rows.drop_table(&table).unwrap();
    }
    assert!(!rows.tables().unwrap().contains(&table));
    let error = rows.write(&[write]).unwrap_err();
    assert!(matches!(error, RowsError::Refused(_)), "{error:?}");
}

/// A table that somebody makes now can be asked as soon as it is listed.
pub(crate) fn a_table_that_is_listed_answers(makes: &dyn Rows, asks: &dyn Rows) {
    let made: Vec<String> = (100..120).map(schema::journal_table).collect();
    std::thread::scope(|scope| {
        let makes = scope.spawn(|| {
            for table in &made {
                makes.create_table(table, schema::table_id(table)).unwrap();
            }
        });
        let (mut asked, mut rounds) = (BTreeSet::new(), 0);
        while asked.len() < made.len() {
            let listed = asks.tables().unwrap();
            for table in listed.into_iter().filter(|table| made.contains(table)) {
                let (partition, first) = (ints([1, 0]), Vec::new());
                let read = Read { table: table.clone(), partition, first, last: None, rows_max: 1 };
                match asks.read(&read, Consistency::Quorum) {
                    // It is asked again in the next round.
                    Err(RowsError::Unknown(_)) => {}
                    answer => {
                        assert_eq!(answer, Ok(vec![]), "{table}");
                        asked.insert(table);
                    }
                }
            }
            rounds += u32::from(makes.is_finished());
            assert!(rounds < 1_000, "{asked:?} of {made:?}");
        }
    });
}
