//! What series' numbers mean among several processes: each is its owner's, of one of its generations.
//!
//! # Invariants
//! - A generation of all of them stands for one version of the ring row, and for one generation of each owner
//!   that is known: a number is sent to its place's owner with the generation in which that owner gave it,
//!   and the owner refuses it in any other.
//!
//! Not here: who gives numbers (`member/serve.rs`); who is told them (`fleet.rs`).

use cluster::ownership::Incarnation;
use model::TenantId;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use xxhash_rust::xxh3::xxh3_64;

/// Of so many tenants it is kept: then it is learned anew.
const TENANTS_MAX: usize = 1 << 16;

/// The generations of owners.
pub(super) type Generations = BTreeMap<Incarnation, u64>;

/// The generations in which owners gave numbers, by the version of the ring row that was learned by last.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    // A leaf.
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    ring_version: u64,
    by_tenant: HashMap<TenantId, Generations>,
}

impl Numbers {
    /// The generations that one of all of them stands for; `None` if it is not the one of now.
    pub(super) fn of(
        &self,
        tenant: &TenantId,
        ring_version: u64,
        generation: u64,
    ) -> Option<Generations> {
        let held = self.held.lock();
        let known = held.by_tenant.get(tenant).filter(|_| held.ring_version == ring_version)?;
        (together(tenant, ring_version, known) == generation).then(|| known.clone())
    }

    /// Takes in the generations that owners told, and that others refused theirs (`None`); what stands for
    /// all of them from now on.
    pub(super) fn learn(
        &self,
        tenant: &TenantId,
        ring_version: u64,
        told: impl IntoIterator<Item = (Incarnation, Option<u64>)>,
    ) -> u64 {
        let mut held = self.held.lock();
        let is_one_more = !held.by_tenant.contains_key(tenant);
        let is_full = is_one_more && held.by_tenant.len() >= TENANTS_MAX;
        if held.ring_version != ring_version || is_full {
            held.by_tenant.clear();
            held.ring_version = ring_version;
        }
        let known = held.by_tenant.entry(tenant.clone()).or_default();
        for (who, generation) in told {
            match generation {
                Some(generation) => known.insert(who, generation),
                None => known.remove(&who),
            };
        }
        together(tenant, ring_version, known)
    }
}

/// One number for all of it; never 0.
fn together(tenant: &TenantId, ring_version: u64, generations: &Generations) -> u64 {
    let mut bytes = ring_version.to_le_bytes().to_vec();
    for (who, generation) in generations {
        bytes.extend(who.0.to_le_bytes());
        bytes.extend(generation.to_le_bytes());
    }
    bytes.extend(tenant.as_str().as_bytes());
    xxh3_64(&bytes).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known<const N: usize>(generations: [(u128, u64); N]) -> Option<Generations> {
        Some(generations.map(|(who, generation)| (Incarnation(who), generation)).into())
    }

    #[test]
    fn a_generation_stands_for_what_owners_told_until_one_of_them_tells_another() {
        let (numbers, tenant) = (Numbers::default(), TenantId::parse("t").unwrap());
        let learn =
            |version, who, told| numbers.learn(&tenant, version, [(Incarnation(who), told)]);
        let first = learn(1, 1, Some(10));
        assert_eq!(numbers.of(&tenant, 1, first), known([(1, 10)]));
        let both = learn(1, 2, Some(20));
        assert_eq!(numbers.of(&tenant, 1, first), None, "another owner gives numbers, too");
        assert_eq!(numbers.of(&tenant, 1, both), known([(1, 10), (2, 20)]));
        assert_eq!(learn(1, 1, Some(10)), both, "nothing is new");
        let other = TenantId::parse("u").unwrap();
        assert_eq!(numbers.of(&other, 1, both), None, "of another tenant");
        let later = learn(1, 1, Some(11));
        assert_eq!(numbers.of(&tenant, 1, both), None, "one of them has begun another");
        assert_eq!(numbers.of(&tenant, 1, later), known([(1, 11), (2, 20)]));
        assert_eq!(numbers.of(&tenant, 2, later), None, "by another ring");
        learn(1, 1, None);
        assert_eq!(numbers.of(&tenant, 1, later), None, "one of them has refused it");
        let moved = learn(2, 1, Some(11));
        assert_eq!(numbers.of(&tenant, 2, moved), known([(1, 11)]));
        assert_eq!(numbers.of(&tenant, 1, later), None, "the ring before");
    }

    #[test]
    fn tenants_without_end_take_no_memory_without_end() {
        let numbers = Numbers::default();
        let learn = |number: usize| {
            let tenant = TenantId::parse(&format!("t{number}")).unwrap();
            let generation = numbers.learn(&tenant, 1, [(Incarnation(1), Some(10))]);
            assert!(numbers.of(&tenant, 1, generation).is_some());
            numbers.held.lock().by_tenant.len()
        };
        for number in 0..TENANTS_MAX {
            assert_eq!(learn(number), number + 1);
        }
        assert_eq!(learn(0), TENANTS_MAX, "one that is known takes nobody's place");
        assert_eq!(learn(TENANTS_MAX), 1);
    }
}
