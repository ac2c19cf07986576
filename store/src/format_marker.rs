//! The format marker: a line of text that says which release's layout the data directory has.
//!
//! A later release's directory is refused by it before anything else is looked at, also when all
//! files that this release knows look as they should.
//!
//! Not here: the versions of single files, which each of them carries.

use crate::disk::{self, Disk};
use crate::error::{Error, Result};

/// The marker's file, in the data directory.
pub const FORMAT_FILE: &str = "FORMAT";
/// The layout that this release writes, and the last one it reads.
pub const FORMAT_VERSION: u32 = 1;

const PREFIX: &str = "cumae store format ";
const BYTES_MAX: u64 = 64;

/// Checks the directory's marker; a directory without one gets it.
///
/// # Errors
/// [`Error::NewerFormat`] or [`Error::Corrupt`], with nothing touched; or the operating system's
/// refusal.
pub fn check(disk: &dyn Disk) -> Result<()> {
    if disk.len(FORMAT_FILE)?.is_none() {
        return disk::replace(disk, FORMAT_FILE, format!("{PREFIX}{FORMAT_VERSION}\n").as_bytes());
    }
    read(disk, FORMAT_FILE)
}

/// Checks a marker at a path, and writes none.
///
/// # Errors
/// As [`check`].
pub fn read(disk: &dyn Disk, path: &str) -> Result<()> {
    let bytes = disk::read_all(disk, path, BYTES_MAX)?;
    let version = std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| text.strip_prefix(PREFIX)?.strip_suffix('\n')?.parse::<u32>().ok());
    match version {
        Some(found) if found > FORMAT_VERSION => {
            let path = path.to_owned();
            Err(Error::NewerFormat { path, found, known: FORMAT_VERSION })
        }
        Some(_) => Ok(()),
        None => Err(Error::corrupt(path, 0, "not a format marker")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimDisk;

    #[test]
    fn a_later_releases_directory_is_refused_by_name_and_left_alone() {
        let disk = SimDisk::new(1);
        check(&disk).unwrap();
        check(&disk).unwrap();
        disk.power_cut();
        assert_eq!(disk.bytes_of(FORMAT_FILE).unwrap(), b"cumae store format 1\n");

        disk.overwrite(FORMAT_FILE, b"cumae store format 2\n");
        let calls = disk.calls();
        let error = check(&disk).unwrap_err();
        assert!(matches!(error, Error::NewerFormat { found: 2, known: 1, .. }), "{error}");
        for garbage in [&b""[..], b"cumae store format \n", b"cumae store format 1", b"\xFF\xFF"] {
            disk.overwrite(FORMAT_FILE, garbage);
            assert!(matches!(check(&disk), Err(Error::Corrupt { .. })), "{garbage:?}");
        }
        assert_eq!(disk.calls(), calls);
    }
}
