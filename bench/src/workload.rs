//! What a fleet of node exporters sends, made from numbers alone.
//!
//! A *target* has 1,000 series with 19 to 21 labels (about 480 bytes of label text), and its series
//! come in the same order in each scrape, at one time, as Prometheus sends them. By kind: 50 %
//! constant, 14 % counters of two decimals, 5 % integer counters, 4 % float counters, 3 % gauges of
//! full precision, 7 % random walks, 6 % counters that rarely move, 10 % histogram buckets that rise
//! over `le`.
//!
//! # Invariants
//! - Same series and round, same bytes: all chance comes from the series' number.
//! - Without its name a series is still unlike every other, so that `count_over_time` can count all.
//! - Each sample carries the label `cluster="bench"`, so that a server's answer can be counted.

use crate::remote_write::push_label;

/// Series of one target.
pub const TARGET_SERIES: u32 = 1_000;

/// Milliseconds between two scrapes of a target.
pub const INTERVAL_MS: i64 = 15_000;

/// A workload by its name in docs/BENCHMARKS.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// An hour of 100,000 series: ingest, memory, queries over an hour.
    A,
    /// Five minutes of a million series: what a new series costs.
    B,
    /// A day of 12,000 series, sent late, 20 samples of a series together: density, queries over a day.
    C,
    /// As A, but each target is replaced once: churn.
    E,
}

/// The size of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Series at a time.
    pub series: u32,
    /// Scrapes of each target.
    pub rounds: u32,
    /// Connections.
    pub connections: u32,
    /// Samples of a series that go into one request together: 1 is a scraper that sends at once,
    /// more is one that lags behind or fills in.
    pub samples_per_series: u32,
    /// Whether each target is replaced once, at a time of its own.
    pub is_replaced: bool,
}

impl Workload {
    /// How large it is.
    #[must_use]
    pub fn size(self) -> Size {
        let a = Size {
            series: 100_000,
            rounds: 240,
            connections: 4,
            samples_per_series: 1,
            is_replaced: false,
        };
        match self {
            Self::A => a,
            Self::B => Size { series: 1_000_000, rounds: 20, ..a },
            Self::C => {
                Size { series: 12_000, rounds: 5_760, connections: 1, samples_per_series: 20, ..a }
            }
            Self::E => Size { is_replaced: true, ..a },
        }
    }
}

/// How a series moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Constant,
    DecimalCounter,
    IntegerCounter,
    FloatCounter,
    Gauge,
    Walk,
    SparseCounter,
    Bucket,
}

/// One series: its labels as they are sent, and where it stands.
#[derive(Clone, Debug)]
struct Series {
    labels: Box<[u8]>,
    kind: Kind,
    chance: u64,
    // Hundredths for decimals and walks, counts for integers and buckets.
    whole: u32,
    value: f64,
}

/// One target: its series, and how many rounds it has been scraped.
#[derive(Clone, Debug)]
pub struct Target {
    number: u32,
    series: Vec<Series>,
    offset_ms: i64,
    round: u32,
    /// The round at which others take the place of its series.
    replaced_at: Option<u32>,
}

impl Target {
    /// The target with this number.
    #[must_use]
    pub fn new(number: u32) -> Self {
        let series = series_of(number, 0);
        // Scrapes are spread over the interval.
        let offset_ms = i64::from(number.wrapping_mul(7_919) % 15_000);
        Self { number, series, offset_ms, round: 0, replaced_at: None }
    }

    /// All its series are replaced before this round, as when its pod is started anew.
    #[must_use]
    pub fn replaced_at(self, round: u32) -> Self {
        Self { replaced_at: Some(round), ..self }
    }

    /// Scrapes it: calls `each` with the encoded labels, the time and the value of each series.
    pub fn scrape(&mut self, start_ms: i64, mut each: impl FnMut(&[u8], i64, f64)) {
        if self.replaced_at.is_some_and(|at| at <= self.round) {
            self.replaced_at = None;
            self.series = series_of(self.number, 1);
        }
        let timestamp_ms = start_ms + i64::from(self.round) * INTERVAL_MS + self.offset_ms;
        let mut below = 0;
        for (index, series) in self.series.iter_mut().enumerate() {
            let mut value = series.step();
            if series.kind == Kind::Bucket {
                // Ten buckets make a histogram; each counts those below it too.
                below = if index % 10 == 0 { 0 } else { below } + series.whole;
                value = f64::from(below);
            }
            each(&series.labels, timestamp_ms, value);
        }
        self.round += 1;
    }

