//! Series that are hard on an engine: gaps, stale markers, resets, NaN, uneven steps. The same
//! seed makes the same series.

use model::sample::stale_marker;
use model::{Column, LabelSet, SeriesColumns};

/// A small generator of numbers (xorshift); good enough for test data.
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// Starts from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let high = u32::try_from(self.0 >> 32).unwrap_or(0);
        high % bound.max(1)
    }
}

/// `name{job, instance}` over three jobs and four instances, some of them missing, from 0 to
/// `until_ms`.
#[must_use]
pub fn series(name: &str, seed: u64, until_ms: i64) -> Vec<SeriesColumns> {
    let mut numbers = Numbers::new(seed);
    let mut all = Vec::new();
    for (job, instance) in (0..3).flat_map(|job| (0..4).map(move |instance| (job, instance))) {
        if numbers.below(8) == 0 {
            continue;
        }
        let mut labels = LabelSet::default();
        labels.set("__name__", name);
        labels.set("job", format!("j{job}"));
        labels.set("instance", format!("i{instance}"));
        all.push(SeriesColumns {
            labels,
            floats: samples(&mut numbers, until_ms),
            ..SeriesColumns::default()
        });
    }
    all
}

fn samples(numbers: &mut Numbers, until_ms: i64) -> Column {
    let mut column = Column::default();
    let scale = [1.0, 0.1, 1e9][numbers.below(3) as usize];
    let (mut time, mut value) = (i64::from(numbers.below(20_000)), 0.0);
    while time <= until_ms {
        value += f64::from(numbers.below(50)) * scale;
        let sample = match numbers.below(40) {
            0 => stale_marker(),
            1 => f64::NAN,
            2 => {
                value = 0.0;
                value
            }
            _ => value,
        };
        column.push(time, sample);
        // Mostly every 15 s, sometimes a little off, sometimes a long gap.
        time += match numbers.below(20) {
            0 => 400_000,
            1 => 14_000 + i64::from(numbers.below(2_000)),
            _ => 15_000,
        };
    }
    column
}
