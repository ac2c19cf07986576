//! The reference data beside the repository: scripts and answers of other projects.

use std::path::PathBuf;

/// The folder `../shared/<name>` beside the repository, if it is there.
///
/// # Panics
/// Where `CI` is `true` and the folder is missing: there nothing may be skipped.
#[must_use]
pub fn folder(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(name);
    if path.is_dir() {
        return Some(path);
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "../shared/{name} is missing: in CI it has to be there"
    );
    None
}
