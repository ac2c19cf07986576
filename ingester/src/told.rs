//! What people are told of a store, in the log: each thing once, or as often as it is so.
//!
//! Not here: when it is looked for (`job_thread.rs`), what is counted (`telemetry.rs`).

use model::TenantId;
use std::collections::BTreeSet;
use store::Engine;
use store::engine::{
    CrowdedWindow, DiskSpace, LargeMetric, LargePartition, PARTITION_BYTES_ALARM,
    READ_SSTABLES_ALARM, WideRead,
};

/// So many large partitions, and so many large metrics, are remembered as told.
const LARGE_TOLD_MAX: usize = 1_000;

/// What was told and is not told again, as long as the process runs.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Tenant, metric, day, and whether it was an alarm.
    large_partitions: BTreeSet<(String, String, i32, bool)>,
    large_metrics: BTreeSet<(TenantId, String)>,
    is_disk_low: bool,
}

impl Told {
    /// Names partitions that have grown large, each once as a warning and once as an alarm.
    pub(crate) fn large_partitions(&mut self, large: Vec<LargePartition>) {
        let told = &mut self.large_partitions;
        for LargePartition { tenant, metric, day, bytes } in large {
            let is_alarm = bytes >= PARTITION_BYTES_ALARM;
            let key = (tenant.as_str().to_owned(), metric.to_string(), day.0, is_alarm);
            if told.len() >= LARGE_TOLD_MAX || !told.insert(key) {
                continue;
            }
            let (tenant, metric, day) = (tenant.as_str(), &*metric, day.0);
            if is_alarm {
                tracing::error!(tenant, metric, day, bytes, "a partition is too large");
            } else {
                tracing::warn!(tenant, metric, day, bytes, "a partition is large");
            }
        }
    }

    /// Names metrics that come near their limit of series, each once.
    pub(crate) fn large_metrics(&mut self, engine: &Engine, series_max: &dyn Fn(&TenantId) -> u64) {
        let told = &mut self.large_metrics;
        let was_told =
            |tenant: &TenantId, metric: &str| told.contains(&(tenant.clone(), metric.to_owned()));
        let large = engine.large_metrics(series_max, was_told);
        for LargeMetric { tenant, metric, series, limit } in large {
            if told.len() >= LARGE_TOLD_MAX || !told.insert((tenant.clone(), metric.to_string())) {
                continue;
            }
            let (tenant, metric) = (tenant.as_str(), &*metric);
            let text =
                "a metric has a fifth of the series that it may have (max_series_per_metric)";
            tracing::warn!(tenant, metric, series, limit, "{text}");
        }
    }

