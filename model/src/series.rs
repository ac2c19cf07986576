//! Series: their identity, and the short numbers that stand for them.

use crate::label::{LabelSet, LabelTable, METRIC_NAME};
use crate::tenant::TenantId;
use std::sync::Arc;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

/// The fingerprint of a series: a hash of its labels under its tenant's salt.
///
/// Two series may share one; whoever looks a series up compares labels too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub u64);

impl SeriesId {
    /// xxh3-64, seeded with the salt, over each name and value, its length in front.
    #[must_use]
    pub fn of(salt: u64, labels: &LabelSet) -> Self {
        Self(hash_pairs(salt, labels, |_| true))
    }
}

/// The salt of a tenant's fingerprints: xxh3(cluster name ‖ tenant).
#[must_use]
pub fn tenant_salt(cluster_name: &str, tenant: &TenantId) -> u64 {
    let mut hasher = Xxh3::new();
    hash_part(&mut hasher, cluster_name.as_bytes());
    hash_part(&mut hasher, tenant.as_str().as_bytes());
    hasher.digest()
}

/// The hash of the *target* a series belongs to: of `job` and `instance`, else of the whole label
/// set without the metric name and `le`. A function of the labels alone, so that a scrape stays
/// together wherever it goes.
#[must_use]
pub fn target_hash(labels: &LabelSet) -> u64 {
    match (labels.get("job"), labels.get("instance")) {
        (Some(job), Some(instance)) => {
            xxh3_64_with_seed(instance.as_bytes(), xxh3_64_with_seed(job.as_bytes(), 1))
        }
        _ => hash_pairs(2, labels, |name| name != METRIC_NAME && name != "le"),
    }
}

fn hash_pairs(seed: u64, labels: &LabelSet, keep: impl Fn(&str) -> bool) -> u64 {
    // In one piece it takes half the time of a part after the other.
    let kept = || labels.iter().filter(|(name, _)| keep(name));
    let bytes = kept().map(|(name, value)| name.len() + value.len() + 8).sum();
    let mut parts = Vec::with_capacity(bytes);
    for (name, value) in kept() {
        push_part(&mut parts, name);
        push_part(&mut parts, value);
    }
    xxh3_64_with_seed(&parts, seed)
}

#[inline]
fn push_part(parts: &mut Vec<u8>, part: &str) {
    parts.extend_from_slice(&part_len(part.as_bytes()));
    parts.extend_from_slice(part.as_bytes());
}

fn part_len(part: &[u8]) -> [u8; 4] {
    u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes()
}

/// Fingerprints of many series, one after the other. Of a row of a table, what the row before has too
/// is not put together again: a scrape's series differ in few labels.
#[derive(Debug)]
pub struct Fingerprints<'a> {
    salt: u64,
    /// What was hashed last, if it was a row: of this table, these places and where each one's part ends.
    parts: Vec<u8>,
    table: Option<&'a Arc<LabelTable>>,
    ends: Vec<(u32, usize)>,
}

impl<'a> Fingerprints<'a> {
    /// Of series of a tenant with this salt.
    #[must_use]
    pub fn new(salt: u64) -> Self {
        Self { salt, parts: Vec::new(), table: None, ends: Vec::new() }
    }

    /// The fingerprint of the next one, which is [`SeriesId::of`] it.
    pub fn of(&mut self, labels: &'a LabelSet) -> SeriesId {
        let Some((table, keys)) = labels.places() else { return SeriesId::of(self.salt, labels) };
        if self.table.is_none_or(|held| !Arc::ptr_eq(held, table)) {
            self.table = Some(table);
            self.ends.clear();
        }
        let mut end = 0;
        for (index, key) in keys.iter().enumerate() {
            if let Some((_, theirs)) = self.ends.get(index).filter(|(held, _)| held == key) {
                end = *theirs;
                continue;
            }
            // A row's places are those of its table.
            let text = table.texts().get(*key as usize).map_or("", |text| text);
            if let Some((held, theirs)) = self.ends.get_mut(index)
                && let Some(room) = self.parts.get_mut(end + 4..*theirs)
                && room.len() == text.len()
            {
                room.copy_from_slice(text.as_bytes());
                (*held, end) = (*key, *theirs);
                continue;
            }
            self.ends.truncate(index);
            self.parts.truncate(end);
            push_part(&mut self.parts, text);
            end = self.parts.len();
            self.ends.push((*key, end));
        }
        self.ends.truncate(keys.len());
        self.parts.truncate(end);
        SeriesId(xxh3_64_with_seed(&self.parts, self.salt))
    }
}

