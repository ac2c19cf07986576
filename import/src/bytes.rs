//! Big-endian numbers and varints out of bytes that nobody vouches for.

/// Why bytes make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bad(pub(crate) &'static str);

/// Takes fields from the front of some bytes.
#[derive(Clone, Debug)]
pub(crate) struct Input<'a> {
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many bytes are left.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Bad> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or(Bad("it ends too early"))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Bad> {
        let (array, rest) = self.bytes.split_first_chunk().ok_or(Bad("it ends too early"))?;
        self.bytes = rest;
        Ok(*array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Bad> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Bad> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Bad> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Bad> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Bad> {
        self.array().map(i64::from_be_bytes)
    }

    pub(crate) fn f64(&mut self) -> Result<f64, Bad> {
        self.u64().map(f64::from_bits)
    }

    pub(crate) fn uvarint(&mut self) -> Result<u64, Bad> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Bad("a number is longer than 64 bits"))
    }

    /// A signed number: zigzag.
    pub(crate) fn varint(&mut self) -> Result<i64, Bad> {
        self.uvarint().map(unzigzag)
    }

    /// A length or count of things that take a byte each at least.
    pub(crate) fn count(&mut self) -> Result<usize, Bad> {
        let count = self.uvarint()?;
        let bounded = usize::try_from(count).ok().filter(|count| *count <= self.len());
        bounded.ok_or(Bad("a length is beyond the end"))
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Bad> {
        let len = self.count()?;
        std::str::from_utf8(self.take(len)?).map_err(|_| Bad("a text is not UTF-8"))
    }
}

pub(crate) fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}
