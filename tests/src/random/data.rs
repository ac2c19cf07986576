//! Series that are hard on an engine: gaps, stale markers, resets, NaN, infinities, uneven steps,
//! values that overflow a sum.

use crate::random_series::Numbers;
use model::sample::stale_marker;
use model::{Column, LabelSet, SeriesColumns};

/// The last moment with data.
pub const UNTIL_MS: i64 = 3_600_000;

fn labelled(pairs: &[(&str, String)], floats: Column) -> SeriesColumns {
    let mut labels = LabelSet::default();
    pairs.iter().for_each(|(name, value)| labels.set(*name, value.as_str()));
    SeriesColumns { labels, floats, ..SeriesColumns::default() }
}

/// What a metric's values are like.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Gauge,
    Counter,
    /// Values that a sum cannot hold, zeros of both signs, infinities.
    Extreme,
    Constant,
}

/// All series of a seed: gauges `a` and `b`, the counter `c_total`, the extreme `x`, the classic
/// histogram `h_bucket`, the info metrics `target_info` and `build_info`.
#[must_use]
pub fn series(seed: u64) -> Vec<SeriesColumns> {
    let mut numbers = Numbers::new(seed);
    let numbers = &mut numbers;
    let mut all = Vec::new();
    let metrics =
        [("a", Kind::Gauge), ("b", Kind::Gauge), ("c_total", Kind::Counter), ("x", Kind::Extreme)];
    for (metric, kind) in metrics {
        for (job, instance) in (0..3).flat_map(|job| (0..3).map(move |instance| (job, instance))) {
            if numbers.below(6) == 0 {
                continue;
            }
            let mut pairs = vec![
                ("__name__", metric.to_string()),
                ("job", format!("j{job}")),
                ("instance", format!("i{instance}")),
            ];
            if numbers.below(4) == 0 {
                pairs.push(("zone", format!("z{}", numbers.below(12))));
            }
            if matches!(kind, Kind::Counter) && job == 0 {
                pairs.push(("__type__", "counter".into()));
            }
            if matches!(kind, Kind::Gauge) && job == 1 {
                pairs.push(("__unit__", "seconds".into()));
            }
            let kind = if numbers.below(8) == 0 { Kind::Constant } else { kind };
            all.push(labelled(&pairs, floats(numbers, kind)));
        }
    }
    all.extend(classics(numbers));
    all.extend(infos(numbers));
    all.retain(|series| !series.floats.is_empty());
    all
}

/// Times mostly some seconds apart, sometimes with a long gap; some series end early.
fn times(numbers: &mut Numbers) -> Vec<i64> {
    let spacing = i64::from([15_000_u32, 30_000, 60_000][numbers.below(3) as usize]);
    let until = if numbers.below(5) == 0 { UNTIL_MS / 2 } else { UNTIL_MS };
    let mut times = Vec::new();
    let mut time = i64::from(numbers.below(60)) * 1000;
    if numbers.below(5) == 0 {
        time += UNTIL_MS / 3;
    }
    while time <= until {
        times.push(time);
        time += match numbers.below(20) {
            0 => 400_000,
            1 => spacing + i64::from(numbers.below(2_000)) - 1000,
            2 => spacing * 3,
            _ => spacing,
        };
    }
    times
}

fn floats(numbers: &mut Numbers, kind: Kind) -> Column {
    let mut column = Column::default();
    let scale = [1.0, 0.1, 1e9][numbers.below(3) as usize];
    let constant = f64::from(numbers.below(5)) - 2.0;
    let mut value = 0.0;
    for time in times(numbers) {
        value = match kind {
            Kind::Gauge => (f64::from(numbers.below(200)) - 100.0) * scale,
            Kind::Counter if numbers.below(25) == 0 => f64::from(numbers.below(5)),
            Kind::Counter => value + f64::from(numbers.below(50)) * scale,
            Kind::Extreme => extreme(numbers),
            Kind::Constant => constant,
        };
        let sample = match numbers.below(60) {
            0 => stale_marker(),
            1 => f64::NAN,
            2 => f64::INFINITY,
            _ => value,
        };
        column.push(time, sample);
    }
    column
}

fn extreme(numbers: &mut Numbers) -> f64 {
    let few =
        [0.0, -0.0, 1.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e308, -1e308, 5e-324];
    let index = numbers.below(16) as usize;
    few.get(index).copied().unwrap_or_else(|| f64::from(numbers.below(1_000_000)) / 7.0 - 5000.0)
}

/// `h_bucket`: cumulative buckets, some of which decrease, lack an end or have no usable `le`.
fn classics(numbers: &mut Numbers) -> Vec<SeriesColumns> {
    let mut all = Vec::new();
    for job in 0..3 {
        let bounds: &[&str] = match job {
            0 => &["0.1", "0.5", "1", "2.5", "+Inf"],
            1 => &["-1", "0", "1", "1.0", "10", "+Inf"],
            _ => &["1", "2", "oops"],
        };
        let times = times(numbers);
        let mut counts = vec![0.0; bounds.len()];
        let mut columns = vec![Column::default(); bounds.len()];
        for time in times {
            let mut sum = 0.0;
            for (count, column) in counts.iter_mut().zip(&mut columns) {
                *count += f64::from(numbers.below(9));
                sum += *count;
                let lower = if numbers.below(30) == 0 { f64::from(numbers.below(90)) } else { 0.0 };
                column.push(time, sum - lower);
            }
            if numbers.below(30) == 0 {
                counts.fill(0.0);
            }
        }
        for (bound, column) in bounds.iter().zip(columns) {
            let pairs = [
                ("__name__", "h_bucket".to_string()),
                ("job", format!("j{job}")),
                ("le", (*bound).to_string()),
            ];
            all.push(labelled(&pairs, column));
        }
    }
    all
}

fn infos(numbers: &mut Numbers) -> Vec<SeriesColumns> {
    let mut all = Vec::new();
    for (metric, label) in [("target_info", "version"), ("build_info", "revision")] {
        for (job, instance) in (0..2).flat_map(|job| (0..3).map(move |instance| (job, instance))) {
            let mut column = Column::default();
            times(numbers).into_iter().for_each(|time| column.push(time, 1.0));
            let pairs = [
                ("__name__", metric.to_string()),
                ("job", format!("j{job}")),
                ("instance", format!("i{instance}")),
                (label, format!("v{}", numbers.below(3))),
            ];
            all.push(labelled(&pairs, column));
        }
    }
    all
}
