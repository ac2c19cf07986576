//! Bytes that grow: the first few lie where it lies itself, and only more are a piece of memory of
//! their own.
//!
//! Half of a scrape's series are constant. All of their chunk is a few bytes, and one of them is touched
//! with each sample: elsewhere it would be a wait for memory each time.
//!
//! # Invariants
//! - It takes the room of a vector.

use std::sync::Arc;

/// So many bytes fit beside what tells both kinds apart.
const WITHIN_MAX: usize = 15;

#[derive(Clone, Debug)]
pub(super) enum Grown {
    Within { len: u8, bytes: [u8; WITHIN_MAX] },
    Apart(Vec<u8>),
}

impl Default for Grown {
    fn default() -> Self {
        Self::Within { len: 0, bytes: [0; WITHIN_MAX] }
    }
}

impl Grown {
    /// All bytes.
    #[inline]
    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Within { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or(&[]),
            Self::Apart(bytes) => bytes,
        }
    }

    /// The byte that came last.
    #[inline]
    pub(super) fn last_mut(&mut self) -> Option<&mut u8> {
        match self {
            Self::Within { len, bytes } => bytes.get_mut(usize::from(*len).wrapping_sub(1)),
            Self::Apart(bytes) => bytes.last_mut(),
        }
    }

    /// The room that its bytes take, and never less than they are.
    #[inline]
    pub(super) fn capacity(&self) -> usize {
        match self {
            Self::Within { len, .. } => usize::from(*len),
            Self::Apart(bytes) => bytes.capacity(),
        }
    }

    /// Appends a byte.
    #[inline]
    pub(super) fn push(&mut self, byte: u8) {
        self.extend_from_slice(&[byte]);
    }

    /// Appends bytes.
    #[inline]
    pub(super) fn extend_from_slice(&mut self, more: &[u8]) {
        match self {
            Self::Within { len, bytes } => {
                let end = usize::from(*len) + more.len();
                match bytes.get_mut(usize::from(*len)..end) {
                    Some(room) => {
                        room.copy_from_slice(more);
                        *len = end.to_le_bytes()[0];
                    }
                    None => self.move_apart(more),
                }
            }
            Self::Apart(bytes) => append(bytes, more),
        }
    }

    #[cold]
    fn move_apart(&mut self, more: &[u8]) {
        let mut bytes = Vec::new();
        append(&mut bytes, self.as_slice());
        append(&mut bytes, more);
        *self = Self::Apart(bytes);
    }
}

#[inline]
fn append(bytes: &mut Vec<u8>, more: &[u8]) {
    if bytes.capacity() - bytes.len() < more.len() {
        // Allocators keep a word of each 16 bytes' multiple for themselves.
        let wanted = bytes.len() + more.len() + 11 + bytes.len() / 4;
        let capacity = wanted.next_multiple_of(16) + 8;
        bytes.reserve_exact(capacity - bytes.len());
    }
    bytes.extend_from_slice(more);
}

impl Extend<u8> for Grown {
    #[inline]
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        bytes.into_iter().for_each(|byte| self.push(byte));
    }
}

impl From<Grown> for Arc<[u8]> {
    fn from(grown: Grown) -> Self {
        grown.as_slice().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_takes_the_room_of_a_vector() {
        assert_eq!(size_of::<Grown>(), size_of::<Vec<u8>>());
        assert_eq!(size_of::<Option<Grown>>(), size_of::<Vec<u8>>());
    }

    proptest! {
        #[test]
        fn it_holds_what_was_appended(pieces in prop::collection::vec(any::<Vec<u8>>(), 0..12)) {
            let (mut grown, mut expected) = (Grown::default(), Vec::new());
            for piece in pieces {
                match piece.as_slice() {
                    [one] => grown.push(*one),
                    more => grown.extend_from_slice(more),
                }
                expected.extend(piece);
                prop_assert_eq!(grown.as_slice(), &*expected);
                if let Some(last) = grown.last_mut() {
                    *last ^= 1;
                }
                if let Some(last) = expected.last_mut() {
                    *last ^= 1;
                }
                prop_assert_eq!(grown.as_slice(), &*expected);
                let is_within = matches!(grown, Grown::Within { .. });
                prop_assert_eq!(is_within, expected.len() <= WITHIN_MAX);
                prop_assert!(grown.capacity() >= expected.len());
            }
        }
    }
}
