//! Sstables: immutable files, each with the samples of one retention class and window.
//!
//! A file holds, for each tenant, its label strings once (*symbols*) and its *partitions*: for
//! each the postings, which are its series' labels read the other way round, a table of chunks,
//! and the chunks. A *directory* says where they are and a *filter* whether to look. All of it is
//! in blocks with checksums. `FORMAT.md` draws every byte.
//!
//! # Invariants
//! - A chunk lies within one UTC day, a partition within one day, a file within one window.
//! - Within a partition series stand by target, and within a target as the writer got them; they are
//!   known by their place.
//! - A reader trusts no byte: what it cannot check it refuses, and what it allocates is bounded by
//!   the size of the file.
//!
//! Not here: which files are live (`manifest.rs`); which samples go into one (`engine/flush.rs`).

pub(crate) mod ahead;
pub(crate) mod block;
pub(crate) mod chunks;
pub(crate) mod columns;
pub(crate) mod dense;
pub(crate) mod dictionary;
pub(crate) mod directory;
pub(crate) mod filter;
pub(crate) mod partition;
pub(crate) mod reader;
pub(crate) mod scan;
pub(crate) mod tables;
pub(crate) mod times;
pub(crate) mod values;
pub(crate) mod walk;
pub(crate) mod window;
pub(crate) mod writer;

#[cfg(test)]
mod tests;
