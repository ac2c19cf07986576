//! What a member tells on `/metrics`, beside what its stores tell.

use prometheus::{IntCounter, IntGauge, Registry};

/// The counters and gauges.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) opening_failures: IntCounter,
    pub(super) places_shut: IntGauge,
    pub(super) period_failures: IntCounter,
    clock_away_hours: IntGauge,
    pub(super) settings_differ: IntGauge,
    pub(super) fetched_bytes: IntCounter,
    pub(super) clock_ahead_seconds: IntGauge,
}

impl Told {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
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
        Ok(Self {
            opening_failures: counter(
                "cumae_cassandra_place_opening_failures_total",
                "Places that could not be opened; they are tried again, ever more seldom.",
            )?,
            places_shut: gauge(
                "cumae_cassandra_places_shut",
                "Places of this process that are not open: they are answered with 503.",
            )?,
            period_failures: counter(
                "cumae_cassandra_journal_table_failures_total",
                "Times the table of the journals' next period could not be made.",
            )?,
            clock_away_hours: gauge(
                "cumae_cassandra_journal_clock_hours",
                "By how many hours the clock is ahead of the newest period of the journals.",
            )?,
            settings_differ: gauge(
                "cumae_cassandra_settings_differ",
                "1 while this configuration's retention is not the one that holds.",
            )?,
            clock_ahead_seconds: gauge(
                "cumae_cassandra_clock_ahead_seconds",
                "By how much this machine's clock is ahead of those of Cassandra's nodes; nothing expires by it.",
            )?,
            fetched_bytes: counter(
                "cumae_cassandra_fetched_bytes_total",
                "Bytes of segments that were fetched from the database.",
            )?,
        })
    }

    pub(super) fn clock_away(&self, newest: u64, hour: u64) {
        if newest > 0 {
            let ahead = i64::try_from(hour).unwrap_or(i64::MAX);
            self.clock_away_hours.set(ahead.saturating_sub_unsigned(newest));
        }
    }
}
