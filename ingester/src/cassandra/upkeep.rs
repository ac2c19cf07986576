//! What an administrator does to the tables: make them, look at them, check every byte of them.
//!
//! # Rules
//! - The schema's version is one row of `settings`, changed on condition. A newer one than ours is
//!   left alone.
//! - An *orphan* is a file that no manifest names, of a life that is over: nobody can name it any
//!   more. Files of the present life may be about to be named.
//!
//! Not here: the keyspace (`driver.rs`); what a person reads (`cumae cassandra`).

use super::CACHE_BYTES;
use super::pieces::{FileAt, PieceCache};
use super::row_disk::RowDisk;
use super::rows::{
    Change, Changed, Column, Consistency, Key, Read, Rows, RowsError, Write, create, persist,
    read_all, table_names, write_all,
};
use super::schema::{self, SegmentTable};
use super::{journal, manifest, rows};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use store::Result;

/// The partition of `settings` that the schema has.
const SCHEMA: &str = "schema";
/// Its row that says for how long deletions are remembered, if `init` was told.
const GC_GRACE: &str = "gc_grace_seconds";
/// How often a change is asked for whose outcome is not known.
const TRIES: usize = 8;
/// A database has so many tables of ours at most: each costs it memory, whether used or not.
pub const TABLES_MAX: usize = 240;

/// A database all of whose partitions can be walked.
pub trait Scan: Rows {
    /// The keys of all partitions of a table.
    ///
    /// # Errors
    /// [`RowsError`].
    fn partitions(&self, table: &str) -> std::result::Result<Vec<Vec<Column>>, RowsError>;

    /// How long ago a partition's guard was changed, by the database's own clock, in milliseconds; `None` if
    /// it has none, or that is not known.
    ///
    /// # Errors
    /// [`RowsError`].
    fn guard_age_ms(
        &self,
        _table: &str,
        _partition: &[Column],
    ) -> std::result::Result<Option<u64>, RowsError> {
        Ok(None)
    }
}

/// What is said about the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schema {
    /// Its version.
    pub version: u64,
    /// For so long deletions are remembered, if that is another time than the tables' own.
    pub gc_grace_seconds: Option<u32>,
}

/// The schema of a keyspace; `None` if there is none yet.
///
/// # Errors
/// What the database says.
pub fn schema(rows: &dyn Rows) -> Result<Option<Schema>> {
    if !table_names(rows)?.contains(schema::SETTINGS) {
        return Ok(None);
    }
    let read = Read {
        table: schema::SETTINGS.to_owned(),
        partition: vec![Column::Text(SCHEMA.to_owned())],
        first: Vec::new(),
        last: None,
        rows_max: 100,
    };
    let found = read_all(rows, &read, Consistency::Serial)?;
    let number = |name: Option<&str>| -> Option<u64> {
        let row = name.map(|name| Column::Text(name.to_owned()));
        let row = found.iter().find(|found| found.row.first() == row.as_ref())?;
        std::str::from_utf8(&row.data).ok()?.parse().ok()
    };
    let gc_grace_seconds = number(Some(GC_GRACE)).and_then(|number| u32::try_from(number).ok());
    Ok(number(None).map(|version| Schema { version, gc_grace_seconds }))
}

/// Looks at the schema before anything is done by it.
///
/// # Errors
/// If it is not there, or another one: the message says what to run. What the database says.
pub fn require_schema(rows: &dyn Rows) -> Result<Schema> {
    let why = match schema(rows)? {
        Some(found) if found.version == schema::VERSION => {
            let tables = table_names(rows)?;
            let gone = schema::FIRST.into_iter().find(|table| !tables.contains(*table));
            let Some(gone) = gone else { return Ok(found) };
            schema::gone(gone)
        }
        Some(found) => another(found.version),
        None => "the keyspace has no tables of cumae; run `cumae cassandra init`".to_owned(),
    };
    Err(rows::refused("use", "cassandra", why))
}

fn another(version: u64) -> String {
    let what = match version > schema::VERSION {
        true => "use a newer cumae",
        false => {
            "it was made before the first release; run `cumae cassandra init` in another keyspace"
        }
    };
    format!("its schema has version {version}, and this cumae knows {}: {what}", schema::VERSION)
}

/// Creates the tables that are there from the beginning, and sets the version.
///
/// # Errors
/// If there is another schema; what the database says.
pub fn init(rows: &dyn Rows, gc_grace_seconds: Option<u32>) -> Result<Schema> {
    let found = schema(rows)?;
    if let Some(found) = found.filter(|found| found.version != schema::VERSION) {
        return Err(rows::refused("change", "cassandra", another(found.version)));
    }
    for table in schema::FIRST {
        create(rows, table)?;
    }
    let ours = Schema {
        version: schema::VERSION,
        gc_grace_seconds: gc_grace_seconds.or(found.and_then(|found| found.gc_grace_seconds)),
    };
    if found != Some(ours) {
        set(rows, found, ours)?;
    }
    Ok(ours)
}

