//! Planted faults: each is a bug that a store could have, put between the engine and the disk, and
//! each must be flagged by the checker of stories that are otherwise sound.
//!
//! | fault | test |
//! |---|---|
//! | 1 the log is not synced before the answer | `acknowledging_before_fsync_is_caught` |
//! | 2 the log's directory is not synced | `a_log_whose_names_are_not_synced_is_caught` |
//! | 3 a replay does not sync what it accepted | `a_replay_that_does_not_sync_what_it_accepted_is_caught` |
//! | 4 a flush does not sync its sstables | `a_flush_that_publishes_what_is_not_synced_is_caught` |
//! | 5 nor their names | `a_flush_that_publishes_a_name_that_is_not_synced_is_caught` |
//! | 6 a compaction does not sync its sstables | `a_compaction_that_publishes_what_is_not_synced_is_caught` |
//! | 7 nor their names | `a_compaction_that_publishes_a_name_that_is_not_synced_is_caught` |
//! | 8 the manifest is on disk before the sstables' bytes | `a_manifest_on_disk_before_the_bytes_of_its_sstables_is_caught` |
//! | 9 the edit of a flush is not synced | `a_flush_whose_edit_is_not_synced_is_caught` |
//! | 10 the edit of a compaction is not synced before its inputs go | `inputs_unlinked_before_the_edit_is_on_disk_are_caught` |
//! | 11 inputs go before the edit | `inputs_unlinked_before_the_outputs_are_published_are_caught` |
//! | 12 the checkpoint is not synced | `a_checkpoint_that_is_not_synced_is_caught` |
//! | 13 segments go before the checkpoint | `a_segment_unlinked_before_its_checkpoint_is_caught` |
//! | 14 a delete is answered before its edit is synced | `a_delete_answered_before_its_edit_is_synced_is_caught` |
//! | 15 a compaction forgets a tombstone | `a_compaction_that_forgets_tombstones_is_caught` |
//! | 16 a snapshot's list comes before its links | `a_snapshot_listed_before_its_files_are_linked_is_caught` |
//! | 17 an import is answered before its files are synced | `an_import_answered_before_its_files_are_synced_is_caught` |
//! | 18 what has expired goes before the edit is on disk | `windows_unlinked_before_the_edit_of_expiry_is_on_disk_are_caught` |
//! | 19 expiry takes what has not expired | `an_expiry_that_asks_a_clock_that_is_ahead_is_caught` |
//! | 20 rules are in force before their edit is on disk | `rules_in_force_before_their_edit_is_on_disk_are_caught` |
//! | 21 the pass does not sync its sstables | `a_pass_that_publishes_what_is_not_synced_is_caught` |
//! | 22 nor their names | `a_pass_that_publishes_a_name_that_is_not_synced_is_caught` |

use super::aging::RULES;
use super::workload::{age, compacting, expire_early, forget_tombstones, job};
use super::{Plant, plain, story};
use crate::disk::{Disk, DiskFile, DiskReader};
use crate::error::Result;
use crate::sim::{Action, Call, Outcome, SimDisk};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How many of 60 stories the checker flags.
fn flagged(plant: Plant) -> usize {
    flagged_of(60, plant)
}

/// How many of 60 stories that are mostly about retention.
fn flagged_aging(plant: Plant) -> usize {
    age(true);
    let flagged = flagged(plant);
    age(false);
    flagged
}

fn flagged_of(stories: u64, plant: Plant) -> usize {
    (0..stories).filter(|seed| !story(*seed, plant).0.is_empty()).count()
}

#[test]
fn acknowledging_before_fsync_is_caught() {
    let flagged = flagged(|disk, _| {
        disk.set_hook(|call| match call.action {
            Action::SyncData if call.path.starts_with("log/") => Outcome::Lie,
            _ => Outcome::Done,
        });
        plain(disk)
    });
    assert!(flagged > 10, "{flagged} of 60");
}

#[test]
fn a_replay_that_does_not_sync_what_it_accepted_is_caught() {
    let flagged = flagged_of(120, |disk, is_open| {
        disk.set_hook(move |call: Call<'_>| match call.action {
            Action::SyncFile | Action::SyncData
                if call.path.starts_with("log/") && !is_open.load(Ordering::Relaxed) =>
            {
                Outcome::Lie
            }
            _ => Outcome::Done,
        });
        plain(disk)
    });
    assert!(flagged > 3, "{flagged} of 120");
}

