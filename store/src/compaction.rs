//! Compaction: what is left out of reads and of new sstables.

pub(crate) mod cut;
