//! What of a dense chunk says whether its samples are stale markers, without their values.
//!
//! Not here: which of them are wanted (`sstable/chunks.rs`).

use super::{CONSTANT, HAS_ODD, HAS_STARTS, INTEGERS, METHOD, RAW, read_odd};
use crate::bytes::{Damaged, Input};
use model::sample::STALE_NAN_BITS;

/// The places and bits of the values of a chunk of `count` samples that may be stale markers, if all
/// others are none; `None` if only decoding them tells.
pub(crate) fn odd_values(bytes: &[u8], count: usize) -> Result<Option<Vec<(usize, u64)>>, Damaged> {
    let mut input = Input::new(bytes);
    let flags = input.u8()?;
    if flags & HAS_STARTS != 0 {
        let len = input.count(1)?;
        input.take(len)?;
    }
    match flags & METHOD {
        // One value for all, which an exponent says is a decimal.
        CONSTANT if input.u8()? != RAW => Ok(Some(Vec::new())),
        CONSTANT => Ok((input.u64()? != STALE_NAN_BITS).then(Vec::new)),
        INTEGERS => {
            input.u8()?;
            let has_odd = flags & HAS_ODD != 0;
            Ok(Some(if has_odd { read_odd(&mut input, count)? } else { Vec::new() }))
        }
        _ => Ok(None),
    }
}
