//! Tenants of which nothing is left in the head are forgotten: memory is for those that write.
//!
//! Series leave when they are idle; a tenant without one, and without metadata, which is kept nowhere
//! else, leaves behind the flush after which its last series left. What it has in sstables stays. When half
//! of the tenants that there may be are held and one more comes, metadata keeps none, and is deleted: senders
//! that live tell it again.
//!
//! # Invariants
//! - A tenant is forgotten while no append is between finding it and the head: nobody puts anything
//!   into what is gone.
//! - Its next life has another generation, so that no number of an earlier one means anything in it.
//! - What was counted of it stays counted, and its versions change.
//!
//! Not here: which series leave (`head/shard.rs`).

use super::{Engine, Stats, stats};
use crate::head::Tenant;
use model::{SplitMix64, TenantId};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What is left of tenants that were forgotten.
#[derive(Debug, Default)]
pub(super) struct Forgotten {
    /// How many there were; a new tenant's generation depends on it.
    tenants: AtomicU64,
    /// What they had counted. Changes with the tenants held; a leaf.
    counted: Mutex<Stats>,
    /// Whether there are so many that metadata alone keeps none.
    is_crowded: AtomicBool,
}

impl Forgotten {
    /// What a tenant's generation is drawn from, beside its name.
    pub(super) fn seed(&self, generation_seed: u64) -> u64 {
        SplitMix64::at(generation_seed, self.tenants.load(Ordering::Acquire))
    }

    /// At the next flush those leave too that have metadata and nothing else.
    pub(super) fn ask_for_room(&self) {
        self.is_crowded.store(true, Ordering::Relaxed);
    }

    /// What they had counted; the caller holds the tenants.
    pub(super) fn counted(&self) -> Stats {
        *self.counted.lock()
    }
}

impl Engine {
    /// Forgets those of some tenants of which nothing is left; the caller holds `flushing`.
    pub(super) fn forget_tenants(&self, tenants: &[Arc<Tenant>]) {
        let is_crowded = self.forgotten.is_crowded.swap(false, Ordering::Relaxed);
        let is_void = |tenant: &Tenant| is_void(tenant, is_crowded);
        let void: Vec<&Arc<Tenant>> = tenants.iter().filter(|tenant| is_void(tenant)).collect();
        if void.is_empty() {
            return;
        }
        let alone = self.gate.write();
        let mut known = self.tenants.write();
        let mut gone: Vec<TenantId> = Vec::new();
        // Somebody may have written before the gate was closed.
        for tenant in void.into_iter().filter(|tenant| is_void(tenant)) {
            if known.remove(&tenant.id).is_some() {
                let mut counted = self.forgotten.counted.lock();
                stats::count(tenant, &mut counted);
                // Metadata is no total.
                counted.metadata = 0;
                drop(counted);
                gone.push(tenant.id.clone());
            }
        }
        self.forgotten.tenants.fetch_add(gone.len() as u64, Ordering::AcqRel);
        known.shrink_to_fit();
        drop((known, alone));
        self.versions.forget(&gone);
    }
}

