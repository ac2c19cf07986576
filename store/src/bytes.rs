//! Bytes in and out: little-endian numbers and variable-length integers.
//!
//! *Varint*: 7 bits a byte, the lowest first, the top bit set on all but the last byte; at most
//! ten bytes. *Zigzag*: a signed number as `(n << 1) ^ (n >> 63)`, so that small ones stay short.
//!
//! # Invariants
//! - [`Input`] never reads past its end and never panics; what it refuses is a [`Damaged`].
//!
//! Not here: what the bytes mean.

use crate::error::Error;

/// Bytes that are not what was written, and in what respect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged(pub(crate) &'static str);

impl Damaged {
    /// The error of the block at `offset` of the file at `path`.
    pub(crate) fn at(self, path: &str, offset: u64) -> Error {
        Error::corrupt(path, offset, self.0)
    }
}

/// Appends a varint.
pub(crate) fn put_uvarint(out: &mut impl Extend<u8>, mut value: u64) {
    while value >= 0x80 {
        out.extend([value.to_le_bytes()[0] | 0x80]);
        value >>= 7;
    }
    out.extend([value.to_le_bytes()[0]]);
}

/// Appends a zigzag varint.
pub(crate) fn put_ivarint(out: &mut impl Extend<u8>, value: i64) {
    put_uvarint(out, zigzag(value));
}

/// Appends a length and so many bytes.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_uvarint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Cuts `items` into runs of at most `count_max`, and of at most `bytes_max` by `bytes_of` unless an
/// item has more by itself: then it is alone. Nothing of nothing.
pub(crate) fn runs<T>(
    items: &[T],
    count_max: usize,
    bytes_max: usize,
    bytes_of: impl Fn(&T) -> usize,
) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |item: &&T| {
            bytes += bytes_of(item);
            bytes <= bytes_max
        };
        let len = rest.iter().take(count_max).take_while(fits).count().max(1);
        let (run, behind) = rest.split_at_checked(len)?;
        rest = behind;
        Some(run)
    })
}

/// The unsigned form of a signed number: small stays small.
pub(crate) fn zigzag(value: i64) -> u64 {
    (value << 1).cast_unsigned() ^ (value >> 63).cast_unsigned()
}

/// The signed number of a zigzag form.
pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// Bytes that are read from the front.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// Reads `bytes` from the front.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left.
    pub(crate) fn len(&self) -> usize {
        self.rest.len()
    }

    /// Whether every byte was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Damaged("it ends early"))?;
        self.rest = rest;
        Ok(taken)
    }

    /// Lets `read` take bytes from the front of what is left.
    pub(crate) fn with_rest<T, E>(
        &mut self,
        read: impl FnOnce(&mut &'a [u8]) -> Result<T, E>,
    ) -> Result<T, E> {
        read(&mut self.rest)
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Damaged("it ends early"))?;
        self.rest = rest;
        Ok(*taken)
    }

    /// The next byte.
    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, Damaged> {
        let (first, rest) = self.rest.split_first().ok_or(Damaged("it ends early"))?;
        self.rest = rest;
        Ok(*first)
    }

    /// Four bytes as a number.
    pub(crate) fn u32(&mut self) -> Result<u32, Damaged> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes as a number.
    pub(crate) fn u64(&mut self) -> Result<u64, Damaged> {
        self.array().map(u64::from_le_bytes)
    }

    /// A varint.
    #[inline]
    pub(crate) fn uvarint(&mut self) -> Result<u64, Damaged> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Damaged("a number is too long"))
    }

    /// A zigzag varint.
    #[inline]
    pub(crate) fn ivarint(&mut self) -> Result<i64, Damaged> {
        self.uvarint().map(unzigzag)
    }

    /// A varint that fits 32 bits.
    pub(crate) fn uvarint32(&mut self) -> Result<u32, Damaged> {
        u32::try_from(self.uvarint()?).map_err(|_| Damaged("a number is too large"))
    }

    /// A varint that counts things of which each takes at least `each_min` bytes of what is left.
    pub(crate) fn count(&mut self, each_min: usize) -> Result<usize, Damaged> {
        let count =
            usize::try_from(self.uvarint()?).map_err(|_| Damaged("a count is too large"))?;
        if count.checked_mul(each_min).is_none_or(|bytes| bytes > self.len()) {
            return Err(Damaged("a count is larger than what follows"));
        }
        Ok(count)
    }

    /// A length and so many bytes of UTF-8.
    pub(crate) fn text(&mut self) -> Result<&'a str, Damaged> {
        let len = self.count(1)?;
        std::str::from_utf8(self.take(len)?).map_err(|_| Damaged("a text is not UTF-8"))
    }
}

/// Bytes as `FORMAT.md` shows them: sixteen to a line, in hexadecimal.
#[cfg(test)]
pub(crate) fn dump(bytes: &[u8]) -> String {
    let line = |line: &[u8]| line.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
    bytes.chunks(16).map(line).collect::<Vec<_>>().join("\n")
}

/// The bytes of the worked example in `FORMAT.md` whose first line goes on with `what`.
#[cfg(test)]
pub(crate) fn documented(what: &str) -> String {
    let text = include_str!("../FORMAT.md");
    let example = text.split("Worked example: ").find(|part| part.starts_with(what)).unwrap();
    example.split("```").nth(1).unwrap().trim_start_matches("text").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_number_comes_back(unsigned: u64, signed: i64) {
            let mut bytes = Vec::new();
            put_uvarint(&mut bytes, unsigned);
            put_ivarint(&mut bytes, signed);
            let mut input = Input::new(&bytes);
            prop_assert_eq!(input.uvarint(), Ok(unsigned));
            prop_assert_eq!(input.ivarint(), Ok(signed));
            prop_assert!(input.is_empty());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let mut input = Input::new(&bytes);
            while !input.is_empty() {
                let _ = input.text();
                let _ = input.uvarint();
                if input.u8().is_err() {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_refused() {
        assert!(Input::new(&[0xff; 10]).uvarint().is_err());
        assert!(
            Input::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2])
                .uvarint()
                .is_err()
        );
    }

    #[test]
    fn a_run_ends_at_its_count_or_its_bytes_and_a_large_item_is_alone() {
        let cut = |items: &[usize]| -> Vec<Vec<usize>> {
            runs(items, 3, 10, |bytes| *bytes).map(<[usize]>::to_vec).collect()
        };
        assert_eq!(cut(&[]), Vec::<Vec<usize>>::new());
        assert_eq!(cut(&[1, 1, 1, 1, 9, 1, 2]), [vec![1, 1, 1], vec![1, 9], vec![1, 2]]);
        assert_eq!(cut(&[99, 99, 1, 99]), [vec![99], vec![99], vec![1], vec![99]]);
    }
}
