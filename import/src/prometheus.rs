//! A Prometheus TSDB data directory: its blocks, its log, the chunks of its head.
//!
//! Read after the descriptions of the formats in `prometheus/prometheus`, `tsdb/docs/format`. What
//! Prometheus itself would answer from the directory is what is handed over: deleted samples are
//! not, and the log only counts for the time behind the blocks.
//!
//! Not here: the bytes of each kind of file (the modules below).

mod block;
mod chunk;
mod file;
mod head;
mod histogram;
mod index;
mod record;
mod rows;
mod tombstones;
mod wal;

use crate::{Error, Options, Report, Result, Sink};
use block::Block;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What is being read, for people who wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A part of a block was handed over.
    Block {
        /// Its directory's name.
        name: String,
        /// The part, and how many there are.
        part: (usize, usize),
    },
    /// The log is read, so many segments.
    Log(usize),
    /// The head's chunks are read, so many files.
    HeadChunks(usize),
}

/// A block is read in this many passes at most.
const PASSES_MAX: usize = 64;

/// Reads the directory.
///
/// # Errors
/// [`Error`]: the first thing that cannot be read, unless it is to be left out; or the sink's.
pub fn read(
    directory: &Path,
    options: Options,
    sink: &mut dyn Sink,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report> {
    let mut report = Report::default();
    let blocks = blocks(directory, options, &mut report)?;
    if blocks.is_empty() && !directory.join("wal").is_dir() {
        let (path, what) = (directory.to_owned(), "a Prometheus data directory");
        return Err(Error::NotASource { path, what });
    }
    let mut passes = Vec::new();
    for block in &blocks {
        match block.days() {
            Ok(days) => passes.extend(passes_of(block, &days)),
            Err(error) => report.note(error, options)?,
        }
    }
    passes.sort_by_key(|pass| pass.days.0);
    let mut day = i64::MIN;
    for Pass { block, days, part } in passes {
        if days.0 > day && day != i64::MIN {
            sink.day_is_complete()?;
        }
        day = days.0;
        progress(Progress::Block { name: block.name(), part });
        if let Err(error) = block.read(days, options, sink, &mut report) {
            report.note(error, options)?;
        }
    }
    // The head begins where the blocks end; what came out of order has a log of its own.
    let in_order = blocks.iter().filter(|block| !block.meta.is_out_of_order);
    let head_from = in_order.map(|block| block.meta.max_ms).max().unwrap_or(i64::MIN);
    head::read(directory, head_from, options, sink, &mut report, progress)?;
    Ok(report)
}

/// The days of a block that are read at once.
struct Pass<'a> {
    block: &'a Block,
    /// The first and the last.
    days: (i64, i64),
    part: (usize, usize),
}

fn passes_of<'a>(block: &'a Block, days: &BTreeSet<i64>) -> Vec<Pass<'a>> {
    let days: Vec<i64> = days.iter().copied().collect();
    let chunks: Vec<&[i64]> = days.chunks(days.len().div_ceil(PASSES_MAX).max(1)).collect();
    let count = chunks.len();
    let pass = |(part, days): (usize, &&[i64])| {
        let (first, last) = (days.first()?, days.last()?);
        Some(Pass { block, days: (*first, *last), part: (part + 1, count) })
    };
    chunks.iter().enumerate().filter_map(pass).collect()
}

/// The blocks of the directory that Prometheus would open, by time.
fn blocks(directory: &Path, options: Options, report: &mut Report) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    for path in file::entries(directory)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_ulid = name.len() == 26 && name.bytes().all(|b| b.is_ascii_alphanumeric());
        if !is_ulid || !path.join("meta.json").is_file() {
            continue;
        }
        match Block::open(&path) {
            Ok(block) => blocks.push(block),
            Err(error) => report.note(error, options)?,
        }
    }
    // One that was compacted into another and not yet removed.
    let parents: BTreeSet<String> =
        blocks.iter().flat_map(|block| block.meta.parents.iter().cloned()).collect();
    blocks.retain(|block| !parents.contains(&block.name()));
    blocks.sort_by_key(|block| (block.meta.min_ms, block.name()));
    Ok(blocks)
}

/// The numbered files of a directory, ascending.
fn numbered(directory: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for path in file::entries(directory)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(number) = name.parse().ok().filter(|_| path.is_file()) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests;
