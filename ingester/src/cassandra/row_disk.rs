//! The disk of a store in rows: sstables and checkpoints by their numbers, each in its table.
//!
//! # Invariants
//! - A file's table follows from its class and window, and stands in the manifest with it; checkpoints
//!   have one table.
//! - A table of segments is dropped only when every window of it is over, no file is known in it, live or
//!   about to go, and no other place's manifest names one. After that nothing is written into it: its
//!   windows stay over. Another place's clock may lag behind by the delay that windows go with.
//!
//! Not here: pieces (`pieces.rs`); what is live (`manifest.rs`).

use super::pieces::{self, END, FileAt, PIECE_BYTES, PieceCache, Sink, Source};
use super::rows::{Rows, create, drop_table, refused, table_names};
use super::schema::{self, SegmentTable};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use store::disk::{ClassWindow, Disk, DiskFile, DiskReader, FileRange};
use store::manifest::{RetentionClass, SstableMeta, State};
use store::{Error, Result};

/// More than any reserve asks for: the database has its own limits.
const ROOM_BYTES: u64 = 1 << 50;

const PIECE: u64 = PIECE_BYTES as u64;

/// A file that this life knows of.
#[derive(Clone, Debug)]
struct Known {
    at: FileAt,
    /// At least so many bytes of it may have been written.
    bytes: Arc<AtomicU64>,
}

/// The files of one store.
#[derive(Debug)]
pub(super) struct RowDisk {
    rows: Arc<dyn Rows>,
    cache: Arc<PieceCache>,
    place: u16,
    /// So many places share the tables.
    places: u16,
    /// Is set before this life writes a file.
    is_used: Arc<AtomicBool>,
    /// Is set when a file could not be written: somebody may have dropped its table.
    is_refused: Arc<AtomicBool>,
    /// As [`Disk::clock_ahead_ms`].
    clock_ahead_ms: Arc<AtomicI64>,
    // A leaf.
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    files: BTreeMap<u64, Known>,
    /// How long the samples of each class are kept.
    kept_ms: BTreeMap<u32, u64>,
    /// Tables that were there when they were asked for last.
    tables: BTreeSet<String>,
    /// Those that were dropped.
    dropped: BTreeSet<String>,
}

impl RowDisk {
    pub(super) fn new(
        rows: Arc<dyn Rows>,
        cache: Arc<PieceCache>,
        (place, places): (u16, u16),
        (is_used, clock_ahead_ms): (Arc<AtomicBool>, Arc<AtomicI64>),
    ) -> Self {
        let (is_refused, held) = (Arc::default(), Mutex::default());
        Self { rows, cache, place, places, is_used, is_refused, clock_ahead_ms, held }
    }

    /// What is near of the files of all places.
    pub(super) fn near(&self) -> &Arc<PieceCache> {
        &self.cache
    }

    /// Takes in where the files are that a manifest names.
    pub(super) fn learn(&self, state: &State) {
        let mut held = self.held.lock();
        held.kept_ms = kept_ms(state);
        for meta in state.sstables.values() {
            held.learn(meta.id, table_of(state, meta).name(), meta.file_bytes);
        }
        if let Some(checkpoint) = state.checkpoint {
            // Its length is in its last row.
            held.learn(checkpoint.id, schema::DEFINITIONS.to_owned(), 0);
        }
    }

    /// All files that are known.
    pub(super) fn files(&self) -> Vec<FileAt> {
        self.held.lock().files.values().map(|known| known.at.clone()).collect()
    }

    fn create_in(&self, path: &str, table: String) -> Result<Box<dyn DiskFile>> {
        let file = file_of(path)?;
        self.is_used.store(true, Ordering::Relaxed);
        let (is_there, is_dropped) = {
            let mut held = self.held.lock();
            if self.is_refused.swap(false, Ordering::Relaxed) {
                held.tables.clear();
            }
            (held.tables.contains(&table), held.dropped.contains(&table))
        };
        if is_dropped {
            return Err(refused("create", path, format!("`{table}` was dropped: it has expired")));
        }
        if !is_there {
            create(&*self.rows, &table)?;
        }
        let at = FileAt { table: table.clone(), file };
        let bytes = Arc::new(AtomicU64::new(0));
        let mut held = self.held.lock();
        held.tables.insert(table);
        let known = Known { at: at.clone(), bytes: Arc::clone(&bytes) };
        if held.files.insert(file, known).is_some() {
            return Err(refused("create", path, "its number has been used"));
        }
        let is_refused = Arc::clone(&self.is_refused);
        Ok(Box::new(Sink::new(Arc::clone(&self.rows), at, (bytes, is_refused))))
    }

    /// Whether another place has a file in one of these tables.
    fn used_elsewhere(&self) -> Result<BTreeSet<SegmentTable>> {
        let mut used = BTreeSet::new();
        for place in (0..self.places).filter(|place| *place != self.place) {
            let (_, state) = super::manifest::look(&*self.rows, place)?;
            used.extend(state.sstables.values().map(|meta| table_of(&state, meta)));
        }
        Ok(used)
    }

    /// A file's length, if it was finished and its table is there. An error says nothing of the file.
    fn len_of(&self, at: &FileAt) -> Result<Option<u64>> {
        match at.known_len(&*self.rows, &self.cache) {
            Err(_) if !table_names(&*self.rows)?.contains(&at.table) => Ok(None),
            len => len,
        }
    }

    fn known(&self, path: &str) -> Option<Known> {
        let file = file_of(path).ok()?;
        self.held.lock().files.get(&file).cloned()
    }
}

impl Held {
    fn learn(&mut self, file: u64, table: String, bytes: u64) {
        self.files.entry(file).or_insert_with(|| Known {
            at: FileAt { table, file },
            bytes: Arc::new(AtomicU64::new(bytes)),
        });
    }
}

