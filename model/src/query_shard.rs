//! Query shards: a selection's series in parts that can be asked for and worked through apart.
//!
//! A series belongs to a shard by its labels alone, so it is in the same one on every replica, in
//! every file and in memory.
//!
//! Not here: which queries are cut into shards (`promql`).

use crate::LabelSet;
use std::sync::LazyLock;
use xxhash_rust::xxh3::xxh3_64;

/// One of `count` equal parts of all series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QueryShard {
    /// Which part, from 0.
    pub index: u32,
    /// How many there are; 0 is as good as 1.
    pub count: u32,
}

impl Default for QueryShard {
    fn default() -> Self {
        Self::ALL
    }
}

impl QueryShard {
    /// Every series.
    pub const ALL: Self = Self { index: 0, count: 1 };

    /// Whether every series is in it.
    #[must_use]
    pub fn is_all(self) -> bool {
        self.count <= 1
    }

    /// Whether the series of these labels is in it.
    #[must_use]
    pub fn holds(self, labels: &LabelSet) -> bool {
        let pairs = labels.iter().map(|(name, value)| (text_hash(name), text_hash(value)));
        self.is_all() || self.holds_hash(pairs_hash(pairs))
    }

    /// Whether the series of this [hash](pairs_hash) is in it.
    #[must_use]
    pub fn holds_hash(self, hash: u64) -> bool {
        let part = (u128::from(hash) * u128::from(self.count)) >> u64::BITS;
        self.is_all() || part == u128::from(self.index)
    }
}

/// The hash of a label name or value, for those who keep it beside the text.
#[must_use]
pub fn text_hash(text: &str) -> u64 {
    xxh3_64(text.as_bytes())
}

/// The hash of the label name that tells the buckets of one histogram.
static BUCKET: LazyLock<u64> = LazyLock::new(|| text_hash("le"));

/// The hash of a series by those of its labels' names and values, in any order. The buckets of a
/// histogram have the same: files keep each as its difference to its neighbour.
#[must_use]
pub fn pairs_hash(pairs: impl Iterator<Item = (u64, u64)>) -> u64 {
    pairs.map(|(name, value)| pair_hash(name, value)).fold(0, u64::wrapping_add)
}

/// What a label adds to the [hash](pairs_hash) of its series.
#[must_use]
pub fn pair_hash(name: u64, value: u64) -> u64 {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    match name == *BUCKET {
        true => 0,
        false => (name.rotate_left(32) ^ value).wrapping_mul(ODD),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(instance: usize) -> LabelSet {
        LabelSet::from_pairs([("__name__", "up".to_owned()), ("instance", instance.to_string())])
            .unwrap()
    }

    #[test]
    fn each_series_is_in_exactly_one_shard_and_shards_are_about_equal() {
        for count in [1, 2, 3, 16] {
            let mut sizes = vec![0_usize; count as usize];
            for instance in 0..8_000 {
                let of = labels(instance);
                let shards =
                    (0..count).filter(|index| QueryShard { index: *index, count }.holds(&of));
                let shards: Vec<u32> = shards.collect();
                assert_eq!(shards.len(), 1);
                sizes[shards[0] as usize] += 1;
            }
            let even = 8_000 / count as usize;
            assert!(sizes.iter().all(|size| size.abs_diff(even) < even / 5), "{sizes:?}");
        }
    }

    #[test]
    fn a_histogram_is_not_torn_apart() {
        let bucket = |le: &'static str| LabelSet::from_pairs([("a", "b"), ("le", le)]).unwrap();
        for index in 0..7 {
            let shard = QueryShard { index, count: 7 };
            assert_eq!(shard.holds(&bucket("0.1")), shard.holds(&bucket("+Inf")));
        }
    }

    #[test]
    fn name_and_value_do_not_change_places() {
        let hash =
            |name: &str, value: &str| pairs_hash([(text_hash(name), text_hash(value))].into_iter());
        assert_ne!(hash("a", "b"), hash("b", "a"));
    }
}
