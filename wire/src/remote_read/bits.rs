//! Puts bits behind one another, the highest of each byte first: what Prometheus' chunks are of.

/// Bytes that grow by bits.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// How many bits of the last byte are free.
    free: u32,
}

/// How many bits numbers of each width class take, behind as many ones as stand before it here.
const WIDTHS: [u32; 8] = [0, 3, 6, 9, 12, 18, 25, 56];

impl BitWriter {
    /// Goes on behind whole bytes.
    pub(super) fn after(bytes: Vec<u8>) -> Self {
        Self { bytes, free: 0 }
    }

    /// How many bytes there are, the last one perhaps not full.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes; bits that are not there are zeros.
    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn bit(&mut self, bit: bool) {
        self.bits(u64::from(bit), 1);
    }

    /// The lowest `count` bits of a number, at most 64.
    pub(super) fn bits(&mut self, number: u64, mut count: u32) {
        while count > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let taken = count.min(self.free);
            count -= taken;
            let part = number >> count & ((1 << taken) - 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= part.to_le_bytes()[0] << (self.free - taken);
            }
            self.free -= taken;
        }
    }

    pub(super) fn f64(&mut self, value: f64) {
        self.bits(value.to_bits(), 64);
    }

    /// Seven bits a byte, the lowest first.
    pub(super) fn uvarint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bits(number & 0x7F | 0x80, 8);
            number >>= 7;
        }
        self.bits(number, 8);
    }

    pub(super) fn varint(&mut self, number: i64) {
        self.uvarint(crate::protobuf::write::zigzag(number));
    }

    /// A number behind its width: so many ones and a zero.
    pub(super) fn unsigned_varbit(&mut self, number: u64) {
        self.by_width(number, |width| width < 64 && number >> width == 0);
    }

    /// A signed number behind its width.
    pub(super) fn varbit(&mut self, number: i64) {
        self.by_width(number.cast_unsigned(), |width| match width {
            0 => number == 0,
            _ => fits(number, width),
        });
    }

    fn by_width(&mut self, number: u64, fits: impl Fn(u32) -> bool) {
        for width in WIDTHS {
            if fits(width) {
                self.bit(false);
                self.bits(number, width);
                return;
            }
            self.bit(true);
        }
        self.bits(number, 64);
    }
}

/// Whether a signed number can be told in so many bits, of which it may have one value more above
/// zero than below.
pub(super) fn fits(number: i64, width: u32) -> bool {
    let half = 1_i64 << (width - 1);
    -(half - 1) <= number && number <= half
}

/// A float that is coded by what changed in its bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct XorFloat {
    bits: u64,
    /// The bits in front and behind that are not written; `None` before the first change.
    window: Option<(u32, u32)>,
}

impl XorFloat {
    /// The first value, which is written whole.
    pub(super) fn start(value: f64, out: &mut BitWriter) -> Self {
        out.f64(value);
        Self { bits: value.to_bits(), window: None }
    }

    /// Writes the next value.
    pub(super) fn write(&mut self, value: f64, out: &mut BitWriter) {
        let changed = self.bits ^ value.to_bits();
        self.bits = value.to_bits();
        out.bit(changed != 0);
        if changed == 0 {
            return;
        }
        // There are five bits for it.
        let (leading, trailing) = (changed.leading_zeros().min(31), changed.trailing_zeros());
        if let Some((front, behind)) = self.window
            && leading >= front
            && trailing >= behind
        {
            out.bit(false);
            out.bits(changed >> behind, 64 - front - behind);
            return;
        }
        self.window = Some((leading, trailing));
        let size = 64 - leading - trailing;
        out.bit(true);
        out.bits(leading.into(), 5);
        // There are six bits for it: 64 is written as 0.
        out.bits(size.into(), 6);
        out.bits(changed >> trailing, size);
    }
}

/// An integer that is coded by how its change changed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changing {
    value: i64,
    change: i64,
}

impl Changing {
    pub(super) fn starting(value: i64) -> Self {
        Self { value, change: 0 }
    }

    /// Goes on to the next value, and returns by how much more it changed than the last time.
    pub(super) fn advance(&mut self, value: i64) -> i64 {
        let change = value.wrapping_sub(self.value);
        let more = change.wrapping_sub(self.change);
        *self = Self { value, change };
        more
    }
}