/// What is done later than it was asked for.
#[derive(Debug)]
enum Late {
    Link(String, String),
    Sync(String),
}

/// A disk with something done before each file is created, or with some calls done too late: when
/// the manifest has been synced, or a snapshot's list is there.
#[derive(Debug)]
pub(super) struct Planted {
    disk: SimDisk,
    create: fn(&SimDisk, &str) -> Result<()>,
    is_late: fn(Action, &str) -> bool,
    late: Arc<Mutex<Vec<Late>>>,
}

impl Planted {
    pub(super) fn before(disk: &SimDisk, create: fn(&SimDisk, &str) -> Result<()>) -> Arc<Self> {
        let (disk, late) = (disk.clone(), Arc::default());
        Arc::new(Self { disk, create, is_late: |_, _| false, late })
    }

    fn late(disk: &SimDisk, is_late: fn(Action, &str) -> bool) -> Arc<Self> {
        let (disk, late) = (disk.clone(), Arc::default());
        Arc::new(Self { disk, create: |_, _| Ok(()), is_late, late })
    }
}

fn catch_up(disk: &SimDisk, late: &Mutex<Vec<Late>>) -> Result<()> {
    late.lock().drain(..).try_for_each(|late| match late {
        Late::Link(from, to) => disk.hard_link(&from, &to),
        Late::Sync(path) => disk.sync_file(&path),
    })
}

/// A file of a planted disk.
#[derive(Debug)]
struct PlantedFile {
    file: Box<dyn DiskFile>,
    path: String,
    disk: SimDisk,
    is_late: bool,
    late: Arc<Mutex<Vec<Late>>>,
}

impl DiskFile for PlantedFile {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.append(bytes)
    }
    fn make_room(&mut self, bytes: u64) -> Result<()> {
        self.file.make_room(bytes)
    }
    fn room_bytes(&self) -> u64 {
        self.file.room_bytes()
    }
    fn sync_data(&mut self) -> Result<()> {
        if self.is_late {
            self.late.lock().push(Late::Sync(self.path.clone()));
            return Ok(());
        }
        self.file.sync_data()?;
        match self.path.starts_with("MANIFEST") {
            true => catch_up(&self.disk, &self.late),
            false => Ok(()),
        }
    }
    fn written_bytes(&self) -> u64 {
        self.file.written_bytes()
    }
}

/// Unlinks the log's segments when a checkpoint is begun, and not when it is there.
fn unlink_segments(disk: &SimDisk, path: &str) -> Result<()> {
    if !path.starts_with("checkpoints/") {
        return Ok(());
    }
    let mut segments = disk.list("log")?;
    segments.pop();
    for name in segments {
        Disk::unlink(disk, &format!("log/{name}"))?;
    }
    disk.sync_dir("log")
}

/// Lets others come first when a checkpoint is begun, so that a flush meets many of their writes.
pub(super) fn wait_for_others(disk: &SimDisk, path: &str) -> Result<()> {
    let calls = disk.calls() + 60;
    for _ in 0..20_000 {
        if !path.starts_with("checkpoints/") || disk.calls() >= calls {
            break;
        }
        std::thread::yield_now();
    }
    Ok(())
}

