//! Which rows are written by one request: small ones of one partition, which are one write to the database.
//!
//! # Invariants
//! - Rows of two partitions are never in one request: it would be two writes, and one more node between.
//! - Deletions and large rows have a request each.

use crate::cassandra::rows::{Column, Write};
use std::collections::HashMap;

/// Rows of more bytes go alone; those of a request have so many together, and a row more.
const BYTES_MAX: usize = 128 << 10;
/// So many rows at most.
const ROWS_MAX: usize = 256;

/// The bytes of a row's data.
pub(super) fn bytes_of(write: &Write) -> usize {
    write.data.as_ref().map_or(0, |data| data.len())
}

/// Puts rows into requests. Rows of a partition keep their order.
pub(super) fn of(writes: Vec<Write>) -> Vec<Vec<Write>> {
    let mut requests: Vec<Vec<Write>> = Vec::new();
    // The request that takes rows of a partition, and the bytes in it.
    let mut open: HashMap<(String, Vec<Column>), (usize, usize)> = HashMap::new();
    for write in writes {
        let bytes = bytes_of(&write);
        if write.data.is_none() || write.key.row.is_empty() || bytes > BYTES_MAX {
            requests.push(vec![write]);
            continue;
        }
        let partition = (write.table.clone(), write.key.partition.clone());
        let (number, held) = open.entry(partition).or_insert((usize::MAX, 0));
        match requests.get_mut(*number) {
            Some(request) if *held < BYTES_MAX && request.len() < ROWS_MAX => {
                *held += bytes;
                request.push(write);
            }
            _ => {
                (*number, *held) = (requests.len(), bytes);
                requests.push(vec![write]);
            }
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cassandra::rows::Key;
    use crate::cassandra::schema::ints;

    fn row(partition: u64, number: u64, bytes: usize) -> Write {
        let key = Key { partition: ints([partition, 0]), row: ints([1, number]) };
        Write { table: "t".into(), key, data: Some(vec![0; bytes].into()), timestamp: 1 }
    }

    #[test]
    fn small_rows_of_a_partition_share_a_request_and_nothing_else_does() {
        let gone = Write { data: None, ..row(1, 3, 0) };
        let writes = [
            row(1, 0, 10),
            row(2, 1, 10),
            row(1, 2, 10),
            gone.clone(),
            row(1, 4, BYTES_MAX + 1),
            row(1, 5, BYTES_MAX),
            row(1, 6, 1),
        ];
        let numbers = |request: &Vec<Write>| request.iter().map(|w| w.key.row[1].clone()).collect();
        let requests: Vec<Vec<Column>> = of(writes.to_vec()).iter().map(numbers).collect();
        let int = |numbers: &[i64]| numbers.iter().map(|n| Column::Int(*n)).collect::<Vec<_>>();
        let expected = [&[0, 2, 5][..], &[1], &[3], &[4], &[6]];
        assert_eq!(requests, expected.map(int));
        let many: Vec<Write> = (0..600).map(|number| row(1, number, 1)).collect();
        let lens: Vec<usize> = of(many).iter().map(Vec::len).collect();
        assert_eq!(lens, [ROWS_MAX, ROWS_MAX, 600 - 2 * ROWS_MAX]);
    }
}
