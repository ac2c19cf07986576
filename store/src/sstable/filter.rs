//! Filters: whether a file may hold a metric of a tenant. Binary fuse filters with 8 bits a key:
//! no false no, a false yes in 256.

use crate::bytes::{Damaged, Input};
use model::TenantId;
use xorf::{BinaryFuse8, Filter as _};
use xxhash_rust::xxh3::Xxh3;

/// Whether keys may be in a set.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    /// `None` says yes to everything.
    fuse: Option<BinaryFuse8>,
}

/// The key of a metric: xxh3-64 over the tenant's length in a byte, its name, the metric's name.
pub(crate) fn key(tenant: &TenantId, metric: &str) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&[tenant.as_str().len().to_le_bytes()[0]]);
    hasher.update(tenant.as_str().as_bytes());
    hasher.update(metric.as_bytes());
    hasher.digest()
}

impl Filter {
    /// The filter of some keys.
    pub(crate) fn of(mut keys: Vec<u64>) -> Self {
        keys.sort_unstable();
        keys.dedup();
        // It can fail only by a chance of next to nothing; then the file has no filter.
        Self { fuse: BinaryFuse8::try_from(&keys).ok().filter(|_| !keys.is_empty()) }
    }

    /// The filter of a file without one.
    pub(crate) fn yes() -> Self {
        Self { fuse: None }
    }

    /// Whether the key may be in the set.
    pub(crate) fn may_contain(&self, key: u64) -> bool {
        self.fuse.as_ref().is_none_or(|fuse| fuse.contains(&key))
    }

    /// Seed, length of a segment, length of all segments but the last two; then the fingerprints.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let fuse = self.fuse.as_ref()?;
        let mut out = Vec::with_capacity(16 + fuse.fingerprints.len());
        out.extend_from_slice(&fuse.descriptor.seed.to_le_bytes());
        out.extend_from_slice(&fuse.descriptor.segment_length.to_le_bytes());
        out.extend_from_slice(&fuse.descriptor.segment_count_length.to_le_bytes());
        out.extend_from_slice(&fuse.fingerprints);
        Some(out)
    }

    /// Reads a filter. Its lengths must fit, so that no key leads beyond the fingerprints.
    pub(crate) fn decode(payload: &[u8]) -> Result<Self, Damaged> {
        let mut input = Input::new(payload);
        let (seed, segment_length, segment_count_length) =
            (input.u64()?, input.u32()?, input.u32()?);
        let fingerprints: Box<[u8]> = input.take(input.len())?.into();
        let len = u64::from(segment_count_length) + 2 * u64::from(segment_length);
        let fits = segment_length.is_power_of_two()
            && segment_count_length > 0
            && segment_count_length.is_multiple_of(segment_length)
            && len == fingerprints.len() as u64;
        if !fits {
            return Err(Damaged("a filter's lengths do not fit"));
        }
        // The library has no other way to put a filter together than to change one.
        let one: &[u64] = &[0];
        let mut fuse = BinaryFuse8::try_from(one).map_err(|_| Damaged("no filter can be made"))?;
        fuse.descriptor.seed = seed;
        fuse.descriptor.segment_length = segment_length;
        fuse.descriptor.segment_length_mask = segment_length - 1;
        fuse.descriptor.segment_count_length = segment_count_length;
        fuse.fingerprints = fingerprints;
        Ok(Self { fuse: Some(fuse) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As `FORMAT.md` says it, from the bytes alone.
    fn may_contain(filter: &[u8], key: u64) -> bool {
        let number = |at: usize| u32::from_le_bytes(filter[at..at + 4].try_into().unwrap());
        let seed = u64::from_le_bytes(filter[..8].try_into().unwrap());
        let (segment, all_but_two) = (u64::from(number(8)), u64::from(number(12)));
        let mut h = key.wrapping_add(seed);
        for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
            h = (h ^ h >> 33).wrapping_mul(factor);
        }
        h ^= h >> 33;
        let first = u64::try_from((u128::from(h) * u128::from(all_but_two)) >> 64).unwrap();
        let mask = segment - 1;
        let places =
            [first, (first + segment) ^ (h >> 18 & mask), (first + 2 * segment) ^ (h & mask)];
        let of = places.map(|place| filter[16 + usize::try_from(place).unwrap()]);
        of[0] ^ of[1] ^ of[2] == (h ^ h >> 32).to_le_bytes()[0]
    }

    proptest! {
        #[test]
        fn a_filter_is_read_as_the_format_says(keys in prop::collection::vec(0_u64.., 1..300), others: Vec<u64>) {
            let filter = Filter::of(keys.clone());
            let bytes = filter.encode().unwrap();
            for key in keys.into_iter().chain(others) {
                prop_assert_eq!(may_contain(&bytes, key), filter.may_contain(key));
            }
        }

        #[test]
        fn a_filter_never_denies_what_it_holds(keys: Vec<u64>, others: Vec<u64>) {
            let filter = Filter::of(keys.clone());
            let back = filter.encode().map_or(Filter::yes(), |bytes| Filter::decode(&bytes).unwrap());
            prop_assert!(keys.iter().all(|key| filter.may_contain(*key) && back.may_contain(*key)));
            for key in others {
                prop_assert_eq!(filter.may_contain(key), back.may_contain(key));
            }
        }

        #[test]
        fn any_bytes_are_a_filter_or_refused(mut bytes: Vec<u8>, key: u64) {
            bytes.resize(bytes.len().max(16), 0);
            bytes[8..16].copy_from_slice(&[4, 0, 0, 0, 4, 0, 0, 0]);
            bytes.resize(bytes.len().min(28), 0);
            if let Ok(filter) = Filter::decode(&bytes) {
                filter.may_contain(key);
            }
        }
    }
}
