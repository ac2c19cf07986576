//! Compaction: sstables of one window become new ones, with each sample once and nothing hidden.
//!
//! `cut.rs` says what is left out, `input.rs` reads what goes in, `merge.rs` joins series and
//! chunks, `worker.rs` carries it out.
//!
//! Deciders touch no file and know no clock: `decision.rs` is what they see and say, `window.rs`
//! decides by the state of each window and asks `ucs.rs` or `twcs.rs`; `scaling.rs` names the
//! strategies, `space.rs` cuts the token space, `overlap.rs` finds what overlaps.
//!
//! Not here: the job's place among others, and the swap in the manifest (`engine/compact.rs`).

pub(crate) mod cut;
pub mod decision;
pub mod expired;
pub(crate) mod input;
pub(crate) mod merge;
pub mod overlap;
pub mod scaling;
pub mod simulate;
pub mod space;
pub mod twcs;
pub mod ucs;
pub mod window;
pub(crate) mod worker;