fn set(rows: &dyn Rows, found: Option<Schema>, ours: Schema) -> Result<()> {
    let bytes = |number: u64| -> Arc<[u8]> { number.to_string().into_bytes().into() };
    let seconds = ours.gc_grace_seconds.map(|seconds| bytes(seconds.into()));
    let change = Change {
        table: schema::SETTINGS.to_owned(),
        partition: vec![Column::Text(SCHEMA.to_owned())],
        expected: found.map(|found| bytes(found.version)),
        guard: bytes(ours.version),
        rows: vec![(vec![Column::Text(GC_GRACE.to_owned())], seconds)],
    };
    let mut last = String::new();
    for _ in 0..TRIES {
        match rows.change(&change) {
            Ok(Changed::Applied) => return Ok(()),
            // Made by a try before this one, or by somebody who did the same.
            Ok(Changed::Refused(_)) if schema(rows)? == Some(ours) => return Ok(()),
            Ok(Changed::Refused(_)) => {
                let why = "somebody else changes the schema now; try again";
                return Err(rows::refused("change", "cassandra", why));
            }
            Err(RowsError::Unknown(why)) => last = why,
            Err(error) => return Err(error.on(schema::SETTINGS)),
        }
    }
    Err(RowsError::Unknown(last).on(schema::SETTINGS))
}

/// A table and what is live in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableStatus {
    /// Its files that a manifest names.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their samples.
    pub samples: u64,
}

/// The keyspace at a glance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its schema.
    pub schema: Schema,
    /// Its tables.
    pub tables: BTreeMap<String, TableStatus>,
    /// How many lives its places have had, all together.
    pub lives: u64,
}

/// Looks at the manifests of all places.
///
/// # Errors
/// If there is no schema, or a newer one; what the database says.
pub fn status(rows: &Arc<dyn Scan>) -> Result<Status> {
    let schema = require_schema(&**rows)?;
    let names = table_names(&**rows)?.into_iter();
    let mut tables: BTreeMap<String, TableStatus> =
        names.map(|name| (name, TableStatus::default())).collect();
    let mut lives = 0;
    for place in live(rows)?.values() {
        lives += place.life;
        for at in &place.files {
            let table = tables.entry(at.table.clone()).or_default();
            table.files += 1;
            if let Some(meta) = place.state.sstables.get(&at.file) {
                table.bytes += meta.file_bytes;
                table.samples += meta.samples;
            }
        }
    }
    Ok(Status { schema, tables, lives })
}

/// A place: its life, what is live in it, and where that is.
struct Live {
    life: u64,
    state: store::manifest::State,
    files: Vec<FileAt>,
}

/// All places that were ever opened.
fn live(rows: &Arc<dyn Scan>) -> Result<BTreeMap<u16, Live>> {
    let mut places = BTreeMap::new();
    for key in partitions(rows, schema::MANIFEST)? {
        let [Column::Int(place)] = key[..] else { continue };
        let Ok(place) = u16::try_from(place) else { continue };
        let (life, state) = manifest::look(&**rows, place)?;
        let all = Arc::clone(rows) as Arc<dyn Rows>;
        let cache = Arc::new(PieceCache::new(CACHE_BYTES));
        let disk = RowDisk::new(all, cache, (place, 0), Default::default());
        disk.learn(&state);
        places.insert(place, Live { life, state, files: disk.files() });
    }
    Ok(places)
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Files that are live.
    pub files: u64,
    /// Their bytes, each of which was read and held against its hash.
    pub bytes: u64,
    /// What is missing or damaged: the table, the file, and which piece.
    pub faults: Vec<String>,
    /// Files that no manifest names any more: the table and the file.
    pub orphans: Vec<(String, u64)>,
}