impl Disk for Planted {
    fn create_new(&self, path: &str) -> Result<Box<dyn DiskFile>> {
        (self.create)(&self.disk, path)?;
        Ok(Box::new(PlantedFile {
            file: self.disk.create_new(path)?,
            path: path.to_owned(),
            disk: self.disk.clone(),
            is_late: (self.is_late)(Action::SyncData, path),
            late: Arc::clone(&self.late),
        }))
    }
    fn open(&self, path: &str) -> Result<Arc<dyn DiskReader>> {
        Disk::open(&self.disk, path)
    }
    fn list(&self, directory: &str) -> Result<Vec<String>> {
        self.disk.list(directory)
    }
    fn len(&self, path: &str) -> Result<Option<u64>> {
        self.disk.len(path)
    }
    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.disk.rename(from, to)?;
        match to.ends_with("/SNAPSHOT") {
            true => self
                .disk
                .sync_dir(crate::disk::parent(to))
                .and_then(|()| catch_up(&self.disk, &self.late)),
            false => Ok(()),
        }
    }
    fn hard_link(&self, from: &str, to: &str) -> Result<()> {
        if (self.is_late)(Action::HardLink, to) {
            self.late.lock().push(Late::Link(from.to_owned(), to.to_owned()));
            return Ok(());
        }
        self.disk.hard_link(from, to)
    }
    fn unlink(&self, path: &str) -> Result<()> {
        Disk::unlink(&self.disk, path)
    }
    fn create_dir(&self, path: &str) -> Result<()> {
        self.disk.create_dir(path)
    }
    fn remove_dir(&self, path: &str) -> Result<()> {
        self.disk.remove_dir(path)
    }
    fn sync_dir(&self, directory: &str) -> Result<()> {
        self.disk.sync_dir(directory)
    }
    fn sync_file(&self, path: &str) -> Result<()> {
        self.disk.sync_file(path)
    }
    fn free_bytes(&self) -> Result<u64> {
        self.disk.free_bytes()
    }
    fn total_bytes(&self) -> Result<u64> {
        self.disk.total_bytes()
    }
}

/// Lies about syncs of paths that begin with `prefix`, while something is compacted.
fn lies_in_compactions(disk: &SimDisk, prefix: &'static str, action: Action) -> Arc<dyn Disk> {
    disk.set_hook(move |call| {
        let is_it = call.action == action && call.path.starts_with(prefix);
        if is_it && !compacting().is_empty() { Outcome::Lie } else { Outcome::Done }
    });
    plain(disk)
}

#[test]
fn a_compaction_that_publishes_what_is_not_synced_is_caught() {
    let flagged = flagged(|disk, _| lies_in_compactions(disk, "sstables/", Action::SyncData));
    assert!(flagged > 3, "{flagged} of 60");
}

#[test]
fn a_compaction_that_publishes_a_name_that_is_not_synced_is_caught() {
    let flagged = flagged(|disk, _| lies_in_compactions(disk, "sstables", Action::SyncDir));
    assert!(flagged > 3, "{flagged} of 60");
}

#[test]
fn inputs_unlinked_before_the_edit_is_on_disk_are_caught() {
    let flagged = flagged(|disk, _| lies_in_compactions(disk, "MANIFEST", Action::SyncData));
    assert!(flagged > 3, "{flagged} of 60");
}

/// Unlinks the inputs of a compaction when its first output is begun.
fn unlink_inputs(disk: &SimDisk, path: &str) -> Result<()> {
    let inputs = if path.starts_with("sstables/") { compacting() } else { Vec::new() };
    inputs.iter().try_for_each(|path| Disk::unlink(disk, path))
}

#[test]
fn inputs_unlinked_before_the_outputs_are_published_are_caught() {
    let flagged = flagged(|disk, _| Planted::before(disk, unlink_inputs));
    assert!(flagged > 3, "{flagged} of 60");
}

#[test]
fn a_segment_unlinked_before_its_checkpoint_is_caught() {
    let flagged = flagged(|disk, _| Planted::before(disk, unlink_segments));
    assert!(flagged > 3, "{flagged} of 60");
}

/// Lies about syncs of paths that begin with `prefix`, while a job is done.
fn lies_in(
    disk: &SimDisk,
    doing: &'static str,
    prefix: &'static str,
    action: Action,
) -> Arc<dyn Disk> {
    disk.set_hook(move |call| {
        let is_it = call.action == action && call.path.starts_with(prefix);
        if is_it && job() == doing { Outcome::Lie } else { Outcome::Done }
    });
    plain(disk)
}

#[test]
fn a_log_whose_names_are_not_synced_is_caught() {
    let flagged = flagged(|disk, _| {
        disk.set_hook(|call| match call.action {
            Action::SyncDir if call.path == "log" => Outcome::Lie,
            _ => Outcome::Done,
        });
        plain(disk)
    });
    assert!(flagged > 3, "{flagged} of 60");
}