    /// Says when writers are refused or taken again; and once, as long as the process runs, that
    /// less than a quarter is free.
    pub(crate) fn disk(&mut self, space: store::Result<DiskSpace>) {
        if let Ok(DiskSpace { free_bytes, is_low: true, .. }) = space
            && !std::mem::replace(&mut self.is_disk_low, true)
        {
            tracing::warn!(free_bytes, "less than a quarter of the disk is free");
        }
        match space {
            Ok(DiskSpace { free_bytes, reserve_bytes, is_short, has_changed: true, .. }) => {
                if is_short {
                    tracing::error!(
                        free_bytes,
                        reserve_bytes,
                        "the disk is nearly full, writes are refused"
                    );
                } else {
                    tracing::info!(
                        free_bytes,
                        reserve_bytes,
                        "the disk has space again, writes are taken"
                    );
                }
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the disk does not say how much is free"),
        }
    }
}

/// Names the partitions that reads took out of many sstables.
pub(crate) fn wide_reads(wide: Vec<WideRead>) {
    for WideRead { tenant, metric, day, sstables } in wide {
        let (tenant, metric, day) = (tenant.as_str(), &*metric, day.0);
        if sstables >= READ_SSTABLES_ALARM {
            tracing::error!(tenant, metric, day, sstables, "reads need too many sstables");
        } else {
            tracing::warn!(tenant, metric, day, sstables, "reads need many sstables");
        }
    }
}

/// Names what reads asked for that many deletes touch.
pub(crate) fn deleted_reads(engine: &Engine) {
    for read in engine.take_deleted_reads() {
        let (tenant, metric) = (read.tenant.as_str(), read.metric.as_deref().unwrap_or("any"));
        let (first_day, last_day) = (read.first_day.0, read.last_day.0);
        let tombstones = read.tombstones;
        if read.is_refused {
            tracing::error!(
                tenant,
                metric,
                first_day,
                last_day,
                tombstones,
                "too many deletes touch a read, it is refused"
            );
        } else {
            tracing::warn!(
                tenant,
                metric,
                first_day,
                last_day,
                tombstones,
                "many deletes touch a read"
            );
        }
    }
}

/// Names the windows in which too many sstables overlap.
pub(crate) fn crowded_windows(engine: &Engine) {
    for CrowdedWindow { window, overlap, bound } in engine.crowded_windows() {
        tracing::error!(%window, overlap, bound, "too many sstables overlap, compaction is behind");
    }
}

/// Names what was found damaged, each place once.
pub(crate) fn faults(engine: &Engine) {
    for fault in engine.take_faults() {
        tracing::error!(%fault, "damaged: what needs it is refused, the rest is served");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::DayBucket;
    use parking_lot::Mutex;
    use std::sync::Arc;

    /// Keeps what is logged on this thread.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    impl tracing::Subscriber for Lines {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn event(&self, event: &tracing::Event<'_>) {
            let mut line = event.metadata().level().to_string();
            event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
                line.push_str(&format!(" {field}={value:?}"));
            });
            self.0.lock().push(line);
        }
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }

    /// The lines that something logs.
    fn logged(work: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        tracing::subscriber::with_default(lines.clone(), work);
        std::mem::take(&mut *lines.0.lock())
    }

    fn tenant() -> TenantId {
        TenantId::parse("t").unwrap()
    }

    #[test]
    fn a_partition_of_64_mb_is_a_warning_and_one_of_100_mb_an_alarm_and_each_is_told_once() {
        let mut told = Told::default();
        let mut grown = |bytes: u64| {
            let (tenant, metric, day) = (tenant(), "m".into(), DayBucket(7));
            logged(|| told.large_partitions(vec![LargePartition { tenant, metric, day, bytes }]))
        };
        let warned = "WARN message=a partition is large tenant=\"t\" metric=\"m\" day=7 bytes=";
        let alarmed =
            "ERROR message=a partition is too large tenant=\"t\" metric=\"m\" day=7 bytes=";
        assert_eq!(grown(64_000_000), [format!("{warned}64000000")]);
        assert_eq!(grown(99_999_999), [""; 0]);
        assert_eq!(grown(100_000_000), [format!("{alarmed}100000000")]);
        assert_eq!(grown(100_000_001), [""; 0]);
        // One that is an alarm at once is no warning too.
        let mut told = Told::default();
        let (tenant, metric, day) = (tenant(), "n".into(), DayBucket(7));
        let large = LargePartition { tenant, metric, day, bytes: 200_000_000 };
        assert_eq!(logged(|| told.large_partitions(vec![large])).len(), 1);
    }

    #[test]
    fn what_is_told_once_is_remembered_up_to_a_bound() {
        let mut told = Told::default();
        let large = |day: i32| LargePartition {
            tenant: tenant(),
            metric: "m".into(),
            day: DayBucket(day),
            bytes: 64_000_000,
        };
        let lines = logged(|| told.large_partitions((0..2_000).map(large).collect()));
        assert_eq!((lines.len(), told.large_partitions.len()), (LARGE_TOLD_MAX, LARGE_TOLD_MAX));
    }

    #[test]
    fn a_read_of_32_sstables_is_a_warning_and_one_of_64_an_alarm() {
        let read = |sstables: u32| {
            let (tenant, metric, day) = (tenant(), "m".into(), DayBucket(7));
            logged(|| wide_reads(vec![WideRead { tenant, metric, day, sstables }]))
        };
        let of = "tenant=\"t\" metric=\"m\" day=7 sstables";
        for sstables in [32, 63] {
            let line = format!("WARN message=reads need many sstables {of}={sstables}");
            assert_eq!(read(sstables), [line]);
        }
        assert_eq!(read(64), [format!("ERROR message=reads need too many sstables {of}=64")]);
    }

    #[test]
    fn a_disk_of_which_little_is_free_is_told_once_and_one_that_is_full_each_time_it_changes() {
        let mut told = Told::default();
        let mut tell = |is_low, is_short, has_changed| {
            let space =
                DiskSpace { free_bytes: 5, reserve_bytes: 9, is_low, is_short, has_changed };
            logged(|| told.disk(Ok(space)))
        };
        assert_eq!(tell(false, false, false), [""; 0]);
        let low = "WARN message=less than a quarter of the disk is free free_bytes=5";
        assert_eq!(tell(true, false, false), [low]);
        assert_eq!(tell(true, false, false), [""; 0]);
        let full = "ERROR message=the disk is nearly full, writes are refused \
                    free_bytes=5 reserve_bytes=9";
        for _ in 0..2 {
            assert_eq!(tell(true, true, true), [full]);
            assert_eq!(tell(true, true, false), [""; 0]);
            let back = "INFO message=the disk has space again, writes are taken free_bytes=5 \
                        reserve_bytes=9";
            assert_eq!(tell(false, false, true), [back]);
        }
    }
}
