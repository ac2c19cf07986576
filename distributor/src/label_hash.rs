//! A keyed 128-bit hash of raw labels: what stands for labels that are not looked at again.
//!
//! Up to [`NH_BYTES_MAX`] bytes it is NH (Black et al., "UMAC: Fast and Secure Message
//! Authentication", CRYPTO 1999) on 64-bit words: the sum of products of word pairs, each word
//! added to a word of the key. For any two different inputs of one length, chosen without knowing
//! the key, at most 2⁻⁶⁴ of all keys give them one hash: a bound, not a hope, at a third less than
//! xxh3-128 costs. Inputs of other lengths take xxh3-128 under a secret.
//!
//! Labels that were sent as references to symbols are hashed symbol by symbol: each symbol once a
//! request, by xxh3-128 under the secret; a series by NH over those hashes, in their order. So it
//! does not matter at which places a request has its symbols.
//!
//! # Invariants
//! - Hashes are compared among inputs of one length only: [`LabelHash`] carries it. Those of
//!   references carry their count, with a mark: they are never taken for those of bytes.
//! - The key never leaves this process and is drawn anew at each start.

use xxhash_rust::xxh3::{xxh3_64_with_secret, xxh3_128_with_secret};

/// The bytes of one step: eight words.
const BLOCK: usize = 64;
/// NH reads this many blocks; its key has one more, for the last bytes.
const BLOCKS_MAX: usize = 32;
/// The longest input NH takes.
const NH_BYTES_MAX: usize = BLOCK * BLOCKS_MAX;

type KeyBlock = [u64; 8];

/// The hash of the raw labels of a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LabelHash {
    low: u64,
    high: u64,
    len: u32,
}

impl LabelHash {
    /// How many bytes were hashed.
    #[inline]
    pub(crate) fn len(self) -> u32 {
        self.len
    }

    /// Whether it is of an odd number of references, which are no labels.
    pub(crate) fn is_of_odd_references(self) -> bool {
        self.len & REFERENCES != 0 && self.len % 2 == 1
    }

    /// The two halves of the sum.
    pub(crate) fn parts(self) -> (u64, u64) {
        (self.low, self.high)
    }

    /// A number to probe a table by: sums of products are mixed once more.
    pub(crate) fn probe(self) -> u64 {
        let product = u128::from(self.low ^ self.high.rotate_left(32)) * 0x9e37_79b9_7f4a_7c15_u128;
        halves(product).0 ^ halves(product).1
    }

    /// The hash with these halves, of `len` bytes.
    #[inline]
    pub(crate) fn of_parts(low: u64, high: u64, len: u32) -> Self {
        Self { low, high, len }
    }
}

/// Hashes raw labels under a key that senders do not know.
#[derive(Clone)]
pub(crate) struct LabelHasher {
    key: Box<[KeyBlock; BLOCKS_MAX]>,
    last_key: KeyBlock,
    secret: [u8; 192],
}

impl std::fmt::Debug for LabelHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LabelHasher")
    }
}

impl LabelHasher {
    /// A hasher whose key comes from `random`, which is asked again and again.
    pub(crate) fn new(mut random: impl FnMut() -> u64) -> Self {
        let mut key = Box::new([[0; 8]; BLOCKS_MAX]);
        for word in key.iter_mut().flatten() {
            *word = random();
        }
        let mut secret = [0; 192];
        for chunk in secret.chunks_exact_mut(8) {
            chunk.copy_from_slice(&random().to_le_bytes());
        }
        Self { key, last_key: std::array::from_fn(|_| random()), secret }
    }

    /// The hash of `raw`.
    #[inline]
    pub(crate) fn hash(&self, raw: &[u8]) -> LabelHash {
        let sum = match raw.last_chunk::<BLOCK>() {
            Some(last) if raw.len() <= NH_BYTES_MAX => self.nh(raw, last),
            _ => xxh3_128_with_secret(raw, &self.secret),
        };
        let (low, high) = halves(sum);
        // No body has 2^32 bytes.
        LabelHash { low, high, len: u32::try_from(raw.len()).unwrap_or(u32::MAX) }
    }

    /// The hash of one symbol.
    pub(crate) fn symbol(&self, text: &[u8]) -> SymbolHash {
        let (low, high) = halves(xxh3_128_with_secret(text, &self.secret));
        SymbolHash { low, high }
    }

    /// The hash of a text, to probe a table by.
    pub(crate) fn text(&self, text: &[u8]) -> u64 {
        xxh3_64_with_secret(text, &self.secret)
    }

    /// Hashes a series by the hashes of its symbols.
    #[inline]
    pub(crate) fn series(&self) -> SeriesHasher<'_> {
        SeriesHasher { hasher: self, sum: 0, at: 0, len: 0 }
    }

    /// Whole blocks, then the last 64 bytes under a key of their own: they overlap the block before
    /// unless the length is a multiple, and the same length overlaps the same way.
    #[inline]
    fn nh(&self, raw: &[u8], last: &[u8; BLOCK]) -> u128 {
        // Two sums, so that one need not wait for the other.
        let (mut even, mut odd) = (0_u128, 0_u128);
        for (block, key) in raw.as_chunks::<BLOCK>().0.iter().zip(&*self.key) {
            add_block(block, key, &mut even, &mut odd);
        }
        add_block(last, &self.last_key, &mut even, &mut odd);
        even.wrapping_add(odd)
    }
}

/// The hash of a symbol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SymbolHash {
    low: u64,
    high: u64,
}

/// The hash of a series whose symbols come one by one.
#[derive(Debug)]
pub(crate) struct SeriesHasher<'h> {
    hasher: &'h LabelHasher,
    sum: u128,
    /// How many symbols are in the sum.
    at: usize,
    len: u32,
}