/// Feeds one part, its length (u32, little-endian) in front, so that no two lists of parts collide
/// by being cut elsewhere.
pub(crate) fn hash_part(hasher: &mut Xxh3, part: &[u8]) {
    hasher.update(&part_len(part));
    hasher.update(part);
}

/// A replica's short name for one of its series.
///
/// The generation is drawn at random at each start of the replica; a number is never used twice
/// within it and is handed out only after the series' definition is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    /// Which life of which (replica, tenant) the number belongs to. Never 0.
    pub generation: u64,
    /// The series' number in it, in order of arrival.
    pub number: u32,
}

/// How a mutation names a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeriesRef {
    /// By the replica's own number, under the mutation's generation.
    Number(u32),
    /// By its labels.
    Labels(LabelSet),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pairs: &[(&str, &str)]) -> LabelSet {
        LabelSet::from_pairs(pairs.iter().copied()).unwrap()
    }

    #[test]
    fn the_buckets_of_a_histogram_and_all_metrics_of_an_instance_share_a_target() {
        let a = set(&[("__name__", "a"), ("job", "j"), ("instance", "i"), ("x", "1")]);
        let b = set(&[("__name__", "b"), ("job", "j"), ("instance", "i")]);
        assert_eq!(target_hash(&a), target_hash(&b));
        let le1 = set(&[("__name__", "a_bucket"), ("pod", "p"), ("le", "1")]);
        let le2 = set(&[("__name__", "b_bucket"), ("pod", "p"), ("le", "2")]);
        assert_eq!(target_hash(&le1), target_hash(&le2));
        assert_ne!(target_hash(&le1), target_hash(&set(&[("pod", "q")])));
    }

    #[test]
    fn a_fingerprint_is_the_hash_of_each_part_behind_its_length() {
        let labels = set(&[("__name__", "up"), ("job", "j"), ("long", &"x".repeat(700))]);
        let mut hasher = Xxh3::with_seed(9);
        for (name, value) in labels.iter() {
            hash_part(&mut hasher, name.as_bytes());
            hash_part(&mut hasher, value.as_bytes());
        }
        assert_eq!(SeriesId::of(9, &labels).0, hasher.digest());
        assert_eq!(SeriesId::of(9, &set(&[])).0, Xxh3::with_seed(9).digest());
    }

    #[test]
    fn cutting_labels_elsewhere_makes_another_series() {
        assert_ne!(SeriesId::of(0, &set(&[("ab", "c")])), SeriesId::of(0, &set(&[("a", "bc")])));
        assert_ne!(SeriesId::of(0, &set(&[("a", "b")])), SeriesId::of(1, &set(&[("a", "b")])));
    }

    #[test]
    fn fingerprints_one_after_the_other_are_those_of_each_alone() {
        let values = ["", "x", "y", "xyz"];
        let sets: Vec<LabelSet> = (0..64)
            .map(|bits| {
                let value = |shift: u32| values[bits >> shift & 3];
                set(&[("a", value(0)), ("b", value(2)), ("c", value(4))])
            })
            .collect();
        let texts: Vec<crate::Text> = ["a", "b", "c", "x", "xyz", "y"].map(Into::into).into();
        let place = |text: &str| texts.iter().position(|held| **held == *text).unwrap();
        let mut keys = Vec::new();
        let mut ends = vec![0];
        for labels in &sets {
            let both = labels.iter().flat_map(|(name, value)| [name, value]);
            keys.extend(both.map(|text| u32::try_from(place(text)).unwrap()));
            ends.push(keys.len());
        }
        let tables = [keys.clone(), keys].map(|keys| LabelTable::new(texts.clone(), keys));
        let mut asked = Vec::new();
        for (i, j) in (0..64_usize).flat_map(|i| (0..64_usize).map(move |j| (i, j))) {
            let row = |at: usize, table: usize| tables[table].row(ends[at]..ends[at + 1]).unwrap();
            // Rows of one table side by side, then another table, then no row at all.
            asked.extend([row(i, 0), row(j, 0), row(j, 1), sets[i].clone(), row(i, 1)]);
        }
        let mut fingerprints = Fingerprints::new(9);
        for labels in &asked {
            assert_eq!(fingerprints.of(labels), SeriesId::of(9, labels), "{labels}");
        }
    }
}