    /// Scrapes it `count` times, then calls `each` with the encoded labels and all samples of each
    /// series.
    pub fn scrapes(
        &mut self,
        start_ms: i64,
        count: u32,
        mut each: impl FnMut(&[u8], &[(i64, f64)]),
    ) {
        let mut left = count;
        while left > 0 {
            // What is replaced in between is sent before its successor.
            let until = self.replaced_at.map_or(left, |at| at.saturating_sub(self.round));
            let together = if until == 0 { left } else { until.min(left) };
            let mut columns = vec![Vec::with_capacity(together as usize); self.series.len()];
            for _ in 0..together {
                let mut column = columns.iter_mut();
                self.scrape(start_ms, |_, time, value| {
                    if let Some(column) = column.next() {
                        column.push((time, value));
                    }
                });
            }
            for (series, samples) in self.series.iter().zip(&columns) {
                each(&series.labels, samples);
            }
            left -= together;
        }
    }
}

/// The series of a target, of the first or the second pod.
fn series_of(target: u32, pod: u32) -> Vec<Series> {
    (0..TARGET_SERIES).map(|index| new_series(target, pod, index)).collect()
}

impl Series {
    /// The value of the next round.
    fn step(&mut self) -> f64 {
        let chance = self.draw();
        match self.kind {
            Kind::Constant => return self.value,
            Kind::DecimalCounter => {
                self.whole += 300 + chance % 1_200;
                return f64::from(self.whole) / 100.0;
            }
            Kind::IntegerCounter => self.whole += chance % 500,
            Kind::FloatCounter => self.value += f64::from(chance) / 4_294_967_296.0 * 15.0,
            Kind::Gauge => self.value = f64::from(chance) / 4_294_967_296.0 * 100.0,
            Kind::Walk => {
                self.whole = (self.whole + chance % 21).saturating_sub(10);
                return f64::from(self.whole) / 100.0;
            }
            Kind::SparseCounter => self.whole += u32::from(chance.is_multiple_of(40)),
            Kind::Bucket => self.whole += if chance.is_multiple_of(4) { chance % 7 } else { 0 },
        }
        if matches!(self.kind, Kind::FloatCounter | Kind::Gauge) {
            self.value
        } else {
            f64::from(self.whole)
        }
    }

    /// Splitmix: 32 good bits, one word of state.
    fn draw(&mut self) -> u32 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.chance;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bytes = (mixed ^ (mixed >> 31)).to_le_bytes();
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
}

