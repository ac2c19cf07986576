//! Where a row of the journal goes, and how a successor finds the journal's end.
//!
//! The journal of an incarnation is cut into *buckets*, partitions of a bounded size.
//!
//! # Invariants
//! - A bucket is opened only after a row of the one before is durable. So behind an empty bucket
//!   there is nothing that was acknowledged.
//! - A reading starts in the bucket where the flushed rows end, which may show nothing new while the
//!   next one has rows; so it ends after two buckets without a row.
//!
//! Not here: the tables of each hour that buckets lie in; what stands in a row.

/// Where a row stands in the journal of its incarnation; ascending in both parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Which partition.
    pub bucket: u64,
    /// Which row of the incarnation's; never used twice.
    pub seq: u64,
}

/// The writing side: gives each row its place.
#[derive(Debug)]
pub struct Writer {
    bucket_bytes_max: u64,
    at: Position,
    bucket_bytes: u64,
    is_durable: bool,
}

impl Writer {
    /// A new journal. A bucket ends with the row that brings it to `bucket_bytes_max`, or later if
    /// none of its rows is durable by then.
    #[must_use]
    pub fn new(bucket_bytes_max: u64) -> Self {
        Self { bucket_bytes_max, at: Position::default(), bucket_bytes: 0, is_durable: false }
    }

    /// The place of the next row.
    pub fn place(&mut self, bytes: u64) -> Position {
        if self.bucket_bytes >= self.bucket_bytes_max {
            self.roll();
        }
        self.at.seq += 1;
        self.bucket_bytes += bytes;
        self.at
    }

    /// Opens the next bucket, if the present one has a durable row; the bucket of the next row.
    pub fn roll(&mut self) -> u64 {
        if self.is_durable {
            self.at.bucket += 1;
            self.bucket_bytes = 0;
            self.is_durable = false;
        }
        self.at.bucket
    }

    /// A row is known to be durable.
    pub fn durable(&mut self, at: Position) {
        self.is_durable |= at.bucket == self.at.bucket;
    }

    /// The place of the last row; before the first, one that lies before every row.
    #[must_use]
    pub fn last(&self) -> Position {
        self.at
    }
}

/// One reading of a journal, from what has been flushed to its end.
#[derive(Debug)]
pub struct Reading {
    after: Option<Position>,
    bucket: u64,
    empty: u8,
}

impl Reading {
    /// Starts after the rows that stand in manifests.
    #[must_use]
    pub fn new(after: Option<Position>) -> Self {
        Self { after, bucket: after.map_or(0, |after| after.bucket), empty: 0 }
    }

    /// Which bucket to read next and after which row of it; none at the end.
    #[must_use]
    pub fn next(&self) -> Option<(u64, Option<Position>)> {
        (self.empty < 2).then_some((self.bucket, self.after))
    }

    /// The bucket was read.
    pub fn read(&mut self, rows: usize) {
        self.empty = if rows == 0 { self.empty + 1 } else { 0 };
        self.bucket += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_opened_only_when_a_row_of_the_one_before_is_durable() {
        let mut writer = Writer::new(10);
        assert_eq!(writer.place(10), Position { bucket: 0, seq: 1 });
        assert_eq!(writer.place(10), Position { bucket: 0, seq: 2 });
        writer.durable(Position { bucket: 0, seq: 2 });
        assert_eq!(writer.place(4), Position { bucket: 1, seq: 3 });
        writer.durable(Position { bucket: 0, seq: 1 });
        assert_eq!(writer.place(6), Position { bucket: 1, seq: 4 });
        assert_eq!(writer.place(1), Position { bucket: 1, seq: 5 });
    }

    #[test]
    fn a_reading_ends_after_two_buckets_without_a_row() {
        let flushed = Some(Position { bucket: 4, seq: 9 });
        let mut reading = Reading::new(flushed);
        for (bucket, rows) in [(4, 0), (5, 3), (6, 0), (7, 0)] {
            assert_eq!(reading.next(), Some((bucket, flushed)));
            reading.read(rows);
        }
        assert_eq!(reading.next(), None);
    }
}