/// Reads every piece of every live file, and looks for files that are none.
///
/// # Errors
/// If there is no schema, or a newer one; what the database says.
pub fn check(rows: &Arc<dyn Scan>) -> Result<Checked> {
    require_schema(&**rows)?;
    let tables = table_names(&**rows)?;
    let places = live(rows)?;
    let mut checked = Checked::default();
    let mut live_files = BTreeSet::new();
    for (number, place) in &places {
        let journal = journal::table_of(place.state.log_from_segment());
        if let Some(journal) = journal.filter(|journal| !tables.contains(journal)) {
            let why = "is not there: what it had of place";
            checked
                .faults
                .push(format!("{journal}: it {why} {number} and was not flushed is lost"));
        }
        for at in &place.files {
            live_files.insert((at.table.clone(), at.file));
            let is_there = tables.contains(&at.table);
            check_file(rows, (*number, place), at, is_there, &mut checked)?;
        }
    }
    let is_of_files =
        |name: &&String| *name == schema::DEFINITIONS || SegmentTable::parse(name).is_some();
    for table in tables.iter().filter(is_of_files) {
        for file in files_in(rows, table)? {
            let (place, life) = manifest::writer_of(file);
            let is_over = places.get(&place).is_some_and(|place| life < place.life);
            if is_over && !live_files.contains(&(table.clone(), file)) {
                checked.orphans.push((table.clone(), file));
            }
        }
    }
    Ok(checked)
}

fn check_file(
    rows: &Arc<dyn Scan>,
    (number, place): (u16, &Live),
    at: &FileAt,
    is_there: bool,
    checked: &mut Checked,
) -> Result<()> {
    let path = format!("{}/{:016x}", at.table, at.file);
    if !is_there {
        checked.faults.push(format!("{path}: table `{}` is not there", at.table));
        return Ok(());
    }
    let bytes = match place.state.sstables.get(&at.file) {
        Some(meta) => meta.file_bytes,
        // The length of a checkpoint stands in its end alone.
        None => at.len(&**rows)?.unwrap_or(0),
    };
    let faults = at.faults(&**rows, bytes)?;
    // It may have been merged away while it was read.
    if !faults.is_empty() && !is_live(rows, number, at.file)? {
        return Ok(());
    }
    checked.files += 1;
    checked.bytes += bytes;
    checked.faults.extend(faults.into_iter().map(|fault| match fault {
        Some(piece) => format!("{path}: piece {piece} is missing or damaged"),
        None => format!("{path}: its end is missing, or says another length than {bytes}"),
    }));
    Ok(())
}

fn is_live(rows: &Arc<dyn Scan>, place: u16, file: u64) -> Result<bool> {
    let (_, state) = manifest::look(&**rows, place)?;
    let is_checkpoint = state.checkpoint.is_some_and(|checkpoint| checkpoint.id == file);
    Ok(is_checkpoint || state.sstables.contains_key(&file))
}

/// The keys of all partitions of a table, asked for again while there is no answer.
fn partitions(rows: &Arc<dyn Scan>, table: &str) -> Result<Vec<Vec<Column>>> {
    persist(table, || rows.partitions(table))
}

/// The files that have a row in a table. There are none in one that is listed and that the database does not
/// know: so it is when a node was killed while it made the table, until it is made again.
fn files_in(rows: &Arc<dyn Scan>, table: &str) -> Result<BTreeSet<u64>> {
    let partitions = persist(table, || match rows.partitions(table) {
        Err(error) if error.is_of_missing_table() => {
            tracing::warn!(table, "a table is listed and not there: its making was cut off");
            Ok(Vec::new())
        }
        found => found,
    })?;
    let file = |key: &Vec<Column>| match key.first() {
        Some(Column::Int(file)) => u64::try_from(*file).ok(),
        _ => None,
    };
    Ok(partitions.iter().filter_map(file).collect())
}