/// What the series at this place of a target is: metric, its own labels, kind.
fn shape(index: u32) -> (String, Vec<(&'static str, String)>, Kind) {
    let own = |name, value: String| vec![(name, value)];
    match index {
        // Ten histograms of ten buckets come first, so that a target begins with neighbours.
        0..100 => {
            let bounds =
                ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf"];
            let bound = bounds.get((index % 10) as usize).copied().unwrap_or("+Inf");
            let labels =
                vec![("le", bound.to_owned()), ("handler", format!("/api/v1/{}", index / 10))];
            ("http_request_duration_seconds_bucket".into(), labels, Kind::Bucket)
        }
        100..356 => {
            const MODES: [&str; 8] =
                ["idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"];
            let cpu = (index - 100) / 8;
            let mode = MODES.get((index as usize - 100) % 8).copied().unwrap_or("idle");
            // 140 of the 256 move: cores that never see an interrupt count none.
            let kind = if index < 240 { Kind::DecimalCounter } else { Kind::Constant };
            let labels = vec![("cpu", cpu.to_string()), ("mode", mode.to_owned())];
            ("node_cpu_seconds_total".into(), labels, kind)
        }
        356..406 => (
            "http_requests_total".into(),
            own("code", (200 + index).to_string()),
            Kind::IntegerCounter,
        ),
        406..446 => {
            let labels = own("device", format!("nvme{}n1", index - 406));
            ("node_disk_io_time_seconds_total".into(), labels, Kind::FloatCounter)
        }
        446..476 => {
            ("node_hwmon_temp_celsius".into(), own("sensor", format!("temp{index}")), Kind::Gauge)
        }
        476..546 => {
            let name = format!("node_memory_part_{}_bytes", index % 10);
            (name, own("part", index.to_string()), Kind::Walk)
        }
        546..606 => {
            let labels = own("device", format!("eth{}", index - 546));
            ("node_network_receive_errs_total".into(), labels, Kind::SparseCounter)
        }
        _ => {
            (format!("node_setting_{}", index % 40), own("key", index.to_string()), Kind::Constant)
        }
    }
}

fn new_series(target: u32, pod: u32, index: u32) -> Series {
    let (metric, own, kind) = shape(index);
    let rack = target / 40;
    let mut labels: Vec<(&str, String)> = vec![
        ("__name__", metric),
        ("job", format!("node-exporter-{}", target % 10)),
        ("instance", format!("ip-10-{}-{}-17.internal:9100", target / 250, target % 250)),
        ("cluster", "bench".to_owned()),
        ("namespace", "monitoring-system".to_owned()),
        ("pod", format!("node-exporter-{target:05}-x7k{}p", pod + 2)),
        ("container", "node-exporter".to_owned()),
        ("node", format!("ip-10-{}-{}-17.eu-central-1", target / 250, target % 250)),
        ("region", "eu-central-1".to_owned()),
        (
            "zone",
            format!("eu-central-1{}", ["a", "b", "c"].get(target as usize % 3).unwrap_or(&"a")),
        ),
        ("environment", "production".to_owned()),
        ("team", format!("platform-{}", target % 7)),
        ("service", "node-exporter".to_owned()),
        ("endpoint", "metrics".to_owned()),
        ("instance_type", "m7i.8xlarge".to_owned()),
        ("os", "linux".to_owned()),
        ("arch", "amd64".to_owned()),
        ("rack", format!("rack-{rack:03}")),
        ("prometheus", "monitoring/kube-prometheus-0".to_owned()),
    ];
    labels.extend(own);
    labels.sort_unstable();
    let mut encoded = Vec::with_capacity(640);
    for (name, value) in &labels {
        push_label(&mut encoded, name, value);
    }
    let number = u64::from(target) * u64::from(TARGET_SERIES) + u64::from(index);
    let number = number + (u64::from(pod) << 32);
    let mut series =
        Series { labels: encoded.into(), kind, chance: number << 20, whole: 0, value: 0.0 };
    series.whole = match kind {
        Kind::Bucket => series.draw() % 1_000,
        _ => 100_000 + series.draw() % 10_000_000,
    };
    series.value = f64::from(series.draw() % 1_000);
    series
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrapes(rounds: u32) -> Vec<Vec<(Vec<u8>, i64, f64)>> {
        let mut target = Target::new(3);
        let scrape = |_| {
            let mut samples = Vec::new();
            target.scrape(0, |labels, time, value| samples.push((labels.to_vec(), time, value)));
            samples
        };
        (0..rounds).map(scrape).collect()
    }

    #[test]
    fn a_target_sends_the_same_series_in_the_same_order_every_time() {
        let rounds = scrapes(3);
        for (before, after) in rounds.iter().zip(rounds.iter().skip(1)) {
            assert_eq!(before.len(), 1_000);
            assert!(before.iter().zip(after).all(|(a, b)| a.0 == b.0 && a.1 + INTERVAL_MS == b.1));
        }
        let mut labels: Vec<_> = rounds[0].iter().map(|sample| &sample.0).collect();
        labels.sort();
        labels.dedup();
        assert_eq!(labels.len(), 1_000, "no series twice");
    }

    #[test]
    fn scrapes_sent_together_are_the_scrapes_sent_one_by_one() {
        let single = scrapes(5);
        let mut together = Vec::new();
        Target::new(3).scrapes(0, 5, |labels, samples| {
            together.push((labels.to_vec(), samples.to_vec()));
        });
        assert_eq!(together.len(), 1_000);
        for (index, (labels, samples)) in together.iter().enumerate() {
            assert!(single.iter().all(|round| round[index].0 == *labels));
            let column: Vec<_> =
                single.iter().map(|round| (round[index].1, round[index].2)).collect();
            assert_eq!(samples, &column);
        }
    }

    #[test]
    fn a_replaced_target_has_other_series_from_its_round_on_and_no_gap() {
        let mut target = Target::new(3).replaced_at(2);
        let mut sent = std::collections::BTreeMap::<Vec<u8>, Vec<i64>>::new();
        target.scrapes(0, 5, |labels, samples| {
            let times = samples.iter().map(|(time, _)| *time);
            sent.entry(labels.to_vec()).or_default().extend(times);
        });
        assert_eq!(sent.len(), 2_000);
        let rounds: Vec<i64> =
            (0..5).map(|round| round * INTERVAL_MS + 3 * 7_919 % 15_000).collect();
        assert_eq!(sent.values().filter(|times| **times == rounds[..2]).count(), 1_000);
        assert_eq!(sent.values().filter(|times| **times == rounds[2..]).count(), 1_000);
    }

    #[test]
    fn about_two_fifths_of_the_samples_differ_from_the_one_before() {
        let rounds = scrapes(11);
        let pairs = rounds.iter().zip(rounds.iter().skip(1));
        let changed: usize = pairs
            .map(|(a, b)| a.iter().zip(b).filter(|(a, b)| a.2.to_bits() != b.2.to_bits()).count())
            .sum();
        assert!((3_800..4_600).contains(&changed), "{changed} of 10,000");
    }

    #[test]
    fn a_sample_has_the_weight_of_the_published_workload() {
        let rounds = scrapes(1);
        let bytes: usize = rounds[0].iter().map(|sample| sample.0.len()).sum();
        assert!((500_000..620_000).contains(&bytes), "{bytes} bytes of labels in 1,000 series");
    }

    #[test]
    fn buckets_rise_over_le_and_counters_over_time() {
        let rounds = scrapes(5);
        for round in &rounds {
            for histogram in round[..100].chunks(10) {
                assert!(histogram.is_sorted_by(|a, b| a.2 <= b.2));
            }
        }
        for index in (0..240).chain(356..446) {
            assert!(rounds.is_sorted_by(|a, b| a[index].2 <= b[index].2), "{index}");
        }
    }
}
