//! Numbers out of a seed: SplitMix64 (Steele et al., "Fast Splittable Pseudorandom Number Generators",
//! OOPSLA 2014). For ids, jitter and simulations; nothing secret comes of it.

/// A sequence of numbers; the same for the same seed.
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

/// How far the state moves with each number.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

impl SplitMix64 {
    /// The sequence that `seed` begins.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The number at `place` of the sequence that `seed` begins, counted from 1.
    #[must_use]
    pub fn at(seed: u64, place: u64) -> u64 {
        mixed(seed.wrapping_add(place.wrapping_mul(STEP)))
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mixed(self.0)
    }
}

fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_numbers_are_those_of_the_reference_and_each_has_its_place() {
        let mut sequence = SplitMix64::new(1_234_567);
        let first = [(); 3].map(|()| sequence.draw());
        assert_eq!(
            first,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
        assert_eq!([1, 2, 3].map(|place| SplitMix64::at(1_234_567, place)), first);
    }
}