#[test]
fn a_flush_that_publishes_what_is_not_synced_is_caught() {
    let flagged = flagged(|disk, _| lies_in(disk, "flush", "sstables/", Action::SyncData));
    assert!(flagged > 3, "{flagged} of 60");
}

#[test]
fn a_flush_that_publishes_a_name_that_is_not_synced_is_caught() {
    let flagged = flagged(|disk, _| lies_in(disk, "flush", "sstables", Action::SyncDir));
    assert!(flagged > 3, "{flagged} of 60");
}

#[test]
fn a_flush_whose_edit_is_not_synced_is_caught() {
    let flagged = flagged(|disk, _| lies_in(disk, "flush", "MANIFEST", Action::SyncData));
    assert!(flagged > 3, "{flagged} of 60");
}

#[test]
fn a_checkpoint_that_is_not_synced_is_caught() {
    let flagged = flagged(|disk, _| lies_in(disk, "flush", "checkpoints/", Action::SyncData));
    assert!(flagged > 3, "{flagged} of 60");
}

#[test]
fn a_delete_answered_before_its_edit_is_synced_is_caught() {
    let flagged = flagged(|disk, _| lies_in(disk, "delete", "MANIFEST", Action::SyncData));
    assert!(flagged > 1, "{flagged} of 60");
}

#[test]
fn an_import_answered_before_its_files_are_synced_is_caught() {
    let flagged = flagged(|disk, _| lies_in(disk, "import", "sstables/", Action::SyncData));
    assert!(flagged > 1, "{flagged} of 60");
}

#[test]
fn a_compaction_that_forgets_tombstones_is_caught() {
    forget_tombstones(true);
    let flagged = flagged(|disk, _| plain(disk));
    forget_tombstones(false);
    assert!(flagged > 3, "{flagged} of 60");
}

#[test]
fn a_manifest_on_disk_before_the_bytes_of_its_sstables_is_caught() {
    let flagged = flagged(|disk, _| {
        Planted::late(disk, |action, path| {
            action == Action::SyncData && path.starts_with("sstables/")
        })
    });
    assert!(flagged > 1, "{flagged} of 60");
}

#[test]
fn a_snapshot_listed_before_its_files_are_linked_is_caught() {
    let flagged = flagged(|disk, _| Planted::late(disk, |action, _| action == Action::HardLink));
    assert!(flagged > 0, "{flagged} of 60");
}

#[test]
fn windows_unlinked_before_the_edit_of_expiry_is_on_disk_are_caught() {
    let flagged = flagged_aging(|disk, _| {
        disk.set_hook(|call| match call.action {
            Action::SyncData
                if call.path.starts_with("MANIFEST") && ["expire", "pass"].contains(&job()) =>
            {
                Outcome::Lie
            }
            _ => Outcome::Done,
        });
        plain(disk)
    });
    assert!(flagged > 0, "{flagged} of 60");
}

#[test]
fn an_expiry_that_asks_a_clock_that_is_ahead_is_caught() {
    expire_early(true);
    let flagged = flagged_aging(|disk, _| plain(disk));
    expire_early(false);
    assert!(flagged > 3, "{flagged} of 60");
}

#[test]
fn rules_in_force_before_their_edit_is_on_disk_are_caught() {
    let flagged = flagged_aging(|disk, _| {
        disk.set_hook(|call| match call.action {
            Action::SyncData if call.path.starts_with("MANIFEST") && RULES.contains(&job()) => {
                Outcome::Lie
            }
            _ => Outcome::Done,
        });
        plain(disk)
    });
    assert!(flagged > 0, "{flagged} of 60");
}

#[test]
fn a_pass_that_publishes_what_is_not_synced_is_caught() {
    let flagged = flagged_aging(|disk, _| lies_in(disk, "pass", "sstables/", Action::SyncData));
    assert!(flagged > 0, "{flagged} of 60");
}

#[test]
fn a_pass_that_publishes_a_name_that_is_not_synced_is_caught() {
    let flagged = flagged_aging(|disk, _| lies_in(disk, "pass", "sstables", Action::SyncDir));
    assert!(flagged > 0, "{flagged} of 60");
}
