//! How deep a metric's day is split: into 2^depth partitions, so that none gets too large.
//!
//! Not here: who publishes a depth and when it holds. Nothing does yet: partitions are of depth 0.

/// The rate that a partition is meant for, in samples a second: some 2,000 series at 15 s, 83 MB a day
/// at 7 bytes a sample.
pub const PARTITION_RATE: f64 = 137.0;
/// The deepest split.
pub const DEPTH_MAX: u8 = 12;

/// The depth of a metric that gets so many samples a second.
#[must_use]
pub fn depth_of(samples_per_second: f64) -> u8 {
    let mut rate = PARTITION_RATE;
    let deeper = |_: &u8| {
        let is_too_much = samples_per_second > rate;
        rate *= 2.0;
        is_too_much
    };
    u8::try_from((0..DEPTH_MAX).take_while(deeper).count()).unwrap_or(DEPTH_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_depths_of_rates() {
        let rates = [6.7, 137.0, 274.0, 66_667.0];
        assert_eq!(rates.map(depth_of), [0, 0, 1, 9]);
    }

    #[test]
    fn a_depth_is_bounded_whatever_the_rate() {
        assert_eq!([0.0, -1.0, f64::NAN].map(depth_of), [0; 3]);
        assert_eq!([1e9, f64::INFINITY].map(depth_of), [DEPTH_MAX; 2]);
        assert_eq!(depth_of(PARTITION_RATE.next_up()), 1);
    }
}
