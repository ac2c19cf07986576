//! Values as integers of one exponent, and the few among them that are none.

use super::LEVEL;
use crate::bytes::put_uvarint;
use crate::chunk::{decimal, ints};

/// Values as integers of one exponent; odd ones, which are none, repeat the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decimals {
    pub(crate) exponent: u8,
    pub(crate) mantissas: Vec<i64>,
    pub(super) odd: Vec<(usize, u64)>,
}

impl Decimals {
    /// The values as integers, if nearly all of them are decimals of one exponent.
    pub(super) fn of(values: &[f64]) -> Option<Self> {
        let odd_max = values.len() / 16 + 2;
        let (mut exponent, mut odd) = (0, 0);
        for value in values {
            if decimal::mantissa(*value, exponent).is_some() {
                continue;
            }
            match decimal::smallest(*value) {
                Some((larger, _)) => exponent = exponent.max(larger),
                None => odd += 1,
            }
            if odd > odd_max {
                return None;
            }
        }
        let mut decimals =
            Self { exponent, mantissas: Vec::with_capacity(values.len()), odd: Vec::new() };
        let mut last = values.iter().find_map(|value| decimal::mantissa(*value, exponent))?;
        for (index, value) in values.iter().enumerate() {
            match decimal::mantissa(*value, exponent) {
                Some(mantissa) => last = mantissa,
                None => decimals.odd.push((index, value.to_bits())),
            }
            decimals.mantissas.push(last);
        }
        (decimals.odd.len() <= odd_max).then_some(decimals)
    }

    /// The differences to others with the same times.
    pub(super) fn minus(&self, before: &Self) -> Option<Vec<i64>> {
        let pairs = self.mantissas.iter().zip(&before.mantissas);
        let differences: Vec<i64> = pairs.map(|(a, b)| a.wrapping_sub(*b)).collect();
        (self.mantissas.len() == before.mantissas.len()).then_some(differences)
    }

    /// Codes numbers in the place of its mantissas; `None` if they cannot be.
    pub(super) fn encode(&self, numbers: &[i64]) -> Option<Vec<u8>> {
        let mut body = vec![self.exponent];
        if !self.odd.is_empty() {
            put_uvarint(&mut body, self.odd.len() as u64);
            let mut next = 0;
            for (index, bits) in &self.odd {
                put_uvarint(&mut body, (index - next) as u64);
                body.extend_from_slice(&bits.to_le_bytes());
                next = index + 1;
            }
        }
        ints::put(numbers, LEVEL, &mut body)?;
        Some(body)
    }
}
