//! Proves that a server keeps what it acknowledged: writes samples that describe themselves, notes
//! each attempt in a ledger, and reads everything back, later or all the while.
//!
//! Series are written and asked for in *batches*: one request has one sample of each series of a batch, all
//! of one time. Their metrics are as many as is wished, so that a request is for many partitions.
//!
//! # Invariants
//! - The value of a sample follows from its series and time, so a wrong one is known by itself.
//! - A time is in the ledger before it is sent, and its acknowledgement before the next of its batch is
//!   sent. So what is found was sent, and what is missing was acknowledged or not, whoever was killed.
//! - Every acknowledged sample must be found once, nothing that was not sent, and nothing twice. What one
//!   request has for one metric is found as a whole or not at all, once nobody writes it any more. What was seen
//!   stays, unless an attempt at it has failed.

mod asked;
mod judge;
mod ledger;
mod read;
mod watch;
mod write;

pub use read::read;
pub use watch::{WatchPlan, watch};
pub use write::{WritePlan, write};

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What the names of metrics begin with.
const METRIC: &str = "cumae_verify";

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message names its fields")]
pub enum Error {
    /// A file cannot be written or read.
    #[error("{path}: {source}")]
    Ledger { path: PathBuf, source: io::Error },
    /// A line of the ledger makes no sense.
    #[error("{path}:{line}: not a line of a ledger of ours")]
    BadLine { path: PathBuf, line: usize },
    /// The server does not answer.
    #[error("{target}: {source}")]
    Io { target: SocketAddr, source: io::Error },
    /// The server answers no.
    #[error("{target} answers {status}: {text}")]
    Refused { target: SocketAddr, status: u16, text: String },
    /// There is nobody to write to, or to ask.
    #[error("no target is given")]
    NoTarget,
}

/// A stale marker: no value, but the end of a series until its next sample.
const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// The value of a series of a run at a time. Of eight samples seven have 49 bits that no other has but by
/// chance; the others have a value of the odd kinds.
fn value_of(run: u64, series: u32, timestamp_ms: i64) -> f64 {
    let mut mixed = run ^ (u64::from(series) << 44) ^ timestamp_ms.cast_unsigned();
    for factor in [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb] {
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(factor);
    }
    mixed ^= mixed >> 31;
    match (mixed & 7, (mixed >> 3) & 7) {
        (0, 0) => f64::from_bits(STALE_NAN_BITS),
        (0, 1) => f64::INFINITY,
        (0, 2) => f64::NEG_INFINITY,
        (0, 3) => f64::NAN,
        (0, 4) => -0.0,
        // Subnormal, of either sign.
        (0, 5) => f64::from_bits(1 + (mixed >> 15)),
        (0, 6) => -f64::from_bits(1 + (mixed >> 15)),
        (0, _) => f64::MAX,
        _ => {
            #[expect(clippy::cast_precision_loss, reason = "49 bits fit")]
            let value = (mixed >> 15) as f64;
            value
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn values_are_told_apart_and_some_are_odd() {
        let (mut values, mut odd) = (BTreeSet::new(), BTreeSet::new());
        let run = 1_700_000_000_000;
        for (series, at) in (0..100).flat_map(|series| (0..100).map(move |at| (series, at))) {
            let value = value_of(run, series, 1_700_000_000_000 + at);
            if value.is_normal() && value < 1e300 {
                assert!(value.fract() == 0.0 && value < 562_949_953_421_312.0);
                assert!(values.insert(value.to_bits()));
            } else {
                odd.insert((
                    format!("{:?}", value.classify()),
                    value.is_sign_negative(),
                    is_stale(value),
                ));
            }
        }
        assert!((8_600..8_900).contains(&values.len()), "{}", values.len());
        assert_eq!(odd.len(), 8, "{odd:?}");
    }
}
