//! What a flush takes of a series: its chunks of a day, without copying them, and a note of how far.
//!
//! # Invariants
//! - A sample is let go of only if it was handed to the flush that ends.

use super::{Sealed, Series};
use crate::chunk::{ChunkHead, fast};
use model::{DayBucket, TimestampMs};

/// What a flush takes of the samples that come while it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Those that are there when their series is written.
    Newest,
    /// None.
    OneMoment,
}

impl Series {
    /// Gets ready for a flush, which then takes it day by day: what is not coded yet is, and
    /// nothing counts as taken. With [`Takes::OneMoment`] what comes from now on is left out.
    pub(crate) fn begin_take(&mut self, takes: Takes) {
        self.open_taken = 0;
        if takes == Takes::OneMoment {
            self.seal();
        }
        self.spill();
        self.seal_histograms();
        if let Some(rest) = self.rest.as_deref_mut() {
            rest.sealed.iter_mut().for_each(|sealed| sealed.taken = 0);
            rest.listed = rest.sealed.len();
        }
    }

    /// Hands its chunks of a day, ascending by their first sample, to `visit`, and notes them as
    /// taken; they stay readable here until [`Series::release`].
    pub(crate) fn take<T>(
        &mut self,
        day: DayBucket,
        takes: Takes,
        visit: impl FnOnce(&[(ChunkHead, &[u8])]) -> T,
    ) -> T {
        let is_of_day = |head: &ChunkHead| TimestampMs(head.first_ms).day() == day;
        let mut chunks: Vec<(ChunkHead, &[u8])> = Vec::new();
        if let Some(rest) = self.rest.as_deref_mut() {
            let count = if takes == Takes::OneMoment { rest.listed } else { usize::MAX };
            let sealed = rest.sealed.iter_mut().take(count);
            for Sealed { chunk, taken } in sealed.filter(|sealed| is_of_day(&sealed.chunk.head)) {
                *taken = chunk.head.count;
                chunks.push((chunk.head, &chunk.bytes));
            }
        }
        if takes == Takes::Newest && self.open.count() > 0 {
            let head = self.open.head(self.revision);
            if is_of_day(&head) {
                // A chunk is cut long before this number ends.
                self.open_taken = u16::try_from(head.count).unwrap_or(u16::MAX);
                chunks.push((head, self.open.bytes()));
            }
        }
        chunks.sort_by_key(|(head, _)| head.first_ms);
        visit(&chunks)
    }

    /// Lets go of what was taken.
    pub(crate) fn release(&mut self) {
        let taken = u32::from(std::mem::take(&mut self.open_taken));
        if taken > 0 {
            self.open = self.open.without_first(taken);
        }
        if let Some(rest) = self.rest.as_deref_mut() {
            rest.sealed.retain_mut(Sealed::release);
            if rest.is_empty() {
                self.rest = None;
            }
        }
    }
}

impl Sealed {
    /// Lets go of what was taken, and returns whether something is left.
    fn release(&mut self) -> bool {
        let ChunkHead { count, first_ms, revision, .. } = self.chunk.head;
        match std::mem::take(&mut self.taken) {
            0 => return true,
            taken if taken < count => {
                let mut rest = fast::without_first(&self.chunk.bytes, first_ms, count, taken);
                // Histograms are taken whole, so these are floats, coded here.
                if let Some(rest) = rest.seal(revision) {
                    self.chunk = rest;
                    return true;
                }
            }
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Identity, Pushed};
    use super::*;
    use model::Sample;
    use proptest::prelude::*;

    fn sample(timestamp_ms: i64) -> Sample {
        Sample { timestamp_ms, value: 0.5, start_timestamp_ms: 0, revision: 0 }
    }

    /// The moments of what it holds or hands out.
    fn moments(chunks: &[(ChunkHead, &[u8])]) -> Vec<i64> {
        let mut all = Vec::new();
        for (head, bytes) in chunks {
            head.decode(bytes, |at, _, _| {
                all.push(at);
                true
            })
            .unwrap();
        }
        all
    }

    fn held(series: &Series) -> Vec<i64> {
        let (sealed, late) = series.closed();
        let sealed = sealed.map(|chunk| (chunk.head, &*chunk.bytes));
        let chunks: Vec<_> = sealed.chain(series.open()).collect();
        let mut all = moments(&chunks);
        all.extend(late.iter().map(|sample| sample.timestamp_ms));
        all.sort_unstable();
        all
    }

    fn push_all(series: &mut Series, steps: &[i64], at: &mut i64, sent: &mut Vec<i64>) {
        for step in steps {
            *at += step;
            if !sent.contains(at) {
                assert_ne!(series.push(&sample(*at)), Pushed::Repeated);
                sent.push(*at);
            }
        }
    }

    fn steps() -> impl Strategy<Value = Vec<i64>> {
        // Hours, so that days end; sometimes back, so that samples are late.
        prop::collection::vec(
            prop_oneof![9 => 1_000..20_000_000_i64, 1 => -9_000_000..-1_i64],
            0..80,
        )
    }

    #[test]
    fn a_series_without_a_sample_takes_136_bytes() {
        assert_eq!(size_of::<Series>(), 136);
        assert_eq!(size_of::<Option<Series>>(), 136);
    }

    proptest! {
        #[test]
        fn a_sample_is_given_or_kept_whatever_comes_while_a_flush_works(
            before in steps(),
            between in steps(),
            after in steps(),
            is_newest: bool,
        ) {
            let takes = if is_newest { Takes::Newest } else { Takes::OneMoment };
            let who = Identity { fingerprint: 1, target: 1, labels: [0].into() };
            let mut series = Series::new(who, 0, 0);
            let (mut at, mut sent) = (0, Vec::new());
            push_all(&mut series, &before, &mut at, &mut sent);
            let listed = sent.clone();
            series.begin_take(takes);
            let mut days: Vec<_> = series.days().collect();
            days.sort_unstable();
            days.dedup();
            push_all(&mut series, &between, &mut at, &mut sent);
            let mut given = Vec::new();
            for day in days {
                given.extend(series.take(day, takes, moments));
            }
            push_all(&mut series, &after, &mut at, &mut sent);
            sent.sort_unstable();
            prop_assert_eq!(held(&series), sent.clone());
            prop_assert_eq!(series.samples(), sent.len() as u64);
            series.release();
            prop_assert_eq!(series.samples() + given.len() as u64, sent.len() as u64);

            prop_assert!(listed.iter().all(|at| given.contains(at)));
            prop_assert!(is_newest || given.len() == listed.len());
            given.extend(held(&series));
            given.sort_unstable();
            prop_assert_eq!(&given, &sent);
            let left = series.samples();
            series.release();
            prop_assert_eq!(series.samples(), left);
        }
    }
}
