//! The moments of an answer's series: equal ones are kept once.
//!
//! Not here: columns of times that files share already (`sstable/times.rs`).

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use model::{Column, Timestamps};

/// So many different columns of moments are remembered of an answer.
const SHARED_MAX: usize = 4_096;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct SharedMoments {
    /// By their number, the first and the last.
    seen: HashMap<(usize, i64, i64), Timestamps, FixedState>,
}

impl SharedMoments {
    /// Gives a column the moments of one before, if they are equal; and no more room than it needs.
    pub(super) fn share(&mut self, column: &mut Column) {
        let Column { timestamps_ms, values, .. } = column;
        if values.capacity() > 2 * values.len() + 16 {
            // There was room for more than came.
            values.shrink_to_fit();
        }
        let [first, .., last] = timestamps_ms[..] else { return };
        if timestamps_ms.is_shared() {
            return;
        }
        if self.seen.len() >= SHARED_MAX {
            self.seen.clear();
        }
        let seen = self.seen.entry((timestamps_ms.len(), first, last)).or_insert_with(|| {
            let moments = timestamps_ms.to_mut();
            if moments.capacity() > 2 * moments.len() + 16 {
                moments.shrink_to_fit();
            }
            timestamps_ms.clone()
        });
        if seen == timestamps_ms {
            *timestamps_ms = seen.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(moments: &[i64]) -> Column {
        let values = vec![0.0; moments.len()];
        Column { timestamps_ms: moments.to_vec().into(), values, ..Column::default() }
    }

    #[test]
    fn equal_moments_are_kept_once_and_others_stay_as_they_are() {
        let mut shared = SharedMoments::default();
        let mut columns = [&[1, 2, 9][..], &[1, 2, 9], &[1, 3, 9], &[1, 2, 9], &[7]].map(column);
        columns.iter_mut().for_each(|column| shared.share(column));
        let is_same =
            |a: usize, b: usize| columns[a].timestamps_ms.is_same(&columns[b].timestamps_ms);
        assert!(is_same(0, 1) && is_same(0, 3) && !is_same(0, 2));
        assert_eq!(columns[2].timestamps_ms, [1, 3, 9]);
        assert_eq!(columns[4].timestamps_ms, [7]);
    }
}
