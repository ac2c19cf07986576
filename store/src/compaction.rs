//! Compaction: sstables of one window become new ones, with each sample once and nothing hidden.
//!
//! `cut.rs` says what is left out, `input.rs` reads what goes in, `merge.rs` joins series and
//! chunks, `worker.rs` carries it out.
//!
//! Not here: the job's place among others, and the swap in the manifest (`engine/compact.rs`).

pub(crate) mod cut;
pub(crate) mod input;
pub(crate) mod merge;
pub(crate) mod worker;