/// Deletes what [`check`] called orphans.
///
/// # Errors
/// What the database says.
pub fn remove(rows: &Arc<dyn Scan>, orphans: &[(String, u64)]) -> Result<()> {
    let mut tables: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for (table, file) in orphans {
        tables.entry(table).or_default().insert(*file);
    }
    for (table, files) in tables {
        let partitions = partitions(rows, table)?;
        let is_gone = |key: &Vec<Column>| match key.first() {
            Some(Column::Int(file)) => u64::try_from(*file).is_ok_and(|file| files.contains(&file)),
            _ => false,
        };
        for partition in partitions.into_iter().filter(is_gone) {
            let key = Key { partition, row: Vec::new() };
            let timestamp = super::pieces::DELETED;
            let gone = Write { table: table.to_owned(), key, data: None, timestamp };
            write_all(&**rows, &[gone], table)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cassandra::RowStore;
    use crate::cassandra::fake::{Fake, Faults};
    use crate::cassandra::schema::ints;
    use store::disk::{ClassWindow, Disk};
    use store::engine::Backend;

    fn fake() -> (Fake, Arc<dyn Scan>) {
        let fake = Fake::new(1, Faults::default());
        (fake.clone(), Arc::new(fake))
    }

    fn guard(fake: &Fake, expected: Option<&str>, version: &str) {
        let bytes = |text: &str| -> Arc<[u8]> { text.as_bytes().into() };
        let change = Change {
            table: schema::SETTINGS.to_owned(),
            partition: vec![Column::Text(SCHEMA.to_owned())],
            expected: expected.map(bytes),
            guard: bytes(version),
            rows: Vec::new(),
        };
        assert_eq!(fake.change(&change).unwrap(), Changed::Applied);
    }

    #[test]
    fn a_schema_is_made_once_keeps_what_was_said_and_another_one_is_left_alone() {
        let (fake, _) = fake();
        let error = require_schema(&fake).unwrap_err().to_string();
        assert!(error.contains("cumae cassandra init"), "{error}");
        let version = schema::VERSION;
        let made = Schema { version, gc_grace_seconds: Some(0) };
        assert_eq!(init(&fake, Some(0)).unwrap(), made);
        assert_eq!(init(&fake, None).unwrap(), made);
        assert_eq!(require_schema(&fake).unwrap(), made);
        fake.drop_table(schema::MANIFEST).unwrap();
        let error = require_schema(&fake).unwrap_err().to_string();
        assert!(error.contains("`manifest` is not there"), "{error}");
        init(&fake, None).unwrap();

        guard(&fake, Some(&version.to_string()), "7");
        for error in [require_schema(&fake).unwrap_err(), init(&fake, None).unwrap_err()] {
            assert!(error.to_string().contains("version 7"), "{error}");
            assert!(error.to_string().contains("use a newer cumae"), "{error}");
        }
        guard(&fake, Some("7"), "1");
        for error in [require_schema(&fake).unwrap_err(), init(&fake, None).unwrap_err()] {
            assert!(error.to_string().contains("in another keyspace"), "{error}");
        }
    }

    fn life(fake: &Fake, incarnation: u128) -> RowStore {
        let store = RowStore::new(Arc::new(fake.clone()), incarnation, false).unwrap();
        store.open_manifest().unwrap();
        store
    }

    fn written(store: &RowStore, file: u64) {
        let window = ClassWindow { class: 0, first_day: 20_000, days: 1 };
        let disk = store.disk();
        let mut sink = disk.create_sstable(&format!("sstables/{file:016x}.sst"), window).unwrap();
        sink.append(&[7; 1_000]).unwrap();
        sink.sync_data().unwrap();
    }

    #[test]
    fn what_a_dead_life_left_is_an_orphan_and_what_the_present_one_writes_is_not() {
        let (fake, rows) = fake();
        init(&fake, None).unwrap();
        written(&life(&fake, 1), 1 << 28 | 5);
        assert_eq!(check(&rows).unwrap().orphans, []);
        written(&life(&fake, 2), 2 << 28 | 5);

        let checked = check(&rows).unwrap();
        let orphans: Vec<u64> = checked.orphans.iter().map(|(_, file)| *file).collect();
        assert_eq!(orphans, [1 << 28 | 5]);
        remove(&rows, &checked.orphans).unwrap();
        assert_eq!(check(&rows).unwrap().orphans, []);
        let table = &checked.orphans[0].0;
        assert_eq!(files_in(&rows, table).unwrap(), BTreeSet::from([2 << 28 | 5]));
    }

    #[test]
    fn a_table_that_is_listed_and_not_there_holds_no_files() {
        let (fake, rows) = fake();
        init(&fake, None).unwrap();
        let store = life(&fake, 1);
        written(&store, 1 << 28 | 5);
        let table = fake.tables().unwrap().into_iter().find(|name| name.starts_with("segments"));
        let table = table.unwrap().replace("segments_", "segments_9");
        fake.list(&table);
        assert!(fake.tables().unwrap().contains(&table));
        let checked = check(&rows).unwrap();
        assert_eq!((checked.orphans.len(), checked.faults.len()), (0, 0));
    }

    #[test]
    fn a_piece_that_is_gone_or_changed_is_told_by_its_place() {
        let (fake, rows) = fake();
        init(&fake, None).unwrap();
        let store = life(&fake, 1);
        let disk: Arc<dyn Disk> = store.disk();
        let mut sink = disk.create_new("commitlog/0000000100000009.ckp").unwrap();
        sink.append(&[7; 1_000]).unwrap();
        sink.sync_data().unwrap();
        let table = schema::DEFINITIONS.to_owned();
        let file = super::super::pieces::FileAt { table: table.clone(), file: 1 << 32 | 9 };
        assert_eq!(file.faults(&*rows, 1_000).unwrap(), []);
        let key = Key { partition: ints([1 << 32 | 9, 0]), row: ints([0]) };
        fake.write(&[Write { table, key, data: Some(Arc::from([1; 9])), timestamp: 2 }]).unwrap();
        assert_eq!(file.faults(&*rows, 1_000).unwrap(), [Some(0)]);
        assert_eq!(file.faults(&*rows, 2_000).unwrap(), [None, Some(0)]);
    }
}
