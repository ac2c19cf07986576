//! What is said about compactions.

use super::seconds;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use store::compaction::decision::Reason;
use store::engine::CompactionReport;

/// What the compaction thread raises.
#[derive(Debug)]
pub(crate) struct Compactions {
    done: IntCounterVec,
    seconds: Histogram,
    read_bytes: IntCounter,
    written_bytes: IntCounter,
    failures: IntCounter,
    last_failed: IntGauge,
    pub(crate) running: IntGauge,
    pub(crate) unsealed: IntGauge,
}

impl Compactions {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let opts = Opts::new("cumae_store_compactions_total", "Compactions done, by why.");
        let done = IntCounterVec::new(opts, &["reason"])?;
        for reason in Reason::ALL {
            done.with_label_values(&[reason.as_str()]).inc_by(0);
        }
        registry.register(Box::new(done.clone()))?;
        let opts = HistogramOpts::new(
            "cumae_store_compaction_duration_seconds",
            "How long one compaction took, the time it waited for its budget included.",
        );
        let buckets = vec![0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1_800.0];
        let seconds = Histogram::with_opts(opts.buckets(buckets))?;
        registry.register(Box::new(seconds.clone()))?;
        Ok(Self {
            done,
            seconds,
            read_bytes: counter(
                "cumae_store_compaction_read_bytes_total",
                "Bytes of sstables read by compactions.",
            )?,
            written_bytes: counter(
                "cumae_store_compaction_written_bytes_total",
                "Bytes of sstables written by compactions; over those flushed, and 1 more, it is \
                 the write amplification.",
            )?,
            failures: counter(
                "cumae_store_compaction_failures_total",
                "Compactions that failed; the files are as before, the log says why.",
            )?,
            last_failed: gauge(
                "cumae_store_compaction_last_failed",
                "1 if the last compaction failed.",
            )?,
            running: gauge("cumae_store_compaction_running", "1 while something is compacted.")?,
            unsealed: gauge(
                "cumae_store_windows_unsealed",
                "Windows that are not in their dense form, open ones included.",
            )?,
        })
    }

    pub(crate) fn done(&self, report: &CompactionReport, ns: u64) {
        self.done.with_label_values(&[report.reason.as_str()]).inc();
        self.seconds.observe(seconds(ns));
        self.read_bytes.inc_by(report.read_bytes);
        self.written_bytes.inc_by(report.written_bytes);
        self.last_failed.set(0);
    }

    pub(crate) fn failed(&self) {
        self.failures.inc();
        self.last_failed.set(1);
    }
}
