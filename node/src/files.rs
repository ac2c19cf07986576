//! `cumae store`: the files of a data directory, for people at night.
//!
//! It works beside a running server and on a directory that none works on: it takes no lock.
//!
//! Not here: what is checked (`store::verify`) and what files say (`store::inspect`).

use crate::cli::StoreCommand;
use crate::config::Config;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use store::disk::FileDisk;
use store::{format_marker, inspect, verify};

/// Why a store command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The file is damaged or cannot be read.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// There is nothing to look at.
    #[error("`{0}` is neither a data directory of cumae nor a file")]
    NoData(PathBuf),
    /// What was looked for, was found.
    #[error("{path} is damaged in {places} places")]
    Damaged { path: PathBuf, places: usize },
}

/// Runs the command and prints what it found.
pub(crate) fn run(config: &Config, command: &StoreCommand) -> Result<(), Error> {
    match command {
        StoreCommand::Verify { path } => verify(path.as_deref().unwrap_or(&config.data.dir)),
        StoreCommand::Inspect { file } => {
            let (disk, name) = disk_of(file)?;
            print_lines(0, |lines| inspect::inspect(&disk, &name, lines))
        }
        StoreCommand::Dump { file, limit } => {
            let (disk, name) = disk_of(file)?;
            print_lines(*limit, |lines| inspect::dump(&disk, &name, lines))
        }
        StoreCommand::Simulate(flags) => {
            crate::print(&crate::costs::table(&config.compaction, flags));
            Ok(())
        }
    }
}

fn verify(path: &Path) -> Result<(), Error> {
    let (files, bytes, damage) = if path.is_dir() {
        let verified = verify::store(&FileDisk::view(store_in(path)?))?;
        (verified.files, verified.bytes, verified.damage)
    } else {
        let (disk, name) = disk_of(path)?;
        let bytes = store::disk::Disk::len(&disk, &name)?.unwrap_or(0);
        (1, bytes, verify::file(&disk, &name))
    };
    for fault in &damage {
        crate::print(&format!("{fault}\n"));
    }
    match damage.len() {
        0 => {
            crate::print(&format!("{} is sound: {files} files, {bytes} bytes\n", path.display()));
            Ok(())
        }
        places => Err(Error::Damaged { path: path.to_owned(), places }),
    }
}

/// The store's directory in a data directory, or itself.
fn store_in(path: &Path) -> Result<PathBuf, Error> {
    let is_store = |at: &Path| {
        [format_marker::FORMAT_FILE, store::manifest::MANIFEST_FILE]
            .iter()
            .any(|name| at.join(name).exists())
    };
    let inside = path.join("store");
    match (is_store(&inside), is_store(path)) {
        (true, _) => Ok(inside),
        (false, true) => Ok(path.to_owned()),
        (false, false) => Err(Error::NoData(path.to_owned())),
    }
}

/// A file's directory, and its name there.
fn disk_of(file: &Path) -> Result<(FileDisk, String), Error> {
    let none = || Error::NoData(file.to_owned());
    let name = file.file_name().and_then(|name| name.to_str()).filter(|_| file.is_file());
    let name = name.ok_or_else(none)?.to_owned();
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok((FileDisk::view(parent.unwrap_or(Path::new("."))), name))
}

/// Prints what `walk` hands out, up to a limit if it is not 0, and as long as somebody reads.
fn print_lines(
    limit: u64,
    walk: impl FnOnce(&mut inspect::Lines<'_>) -> store::Result<()>,
) -> Result<(), Error> {
    let mut out = BufWriter::new(io::stdout().lock());
    let (mut printed, mut is_read) = (0, true);
    let walked = walk(&mut |line| {
        is_read = is_read && (limit == 0 || printed < limit) && writeln!(out, "{line}").is_ok();
        printed += 1;
        is_read && printed != limit
    });
    // Whoever read has left: that is no fault of ours.
    let _ = out.flush();
    Ok(walked?)
}
