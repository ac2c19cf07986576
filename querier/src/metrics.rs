//! The querier's own metrics.

use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

/// Counts what is asked and answered. Labels are fixed sets: routes and error types.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// Answers, by route and outcome (`success`, or the error type).
    pub(crate) queries: IntCounterVec,
    /// How long answers took until their first byte, by route, in seconds.
    pub(crate) duration: HistogramVec,
    /// Requests being answered.
    pub(crate) in_flight: IntGauge,
    /// Samples that queries have read.
    pub(crate) samples: IntCounter,
    /// Queries that were answered with one that was being answered already.
    pub(crate) joined: IntCounter,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let buckets = vec![0.001, 0.005, 0.025, 0.1, 0.5, 2.0, 10.0, 60.0, 120.0];
        let metrics = Self {
            queries: IntCounterVec::new(
                Opts::new("cumae_querier_requests_total", "Requests answered."),
                &["route", "outcome"],
            )?,
            duration: HistogramVec::new(
                HistogramOpts::new(
                    "cumae_querier_request_duration_seconds",
                    "Time until the first byte of an answer.",
                )
                .buckets(buckets),
                &["route"],
            )?,
            in_flight: IntGauge::new(
                "cumae_querier_requests_in_flight",
                "Requests that are being answered.",
            )?,
            samples: IntCounter::new(
                "cumae_querier_samples_read_total",
                "Samples that queries have read.",
            )?,
            joined: IntCounter::new(
                "cumae_querier_queries_joined_total",
                "Queries answered with one that was being answered already.",
            )?,
        };
        registry.register(Box::new(metrics.queries.clone()))?;
        registry.register(Box::new(metrics.duration.clone()))?;
        registry.register(Box::new(metrics.in_flight.clone()))?;
        registry.register(Box::new(metrics.samples.clone()))?;
        registry.register(Box::new(metrics.joined.clone()))?;
        Ok(metrics)
    }
}
