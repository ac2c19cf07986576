//! Decoding the fast encoding into columns: the same samples as [`super::decode`] hands out one by
//! one, without a call for each, runs at once.
//!
//! # Invariants
//! - Times ascend: a chunk whose times do not is refused.

use super::{
    EXPONENT, RUN_MAX, SMALL, START, STEP, XOR, XOR_LAST, read_difference, read_xor, rebased,
};
use crate::bytes::{Damaged, Input};
use crate::chunk::decimal;

/// Where decoded samples go, and which of them.
#[derive(Debug)]
pub(crate) struct Columns<'a> {
    pub(crate) timestamps_ms: &'a mut Vec<i64>,
    pub(crate) values: &'a mut Vec<f64>,
    /// One per value, or none at all as long as no start is known.
    pub(crate) starts: &'a mut Vec<i64>,
    /// The first moment that is wanted, and the one after the last.
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
}

impl Columns<'_> {
    /// Appends a value at so many moments.
    fn repeat(&mut self, moments: Moments, value: f64, start: i64) {
        let Moments { time, step, run } = moments;
        let (first, last) = (time + step, time + step * i64::from(run));
        let before = self.timestamps_ms.len();
        let added = if self.start_ms <= first && last < self.end_ms {
            self.timestamps_ms.extend((1..=i64::from(run)).map(|n| time + n * step));
            run as usize
        } else {
            let all = (1..=i64::from(run)).map(|n| time + n * step);
            let wanted = all.filter(|at| self.start_ms <= *at && *at < self.end_ms);
            self.timestamps_ms.extend(wanted);
            self.timestamps_ms.len() - before
        };
        self.values.extend(std::iter::repeat_n(value, added));
        if start != 0 || !self.starts.is_empty() {
            self.starts.resize(before, 0);
            self.starts.extend(std::iter::repeat_n(start, added));
        }
    }

    #[inline]
    fn push(&mut self, time: i64, value: f64, start: i64) {
        if self.start_ms <= time && time < self.end_ms {
            self.timestamps_ms.push(time);
            self.values.push(value);
            if start != 0 || !self.starts.is_empty() {
                self.starts.resize(self.values.len() - 1, 0);
                self.starts.push(start);
            }
        }
    }
}

/// `time + step`, `time + 2 * step`, up to `time + run * step`: they ascend, and all are numbers.
#[derive(Clone, Copy, Debug)]
struct Moments {
    time: i64,
    step: i64,
    run: u32,
}

impl Moments {
    fn new(time: i64, step: i64, run: u32, is_first: bool) -> Result<Self, Damaged> {
        // The first sample is at the chunk's first time, all later ones behind the one before.
        let ascends = step > 0 || (is_first && step == 0 && run == 1);
        let last = step.checked_mul(i64::from(run)).and_then(|length| time.checked_add(length));
        match last {
            Some(_) if ascends => Ok(Self { time, step, run }),
            _ => Err(Damaged("a chunk's times do not ascend")),
        }
    }
}

/// Appends the wanted ones of `count` samples to columns. Like [`decode`], without a call for
/// each, and times that do not ascend are refused.
pub(crate) fn decode_columns(
    bytes: &[u8],
    first_ms: i64,
    count: u32,
    columns: &mut Columns<'_>,
) -> Result<(), Damaged> {
    let mut input = Input::new(bytes);
    let (mut time, mut step, mut start) = (first_ms, 0_i64, 0_i64);
    let (mut value, mut mantissa, mut exponent) = (0.0_f64, 0_i64, 0_u8);
    let mut left = count;
    while left > 0 && time < columns.end_ms {
        let code = input.u8()?;
        match code {
            ..=RUN_MAX => {
                let run = u32::from(code) + 1;
                let too_long = Damaged("a chunk holds more samples than it says");
                let moments = Moments::new(time, step, run, left == count)?;
                left = left.checked_sub(run).ok_or(too_long)?;
                columns.repeat(moments, value, start);
                time += step * i64::from(run);
                continue;
            }
            SMALL..XOR => {
                mantissa = mantissa.wrapping_add(read_difference(&mut input, code)?);
                value = decimal::float(mantissa, exponent);
            }
            XOR..=XOR_LAST => {
                value = f64::from_bits(value.to_bits() ^ read_xor(&mut input, code)?);
            }
            STEP => {
                step = step.wrapping_add(input.ivarint()?);
                continue;
            }
            START => {
                start = start.wrapping_add(input.ivarint()?);
                continue;
            }
            EXPONENT => {
                exponent = input.u8()?;
                if exponent > decimal::EXPONENT_MAX {
                    return Err(Damaged("a chunk has an exponent out of range"));
                }
                mantissa = rebased(value.to_bits(), exponent);
                continue;
            }
            _ => return Err(Damaged("a chunk has an unknown code")),
        }
        let next = time.checked_add(step);
        let is_later = step > 0 || (left == count && step == 0);
        time = next.filter(|_| is_later).ok_or(Damaged("a chunk's times do not ascend"))?;
        left -= 1;
        columns.push(time, value, start);
    }
    Ok(())
}
