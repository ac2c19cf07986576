//! How long requests took.

use serde_json::{Value, json};

/// Latencies of requests, in microseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies(Vec<u32>);

impl Latencies {
    pub(crate) fn push(&mut self, took: std::time::Duration) {
        self.0.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    pub(crate) fn extend(&mut self, others: &Self) {
        self.0.extend_from_slice(&others.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Percentiles in milliseconds: the smallest latency that so many per cent of all are not above.
    pub(crate) fn summary(&self) -> Value {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            sorted.get(rank - 1).map(|micros| f64::from(*micros) / 1_000.0)
        };
        json!({"p50": at(50), "p90": at(90), "p99": at(99), "max": at(100)})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.summary()["max"], Value::Null);
        (1..=10).rev().for_each(|ms| latencies.push(Duration::from_millis(ms)));
        let expected = json!({"p50": 5.0, "p90": 9.0, "p99": 10.0, "max": 10.0});
        assert_eq!(latencies.summary(), expected);
    }
}