/// How long the samples of each class are kept. Class 0 is for ever.
fn kept_ms(state: &State) -> BTreeMap<u32, u64> {
    let of = |class: &RetentionClass| (class.id, class.retention.as_ms());
    state.retention_classes.values().map(of).collect()
}

/// The table of a live file.
fn table_of(state: &State, meta: &SstableMeta) -> SegmentTable {
    let class = meta.retention_class;
    let window = ClassWindow { class, first_day: meta.window_first_day, days: meta.window_days };
    let kept = state.retention_classes.get(&class).map_or(0, |class| class.retention.as_ms());
    SegmentTable::of(kept, window)
}

/// The number in a path such as `sstables/000000000000002a.sst`.
fn file_of(path: &str) -> Result<u64> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let number = name.split('.').next().and_then(|digits| u64::from_str_radix(digits, 16).ok());
    number.ok_or_else(|| refused("open", path, "it has no place in rows"))
}

impl Disk for RowDisk {
    fn create_new(&self, path: &str) -> Result<Box<dyn DiskFile>> {
        self.create_in(path, schema::DEFINITIONS.to_owned())
    }

    fn create_sstable(&self, path: &str, window: ClassWindow) -> Result<Box<dyn DiskFile>> {
        let kept_ms = self.held.lock().kept_ms.get(&window.class).copied().unwrap_or(0);
        self.create_in(path, SegmentTable::of(kept_ms, window).name())
    }

    fn moves_between_classes(&self) -> bool {
        false
    }

    fn expire_windows(&self, is_over: &dyn Fn(ClassWindow) -> bool) -> Result<()> {
        let mut over = BTreeSet::new();
        for table in table_names(&*self.rows)?.iter().filter_map(|name| SegmentTable::parse(name)) {
            let held = self.held.lock();
            let is_used = held.files.values().any(|known| known.at.table == table.name());
            let class = held.kept_ms.iter().find(|(_, kept_ms)| **kept_ms == table.kept_ms());
            if let (false, Some((class, _))) = (is_used, class)
                && table.windows(*class).all(is_over)
            {
                over.insert(table);
            }
        }
        if over.is_empty() {
            return Ok(());
        }
        let used = self.used_elsewhere()?;
        for table in over.difference(&used) {
            self.held.lock().dropped.insert(table.name());
            drop_table(&*self.rows, &table.name())?;
        }
        Ok(())
    }

    fn open(&self, path: &str) -> Result<Arc<dyn DiskReader>> {
        let missing = || Error::corrupt(path, 0, "it is missing");
        let at = self.known(path).ok_or_else(missing)?.at;
        let bytes = self.len_of(&at)?.ok_or_else(missing)?;
        let (rows, cache) = (Arc::clone(&self.rows), Arc::clone(&self.cache));
        Ok(Arc::new(Source { rows, at, bytes, cache, next: AtomicU64::new(0) }))
    }

    fn is_far(&self) -> bool {
        true
    }

    fn fetch(&self, ranges: &[FileRange]) {
        let mut far: Vec<(FileAt, u64)> = Vec::new();
        for FileRange { path, offset, len } in ranges {
            let Some(Known { at, .. }) = self.known(path) else { continue };
            // Who reads its start is about to open it.
            let end = (*offset == 0).then_some(END);
            let (first, last) =
                (offset / PIECE, offset.saturating_add(len.saturating_sub(1)) / PIECE);
            for piece in end.into_iter().chain(first..=last) {
                if far.len() >= self.cache.fetched_max() {
                    break;
                }
                let is_said = far.iter().any(|(said, other)| (said, *other) == (&at, piece));
                if !is_said && !self.cache.holds((at.file, piece)) {
                    far.push((at.clone(), piece));
                }
            }
        }
        pieces::fetch(&*self.rows, &self.cache, &far);
    }

    fn list(&self, _: &str) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn len(&self, path: &str) -> Result<Option<u64>> {
        self.known(path).map_or(Ok(None), |known| self.len_of(&known.at))
    }

    /// A file is known by its number, whatever its name: it is there when its end is.
    fn rename(&self, from: &str, to: &str) -> Result<()> {
        match file_of(from)? == file_of(to)? {
            true => Ok(()),
            false => Err(refused("rename", from, "in rows a file keeps its number")),
        }
    }

    fn hard_link(&self, from: &str, _: &str) -> Result<()> {
        Err(refused("link", from, "a store in rows takes no snapshots"))
    }

    fn unlink(&self, path: &str) -> Result<()> {
        // A name that no file has had yet is nothing to delete: it would hide what comes.
        let Some(Known { at, bytes }) = self.known(path) else { return Ok(()) };
        let written = bytes.load(Ordering::Relaxed);
        let delete = || {
            let bytes = at.len(&*self.rows)?.unwrap_or(written).max(written);
            at.delete(&*self.rows, bytes)
        };
        // Whoever expired its window last may have dropped the table, and the file with it.
        if let Err(error) = delete()
            && table_names(&*self.rows)?.contains(&at.table)
        {
            return Err(error);
        }
        self.held.lock().files.remove(&at.file);
        Ok(())
    }

    fn create_dir(&self, path: &str) -> Result<()> {
        Err(refused("create", path, "a store in rows has no directories"))
    }

    fn remove_dir(&self, path: &str) -> Result<()> {
        Err(refused("remove", path, "a store in rows has no directories"))
    }

    fn sync_dir(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn sync_file(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn free_bytes(&self) -> Result<u64> {
        Ok(ROOM_BYTES)
    }

    fn total_bytes(&self) -> Result<u64> {
        Ok(ROOM_BYTES)
    }

    fn clock_ahead_ms(&self) -> i64 {
        self.clock_ahead_ms.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
