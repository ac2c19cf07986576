//! Selecting: what a reader asks, and what several sources found for it, put together.
//!
//! Each source (the head, an sstable) adds the series that match, named by texts, with the samples
//! it holds. A series that several sources hold is one in the end, its samples joined by D4.
//!
//! Not here: how a source finds its series (`head/read.rs`, `sstable/scan.rs`).

mod gather;
mod query;

pub(crate) use gather::Gather;
pub use gather::Together;
pub(crate) use query::Query;

use crate::error::{Error, Result};
use model::matcher::CompiledMatcher;
use model::query_shard::{pairs_hash, text_hash};
use model::{Matcher, QueryShard, Text};

/// What of a series is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Its samples.
    Samples,
    /// Only that there is a sample in the range.
    Presence,
    /// Only that there may be one.
    Possibility,
}

/// Makes matchers ready to be asked.
pub(crate) fn compile<'a>(
    matchers: impl IntoIterator<Item = &'a Matcher>,
) -> Result<Vec<CompiledMatcher>> {
    let bad = |matcher: &Matcher, detail: String| Error::BadMatcher {
        matcher: matcher.to_string(),
        detail,
    };
    matchers.into_iter().map(|m| m.compile().map_err(|error| bad(m, error.to_string()))).collect()
}

/// Tells the series of a query's shard, by symbols of one source.
#[derive(Debug)]
pub(crate) struct ShardFilter {
    shard: QueryShard,
    /// By symbol; 0 is not known yet.
    hashes: Vec<u64>,
}

impl ShardFilter {
    /// The filter for `len` symbols; `None` if every series is in.
    pub(crate) fn new(query: &Query, len: usize) -> Option<Self> {
        let shard = query.shard;
        (!shard.is_all()).then(|| Self { shard, hashes: vec![0; len] })
    }

    /// Whether the series of these name and value symbols is in the shard.
    pub(crate) fn holds(
        &mut self,
        pairs: impl Iterator<Item = (u32, u32)>,
        texts: &[Text],
    ) -> bool {
        let mut hash = |symbol: u32| match self.hashes.get_mut(symbol as usize) {
            Some(0) => {
                let hash = texts.get(symbol as usize).map_or(0, |text| text_hash(text));
                self.hashes[symbol as usize] = hash;
                hash
            }
            Some(hash) => *hash,
            None => 0,
        };
        self.shard.holds_hash(pairs_hash(pairs.map(|(name, value)| (hash(name), hash(value)))))
    }
}
