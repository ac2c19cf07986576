//! Bits, the highest of each byte first: what Prometheus' chunks are made of.

use crate::bytes::{Bad, unzigzag};

/// Takes bits from the front of some bytes.
#[derive(Clone, Debug)]
pub(crate) struct Bits<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl<'a> Bits<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bits are left.
    pub(crate) fn left(&self) -> usize {
        (self.bytes.len() * 8).saturating_sub(self.at)
    }

    pub(crate) fn bit(&mut self) -> Result<bool, Bad> {
        let byte = self.bytes.get(self.at / 8).ok_or(Bad("a chunk ends too early"))?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Ok(bit == 1)
    }

    /// Up to 64 bits as a number.
    #[expect(clippy::cast_possible_truncation, reason = "of the place only the lowest bits count")]
    pub(crate) fn bits(&mut self, mut count: u32) -> Result<u64, Bad> {
        let mut number = 0_u64;
        while count > 0 {
            let byte = *self.bytes.get(self.at / 8).ok_or(Bad("a chunk ends too early"))?;
            let used = self.at as u32 % 8;
            let taken = (8 - used).min(count);
            let part = byte << used >> (8 - taken);
            number = number << taken | u64::from(part);
            self.at += taken as usize;
            count -= taken;
        }
        Ok(number)
    }

    /// A number of `count` bits, of which the values above half are negative.
    pub(crate) fn signed(&mut self, count: u32) -> Result<i64, Bad> {
        let number = self.bits(count)?.cast_signed();
        let half = 1_i64 << (count - 1);
        Ok(if number > half { number - (half << 1) } else { number })
    }

    pub(crate) fn f64(&mut self) -> Result<f64, Bad> {
        self.bits(64).map(f64::from_bits)
    }

    pub(crate) fn uvarint(&mut self) -> Result<u64, Bad> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.bits(8)?;
            if shift == 63 && byte & 0x7F > 1 {
                break;
            }
            number |= (byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Bad("a number is longer than 64 bits"))
    }

    pub(crate) fn varint(&mut self) -> Result<i64, Bad> {
        self.uvarint().map(unzigzag)
    }

    /// A number by its width: none, 3, 6, 9, 12, 18, 25, 56 or 64 bits, as the ones before it say.
    pub(crate) fn unsigned_varbit(&mut self) -> Result<u64, Bad> {
        let width = self.width()?;
        self.bits(width)
    }

    /// A signed number by its width, as [`Bits::unsigned_varbit`].
    pub(crate) fn varbit(&mut self) -> Result<i64, Bad> {
        match self.width()? {
            0 => Ok(0),
            64 => self.bits(64).map(u64::cast_signed),
            width => self.signed(width),
        }
    }

    fn width(&mut self) -> Result<u32, Bad> {
        Ok([0, 3, 6, 9, 12, 18, 25, 56, 64][self.ones(8)?.min(8) as usize])
    }

    /// How many ones come before the next zero, `max` at most; that zero is taken.
    pub(crate) fn ones(&mut self, max: u32) -> Result<u32, Bad> {
        let mut ones = 0;
        while ones < max && self.bit()? {
            ones += 1;
        }
        Ok(ones)
    }
}

/// A float that is coded by what changed in its bits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct XorFloat {
    bits: u64,
    trailing: u32,
    size: u32,
}

impl XorFloat {
    pub(crate) fn new(value: f64) -> Self {
        Self { bits: value.to_bits(), trailing: 0, size: 0 }
    }

    pub(crate) fn value(&self) -> f64 {
        f64::from_bits(self.bits)
    }

    /// Reads the next value.
    #[expect(clippy::cast_possible_truncation, reason = "numbers of bits are at most 64")]
    pub(crate) fn read(&mut self, from: &mut Bits<'_>) -> Result<f64, Bad> {
        if from.bit()? {
            if from.bit()? {
                let (leading, size) = (from.bits(5)?, from.bits(6)?);
                let size = if size == 0 { 64 } else { size };
                let trailing = 64_u64.checked_sub(leading + size);
                let trailing = trailing.ok_or(Bad("a value has more than 64 bits"))?;
                (self.trailing, self.size) = (trailing as u32, size as u32);
            }
            let changed = from.bits(self.size)?;
            self.bits ^= if self.size == 0 { 0 } else { changed << self.trailing };
        }
        Ok(self.value())
    }
}
