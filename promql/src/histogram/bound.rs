//! Where buckets end.
//!
//! Clients tell buckets by the text of their bounds. So the bounds are upstream's to the last bit,
//! where these are the neighbours of the float that lies nearest to the power.

use model::histogram::CUSTOM_BUCKETS;
use std::sync::LazyLock;

/// The finest schema.
const FINEST: i8 = 8;

/// The bounds from 0.5 to below 1 of each schema from 0 on.
static FRACTIONS: LazyLock<Vec<Vec<f64>>> = LazyLock::new(fractions);

/// Two bounds that differ less than this, relatively, are one bound that two programs have rounded
/// differently. The finest buckets are 0.27 % wide.
const SAME: f64 = 2e-15;

/// Every second bound is one of the schema before, and the next lies a root of two above it. The
/// square root is upstream's, which is half a step of a float too small.
fn fractions() -> Vec<Vec<f64>> {
    let mut schemas = vec![vec![0.5]];
    for schema in 1..=FINEST {
        let coarser = schemas.last().map_or(&[][..], Vec::as_slice);
        let root = (-f64::from(schema)).exp2().exp2();
        let root = if schema == 1 { root.next_down() } else { root };
        let finer = coarser.iter().flat_map(|bound| [*bound, *bound * root]).collect();
        schemas.push(finer);
    }
    schemas
}

/// The upper bound of an exponential bucket: 2^(index/2^schema). The last bucket for finite values
/// ends at the greatest of them; what lies above holds the infinities.
pub(super) fn exponential(index: i32, schema: i8) -> f64 {
    let (fraction, exponent) = match usize::try_from(schema) {
        Ok(fine) => {
            let bounds = &FRACTIONS[fine.min(FRACTIONS.len() - 1)];
            // The remainder by a power of two: never below zero.
            let place = usize::try_from(index & ((1 << schema.min(FINEST)) - 1)).unwrap_or(0);
            (bounds[place], i64::from(index >> schema.min(FINEST)) + 1)
        }
        Err(_) => (1.0, i64::from(index) << schema.unsigned_abs().min(31)),
    };
    let is_whole = fraction == 1.0 && exponent == 1024;
    if is_whole || fraction == 0.5 && exponent == 1025 {
        return f64::MAX;
    }
    // In two steps: no power of two below the least normal one would be exact.
    let exponent = i32::try_from(exponent.clamp(-1200, 1200)).unwrap_or(0);
    fraction * 2_f64.powi(exponent / 2) * 2_f64.powi(exponent - exponent / 2)
}

/// The upper bound of a bucket.
pub(super) fn upper(index: i32, schema: i8, custom_values: &[f64]) -> f64 {
    if schema != CUSTOM_BUCKETS {
        return exponential(index, schema);
    }
    match usize::try_from(index) {
        Ok(index) => custom_values.get(index).copied().unwrap_or(f64::INFINITY),
        Err(_) => f64::NEG_INFINITY,
    }
}

/// The bucket of a lower resolution that this one is part of.
pub(super) fn reduced(index: i32, from: i8, to: i8) -> i32 {
    let halvings = i32::from(from).saturating_sub(i32::from(to)).clamp(0, 31);
    (index.saturating_sub(1) >> halvings).saturating_add(1)
}

/// Whether `a` lies above `b`, and not only by rounding.
pub(super) fn is_above(a: f64, b: f64) -> bool {
    a > b && (a - b > SAME * b.abs() || a.is_infinite())
}

/// The bounds that both lists have.
pub(super) fn common(a: &[f64], b: &[f64]) -> Vec<f64> {
    let (mut i, mut j, mut common) = (0, 0, Vec::new());
    while i < a.len() && j < b.len() {
        let (is_first_less, is_second_less) = (a[i] < b[j], b[j] < a[i]);
        if !is_first_less && !is_second_less {
            common.push(a[i]);
        }
        i += usize::from(!is_second_less);
        j += usize::from(!is_first_less);
    }
    common
}

/// Which bucket among `coarse` a bucket among `fine` becomes part of: the first that reaches as far.
pub(super) fn within(index: i32, fine: &[f64], coarse: &[f64]) -> i32 {
    let end = upper(index, CUSTOM_BUCKETS, fine);
    let place = coarse.partition_point(|bound| *bound < end);
    i32::try_from(place).unwrap_or(i32::MAX)
}
