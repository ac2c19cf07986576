//! What a successor reads of a dead incarnation's journal, and when.
//!
//! # Invariants
//! - A place counts as read when a reading that began after it was owned has come to its end.
//! - The tail is read again [`TAILS_MS`] after the last change of what is owed: a row that was on its
//!   way when the first reading passed may land later, and the journal may go after the last tail.
//! - A reading starts from the progress as it is then, and a bucket that could not be read is asked
//!   for again; what the rows say joins what is there, so reading twice does no harm.
//!
//! Not here: when what was read is flushed, and what follows from that (`owner.rs`).

use super::journal::Reading;
use super::{Ask, BootMs, Incarnation, Reply};
use std::collections::BTreeSet;

/// When the tail is read again, after the places were taken on: half a minute, ten minutes, an hour.
pub const TAILS_MS: [u64; 3] = [30_000, 600_000, 3_600_000];
/// How long after a failure the same is asked again.
const RETRY_MS: u64 = 500;

/// All readings of one dead incarnation's journal.
#[derive(Debug)]
pub struct Replay {
    dead: Incarnation,
    places: BTreeSet<usize>,
    read: BTreeSet<usize>,
    owed_since: BootMs,
    tails_ms: &'static [u64],
    tails_read: usize,
    current: Option<Current>,
    next_at: BootMs,
    is_in_flight: bool,
}

/// The reading that is under way.
#[derive(Debug)]
struct Current {
    places: BTreeSet<usize>,
    began_at: BootMs,
    // None until the progress is known.
    reading: Option<Reading>,
}

impl Replay {
    /// Owes nothing yet. The tail is read again so long after the last change of what is owed.
    #[must_use]
    pub fn new(dead: Incarnation, tails_ms: &'static [u64]) -> Self {
        Self {
            dead,
            places: BTreeSet::new(),
            read: BTreeSet::new(),
            owed_since: BootMs::default(),
            tails_ms,
            tails_read: 0,
            current: None,
            next_at: BootMs::default(),
            is_in_flight: false,
        }
    }

    /// These are the places for which the process owes; those that are new are to be read.
    pub fn owe(&mut self, places: BTreeSet<usize>, now: BootMs) {
        if !places.is_subset(&self.places) {
            self.owed_since = now;
            self.tails_read = 0;
        }
        self.read.retain(|place| places.contains(place));
        if let Some(current) = &mut self.current {
            current.places.retain(|place| places.contains(place));
        }
        self.places = places;
    }

    /// Whether a place has been read to the end of the journal.
    #[must_use]
    pub fn has_read(&self, place: usize) -> bool {
        self.read.contains(&place)
    }

    /// A place was read by other means, from its start to its end, since it was owned.
    pub(super) fn has_opened(&mut self, place: usize) {
        if self.places.contains(&place) {
            self.read.insert(place);
        }
    }

    /// The places that have been read.
    #[must_use]
    pub fn read(&self) -> &BTreeSet<usize> {
        &self.read
    }

    /// Whether the last tail has been read.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.tails_read == self.tails_ms.len() && self.read == self.places
    }

    /// What to ask now.
    pub fn poll(&mut self, now: BootMs) -> Option<Ask> {
        if self.is_in_flight || now < self.next_at || !(self.current.is_some() || self.is_due(now))
        {
            return None;
        }
        self.is_in_flight = true;
        let (dead, places) = (self.dead, &self.places);
        let current = self.current.get_or_insert_with(|| Current {
            places: places.clone(),
            began_at: now,
            reading: None,
        });
        match current.reading.as_ref().and_then(Reading::next) {
            Some((bucket, after)) => Some(Ask::ReadBucket { dead, bucket, after }),
            None => Some(Ask::ReadProgress(dead)),
        }
    }

    fn is_due(&self, now: BootMs) -> bool {
        let tail = self.tails_ms.get(self.tails_read);
        self.read != self.places || tail.is_some_and(|ms| now.since(self.owed_since) >= *ms)
    }

    /// Takes what came of an ask.
    pub fn answered(&mut self, reply: &Reply, now: BootMs) {
        self.is_in_flight = false;
        let Some(current) = &mut self.current else { return };
        match (reply, &mut current.reading) {
            (Reply::Progress(after), reading) => *reading = Some(Reading::new(*after)),
            (Reply::Bucket(rows), Some(reading)) => reading.read(*rows),
            _ => self.next_at = now.plus_ms(RETRY_MS),
        }
        if current.reading.as_ref().is_some_and(|reading| reading.next().is_none()) {
            self.finish();
        }
    }

    fn finish(&mut self) {
        let Some(Current { places, began_at, .. }) = self.current.take() else { return };
        self.read.extend(places);
        let waited_ms = began_at.since(self.owed_since);
        if began_at >= self.owed_since && self.read == self.places {
            self.tails_read = self.tails_ms.iter().filter(|ms| **ms <= waited_ms).count();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers every ask at `now`, with one row in bucket 0; how many asks there were.
    fn read_all(replay: &mut Replay, now: BootMs) -> usize {
        let mut asks = 0;
        while let Some(ask) = replay.poll(now) {
            asks += 1;
            let reply = match ask {
                Ask::ReadBucket { bucket, .. } => Reply::Bucket(usize::from(bucket == 0)),
                _ => Reply::Progress(None),
            };
            replay.answered(&reply, now);
        }
        asks
    }

    #[test]
    fn the_journal_is_read_at_once_and_its_tail_three_times_more() {
        let mut replay = Replay::new(Incarnation(1), &TAILS_MS);
        replay.owe(BTreeSet::from([3]), BootMs(1_000));
        assert!(!replay.has_read(3));
        let at = [1_000, 30_999, 31_000, 601_000, 3_600_999, 3_601_000, 9_999_999];
        let asks = at.map(|ms| read_all(&mut replay, BootMs(ms)));
        assert_eq!(asks, [4, 0, 4, 4, 0, 4, 0]);
        assert!(replay.has_read(3) && replay.is_over());
    }

    #[test]
    fn a_place_taken_on_during_a_reading_is_read_from_the_start() {
        let mut replay = Replay::new(Incarnation(1), &TAILS_MS);
        replay.owe(BTreeSet::from([3]), BootMs(0));
        assert!(replay.poll(BootMs(0)).is_some());
        replay.owe(BTreeSet::from([3, 4]), BootMs(5));
        replay.answered(&Reply::Progress(None), BootMs(5));
        for _ in 0..2 {
            assert!(!replay.has_read(3));
            replay.poll(BootMs(6));
            replay.answered(&Reply::Bucket(0), BootMs(6));
        }
        assert!(replay.has_read(3) && !replay.has_read(4));
        assert_eq!(read_all(&mut replay, BootMs(7)), 4);
        assert!(replay.has_read(4));
    }

    #[test]
    fn a_bucket_that_could_not_be_read_is_read_again_and_not_taken_for_empty() {
        let mut replay = Replay::new(Incarnation(1), &TAILS_MS);
        replay.owe(BTreeSet::from([3]), BootMs(0));
        replay.poll(BootMs(0));
        replay.answered(&Reply::Progress(None), BootMs(0));
        for ms in [0, 1_000, 2_000] {
            assert!(matches!(replay.poll(BootMs(ms)), Some(Ask::ReadBucket { bucket: 0, .. })));
            replay.answered(&Reply::Unknown, BootMs(ms));
        }
        assert!(!replay.has_read(3));
    }
}