/// The key has a pair of words for so many symbols.
const SYMBOLS_MAX: usize = 4 * BLOCKS_MAX;
/// Marks the length of a hash of references. No body has as many bytes.
const REFERENCES: u32 = 1 << 31;

impl SeriesHasher<'_> {
    /// The next symbol.
    #[inline]
    pub(crate) fn push(&mut self, symbol: SymbolHash) {
        if self.at == SYMBOLS_MAX {
            // What came so far stands for itself as the first symbol of the rest.
            let so_far = self.hasher.symbol(&self.sum.to_le_bytes());
            (self.sum, self.at) = (0, 0);
            self.add(so_far);
        }
        self.add(symbol);
        self.len = self.len.saturating_add(1);
    }

    #[inline]
    fn add(&mut self, symbol: SymbolHash) {
        let key = &self.hasher.key[self.at / 4];
        let place = self.at % 4 * 2;
        let low = u128::from(symbol.low.wrapping_add(key[place]));
        self.sum =
            self.sum.wrapping_add(low * u128::from(symbol.high.wrapping_add(key[place + 1])));
        self.at += 1;
    }

    /// The hash of all that came.
    #[inline]
    pub(crate) fn finish(self) -> LabelHash {
        let (low, high) = halves(self.sum);
        LabelHash { low, high, len: self.len | REFERENCES }
    }
}

#[inline]
fn add_block(block: &[u8; BLOCK], key: &KeyBlock, even: &mut u128, odd: &mut u128) {
    let words = block.as_chunks::<8>().0;
    let word = |at: usize| u64::from_le_bytes(words[at]).wrapping_add(key[at]);
    let product = |at: usize| u128::from(word(at)) * u128::from(word(at + 1));
    *even = even.wrapping_add(product(0)).wrapping_add(product(4));
    *odd = odd.wrapping_add(product(2)).wrapping_add(product(6));
}

/// The low and the high half.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
fn halves(number: u128) -> (u64, u64) {
    (number as u64, (number >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn hasher(seed: u64) -> LabelHasher {
        let mut state = seed;
        LabelHasher::new(|| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            (state ^ (state >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
        })
    }

    #[test]
    fn every_byte_of_every_length_counts() {
        let hasher = hasher(1);
        let bytes: Vec<u8> = (0..3000_u32).map(|at| (at * 31 % 251).to_le_bytes()[0]).collect();
        for len in (0..140).chain([539, 640, 2047, 2048, 2049, 3000]) {
            let mut bytes = bytes[..len].to_vec();
            let mut seen = HashSet::new();
            let whole = hasher.hash(&bytes);
            seen.insert((whole.low, whole.high));
            for at in 0..len {
                bytes[at] ^= 0x10;
                let hash = hasher.hash(&bytes);
                assert!(seen.insert((hash.low, hash.high)), "byte {at} of {len}");
                bytes[at] ^= 0x10;
            }
            assert_eq!(hasher.hash(&bytes), whole);
            assert_eq!(whole.len() as usize, len);
        }
    }

    fn of_texts(hasher: &LabelHasher, texts: &[&str]) -> LabelHash {
        let mut series = hasher.series();
        texts.iter().for_each(|text| series.push(hasher.symbol(text.as_bytes())));
        series.finish()
    }

    #[test]
    fn every_symbol_and_its_place_counts_however_many_there_are() {
        let hasher = hasher(1);
        let names: Vec<String> = (0..600).map(|number| format!("name_{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut seen = HashSet::new();
        for len in [0, 1, 2, 40, 127, 128, 129, 256, 400] {
            let mut texts = names[..len].to_vec();
            assert!(seen.insert(of_texts(&hasher, &texts).parts()), "{len}");
            for at in 0..len {
                texts[at] = names[len];
                assert!(seen.insert(of_texts(&hasher, &texts).parts()), "{at} of {len}");
                texts[at] = names[at];
            }
            for at in 1..len {
                texts.swap(0, at);
                assert!(seen.insert(of_texts(&hasher, &texts).parts()), "0 and {at} of {len}");
                texts.swap(0, at);
            }
        }
        assert_ne!(of_texts(&hasher, &["ab"]), hasher.hash(b"ab"));
    }

    #[test]
    fn words_that_change_places_change_the_hash() {
        let hasher = hasher(1);
        let mut bytes = [7_u8; 128];
        bytes[..8].fill(1);
        let before = hasher.hash(&bytes);
        for at in (8..128).step_by(8) {
            let mut moved = bytes;
            moved[..8].fill(7);
            moved[at..at + 8].fill(1);
            assert_ne!(hasher.hash(&moved), before, "{at}");
        }
    }

    #[test]
    fn another_key_gives_another_hash() {
        for len in [10, 500, 3000] {
            let bytes = vec![3; len];
            assert_ne!(hasher(1).hash(&bytes), hasher(2).hash(&bytes), "{len}");
        }
    }

    #[test]
    fn series_that_differ_in_one_digit_spread_over_the_table() {
        let hasher = hasher(1);
        let mut low_bits = HashSet::new();
        let mut high_bits = HashSet::new();
        for number in 0..1024 {
            let raw = format!("{:064}{number:08}", 0);
            let probe = hasher.hash(raw.as_bytes()).probe();
            low_bits.insert(probe & 1023);
            high_bits.insert(probe >> 57);
        }
        // 1,024 balls in 1,024 boxes leave 632 of them in use on average.
        assert!(low_bits.len() > 560, "{}", low_bits.len());
        assert_eq!(high_bits.len(), 128);
    }
}
