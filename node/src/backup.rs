//! `cumae snapshot`: snapshots for people and for their scripts.
//!
//! A snapshot's files never change, so all but `create` work beside a running server, without its
//! lock. `create` asks the server that holds the directory, or opens the store itself if none does.
//!
//! Not here: what a snapshot is (`store::snapshot`).

use crate::cli::SnapshotCommand;
use crate::config::Config;
use crate::data_dir::{self, DataDir};
use crate::parts::{SystemClock, random_u64};
use model::Clock;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::disk::FileDisk;
use store::engine::Parts;
use store::snapshot::{self, Place, Snapshot};

/// Why a snapshot command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The store refused, or is damaged.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    /// There is nothing to work on.
    #[error("`{0}` holds no data of cumae; --data-dir says where it lies")]
    NoData(PathBuf),
    /// The operating system refused.
    #[error("failed to {action} `{path}`: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// The server that works on the directory does not answer.
    #[error(
        "a server works on the data directory, and does not answer on {address} (server.listen, \
         --listen): {source}"
    )]
    NoAnswer { address: std::net::SocketAddr, source: io::Error },
    /// The server refused.
    #[error("the server answered {status}: {text}")]
    Refused { status: u16, text: String },
    /// No randomness for a name.
    #[error("no random bits from the operating system: {0}")]
    Random(io::Error),
    /// What was looked for, was found.
    #[error("snapshot {name} is damaged in {places} places")]
    Damaged { name: String, places: usize },
    /// The target is not empty.
    #[error("`{0}` is not empty: a snapshot is restored into an empty directory only")]
    NotEmpty(PathBuf),
}

/// Runs the command and prints what it did.
pub(crate) fn run(config: &Config, command: &SnapshotCommand) -> Result<(), Error> {
    match command {
        SnapshotCommand::Create => create(config),
        SnapshotCommand::List { from } => list(&source(config, from.as_deref())?),
        SnapshotCommand::Verify { name, from } => verify(&source(config, from.as_deref())?, name),
        SnapshotCommand::Copy { name, into } => copy(&source(config, None)?, name, into),
        SnapshotCommand::Restore { name, into, from } => {
            restore(&source(config, from.as_deref())?, name, into)
        }
        SnapshotCommand::Delete { name, from } => {
            let (disk, _) = source(config, from.as_deref())?;
            snapshot::delete(&disk, name)?;
            crate::print(&format!("{name} is deleted\n"));
            Ok(())
        }
    }
}

/// Where snapshots lie: in a backup, or in the data directory.
fn source(config: &Config, from: Option<&Path>) -> Result<(FileDisk, Place), Error> {
    let given = from.unwrap_or(&config.data.dir);
    // A data directory has the store's in it; a backup is one itself.
    let store = given.join("store");
    let root = if store.is_dir() { store } else { given.to_owned() };
    let disk = FileDisk::view(&root);
    let place = Place::of(&disk)?;
    if place == Place::Store && !root.join(store::format_marker::FORMAT_FILE).exists() {
        return Err(Error::NoData(given.to_owned()));
    }
    Ok((disk, place))
}

fn create(config: &Config) -> Result<(), Error> {
    source(config, None)?;
    let name = match DataDir::open(&config.data.dir) {
        Ok(data_dir) => create_offline(config, &data_dir)?.name,
        Err(data_dir::Error::InUse { .. }) => ask_server(config)?,
        Err(error) => return Err(error.into()),
    };
    crate::print(&format!("{name}\n"));
    Ok(())
}

fn create_offline(config: &Config, data_dir: &DataDir) -> Result<Snapshot, Error> {
    let clock = SystemClock::start();
    let parts = Parts {
        disk: Arc::new(FileDisk::open(data_dir.path().join("store"))?),
        cluster_name: config.cluster.name.clone(),
        generation_seed: random_u64().map_err(Error::Random)?,
    };
    let settings = ingester::Config::default().store;
    let (engine, _) = store::Engine::open(parts, settings, clock.now())?;
    let name = snapshot::name(clock.now(), random_u64().map_err(Error::Random)?);
    let taken = engine.snapshot(&name, clock.now())?;
    engine.close(clock.now())?;
    Ok(taken)
}

fn ask_server(config: &Config) -> Result<String, Error> {
    let address = config.server.listen;
    let path = "/api/v1/admin/tsdb/snapshot";
    let answer = bench::http::request(address, "POST", path, &[], &[]);
    let answer = answer.map_err(|source| Error::NoAnswer { address, source })?;
    let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    match json.pointer("/data/name").and_then(|name| name.as_str()) {
        Some(name) if answer.status == 200 => Ok(name.to_owned()),
        _ => Err(Error::Refused { status: answer.status, text: answer.text().trim().to_owned() }),
    }
}

fn list((disk, place): &(FileDisk, Place)) -> Result<(), Error> {
    let snapshots = snapshot::list(disk)?;
    if snapshots.is_empty() {
        crate::print("no snapshots\n");
        return Ok(());
    }
    crate::print(&format!("{:<34} {:>6} {:>16} {:>16}\n", "NAME", "FILES", "BYTES", "PINNED"));
    for snapshot in snapshots {
        let pinned = match place {
            Place::Store => snapshot.pinned_bytes(disk)?,
            Place::Backup => snapshot.bytes(),
        };
        let (name, files, bytes) = (&snapshot.name, snapshot.files.len(), snapshot.bytes());
        crate::print(&format!("{name:<34} {files:>6} {bytes:>16} {pinned:>16}\n"));
    }
    Ok(())
}

fn verify((disk, place): &(FileDisk, Place), name: &str) -> Result<(), Error> {
    let snapshot = snapshot::load(disk, name)?;
    let verified = snapshot::verify(disk, *place, &snapshot)?;
    for damage in &verified.damage {
        crate::print(&format!("{damage}\n"));
    }
    let (files, bytes) = (verified.files, verified.bytes);
    match verified.damage.len() {
        0 => {
            crate::print(&format!("{name} is sound: {files} files, {bytes} bytes\n"));
            Ok(())
        }
        places => Err(Error::Damaged { name: name.to_owned(), places }),
    }
}

fn copy((disk, place): &(FileDisk, Place), name: &str, into: &Path) -> Result<(), Error> {
    let snapshot = snapshot::load(disk, name)?;
    let backup = FileDisk::open(into)?;
    let report = snapshot::copy(disk, *place, &snapshot, &backup)?;
    let (files, bytes, known) = (report.files, report.bytes, report.bytes_known);
    crate::print(&format!(
        "{name} is in {}: {files} files and {bytes} bytes copied, {known} bytes were there\n",
        into.display()
    ));
    Ok(())
}

fn restore((disk, place): &(FileDisk, Place), name: &str, into: &Path) -> Result<(), Error> {
    let snapshot = snapshot::load(disk, name)?;
    let is_empty = match fs::read_dir(into) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if !is_empty {
        return Err(Error::NotEmpty(into.to_owned()));
    }
    let store = into.join("store");
    fs::create_dir_all(into).map_err(|source| Error::Io {
        action: "create",
        path: into.to_owned(),
        source,
    })?;
    let target = FileDisk::open(&store)?;
    let shown = store.display().to_string();
    let report = snapshot::restore(disk, *place, &snapshot, &target, &shown)?;
    let (files, bytes) = (report.files, report.bytes);
    crate::print(&format!(
        "{name} is restored: {files} files, {bytes} bytes; start it with --data-dir {}\n",
        into.display()
    ));
    Ok(())
}