/// Whether nothing is left of a tenant, or metadata alone where there is no room for that.
fn is_void(tenant: &Tenant, is_crowded: bool) -> bool {
    tenant.series().0 == 0 && (is_crowded || tenant.metadata.lock().iter().len() == 0)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, all, mutation, open, tenant, up, write};
    use super::super::{AppendLimits, Appended, Engine};
    use crate::sim::SimDisk;
    use model::mutation::{MetricMetadata, MetricType, Mutation};
    use model::{Matcher, SeriesRef, TimeRange, TimestampMs};
    use std::thread::{scope, yield_now};

    const HOUR_MS: i64 = 3_600_000;

    fn one(tenant: &str, at: TimestampMs) -> Mutation {
        let mut one = mutation(tenant);
        one.push(SeriesRef::Labels(up("a")), [(at.0, 1.0)]);
        one
    }

    fn samples(engine: &Engine, name: &str, now: TimestampMs) -> usize {
        let selection = all(&[Matcher::equal("__name__", "up")]);
        let series = engine.select(&tenant(name), &selection, now).unwrap();
        series.iter().map(|one| one.floats.len()).sum()
    }

    #[test]
    fn a_tenant_that_is_idle_is_forgotten_and_nothing_that_it_has_is() {
        let disk = SimDisk::new(1);
        let (engine, _) = open(&disk);
        let Appended::Queued { written, .. } =
            engine.append(&one("idle", NOW), AppendLimits::NONE, NOW).unwrap()
        else {
            panic!("it has labels")
        };
        let mut told = one("told", NOW);
        told.metadata.push(MetricMetadata {
            metric: "up".into(),
            metric_type: MetricType::Gauge,
            help: "help".into(),
            unit: "".into(),
        });
        write(&engine, &told);
        engine.flush(NOW).unwrap();
        assert_eq!(engine.stats().tenants, 2, "an hour has not passed");

        let later = NOW.plus_ms(2 * HOUR_MS);
        let before = engine.versions(&tenant("idle"), &[TimeRange::ALL], later);
        engine.append(&one("busy", later), AppendLimits::NONE, later).unwrap();
        engine.flush(later).unwrap();
        let stats = engine.stats();
        assert_eq!((stats.tenants, stats.series, stats.series_created_total), (2, 1, 3));
        assert!(
            !engine.has_room_for(&tenant("idle"), 2) && engine.has_room_for(&tenant("told"), 2)
        );
        assert_ne!(engine.versions(&tenant("idle"), &[TimeRange::ALL], later), before);
        assert_eq!(samples(&engine, "idle", later), 1);
        // That there was no room has been seen: metadata alone keeps nobody any more.
        engine.flush(later).unwrap();
        assert!(engine.has_room_for(&tenant("idle"), 2));
        assert_eq!((engine.stats().tenants, samples(&engine, "told", later)), (1, 1));
        assert_eq!(engine.stats().metadata, 0);

        // A number of its life before is not one of a series that is new.
        engine.append(&one("idle", later), AppendLimits::NONE, later).unwrap();
        let mut by_number = mutation("idle");
        by_number.generation = written.generation;
        by_number.push(SeriesRef::Number(written.numbers[0].1), [(later.0 + 1, 1.0)]);
        let appended = engine.append(&by_number, AppendLimits::NONE, later).unwrap();
        assert_eq!(appended, Appended::NeedLabels);
        engine.sync().unwrap();
        assert_eq!(samples(&engine, "idle", later), 2);
        drop(engine);
        assert_eq!(samples(&open(&disk).0, "idle", later), 2);
    }

    #[test]
    fn what_is_written_while_tenants_are_forgotten_is_there() {
        const WRITES_MIN: i64 = 300;
        const WRITES_MAX: i64 = 100_000;
        let disk = SimDisk::new(2);
        let (engine, _) = open(&disk);
        let written = scope(|threads| {
            let writer = threads.spawn(|| {
                // How the threads take turns is not ours to say.
                let is_enough = |at| at >= WRITES_MIN && engine.stats().series_created_total > 3;
                let mut at = 0;
                while at < WRITES_MAX && !is_enough(at) {
                    write(&engine, &one("t", TimestampMs(at)));
                    at += 1;
                    yield_now();
                }
                usize::try_from(at).unwrap()
            });
            // By this clock everything is idle as soon as it is flushed.
            while !writer.is_finished() {
                engine.flush(NOW.plus_ms(2 * HOUR_MS)).unwrap();
                yield_now();
            }
            writer.join().unwrap()
        });
        engine.flush(NOW.plus_ms(2 * HOUR_MS)).unwrap();
        let stats = engine.stats();
        assert!(stats.tenants == 0 && stats.series_created_total > 3, "{stats:?}");
        assert_eq!(samples(&engine, "t", NOW), written);
        drop(engine);
        assert_eq!(samples(&open(&disk).0, "t", NOW), written);
    }
}
