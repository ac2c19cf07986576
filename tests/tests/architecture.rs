//! Holds the workspace to the map in ARCHITECTURE.md: which crate may know which.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tests::process::workspace;

/// Our crates, and which of ours each may name.
const KNOWS: [(&str, &[&str]); 14] = [
    ("model", &[]),
    ("bench", &[]),
    ("store", &["model"]),
    ("import", &["model", "store"]),
    ("cluster", &["model"]),
    ("promql", &["model"]),
    ("promqltest", &["promql", "model"]),
    ("guard", &["model"]),
    ("wire", &["cluster", "guard", "model"]),
    ("distributor", &["wire", "cluster", "guard", "model"]),
    ("ingester", &["wire", "store", "cluster", "guard", "model"]),
    ("querier", &["wire", "promql", "cluster", "guard", "model"]),
    ("node", &EVERYTHING),
    ("tests", &EVERYTHING),
];

const EVERYTHING: [&str; 13] = [
    "model",
    "bench",
    "import",
    "store",
    "cluster",
    "promql",
    "promqltest",
    "guard",
    "wire",
    "distributor",
    "ingester",
    "querier",
    "node",
];

/// A workspace of its own: it needs a nightly compiler.
const FUZZ: &str = "fuzz";

/// Crates that decide, and what would make them do: I/O, tasks, formats.
const PURE: [&str; 5] = ["store", "cluster", "promql", "promqltest", "model"];
const DOING: [&str; 8] =
    ["tokio", "tokio-util", "axum", "hyper", "hyper-util", "tower-http", "serde", "serde_json"];

/// The sections of a manifest, each with its keys and their values.
type Manifest = BTreeMap<String, BTreeMap<String, String>>;

/// Reads as much TOML as manifests use: sections, and keys with a value on one line. A dependency
/// written as `name.workspace` has the key `name`.
fn manifest(path: &Path) -> Manifest {
    let text = std::fs::read_to_string(path).unwrap();
    let mut sections = Manifest::new();
    let mut section = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((key, value)) = line.split_once('=') {
            let key = key.trim().trim_matches('"');
            let key = key.strip_suffix(".workspace").unwrap_or(key);
            sections
                .entry(section.clone())
                .or_default()
                .insert(key.to_owned(), value.trim().to_owned());
        }
    }
    sections
}

fn of_crate(name: &str) -> Manifest {
    manifest(&workspace().join(name).join("Cargo.toml"))
}

fn keys<'m>(manifest: &'m Manifest, section: &str) -> Vec<&'m str> {
    manifest.get(section).into_iter().flat_map(|keys| keys.keys().map(String::as_str)).collect()
}

#[test]
fn the_crates_are_those_of_the_map() {
    let on_disk: BTreeSet<String> = std::fs::read_dir(workspace())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("Cargo.toml").exists())
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| name != FUZZ)
        .collect();
    let on_the_map: BTreeSet<String> = KNOWS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(on_disk, on_the_map);
}

#[test]
fn imports_point_one_way() {
    for (name, knows) in KNOWS {
        let manifest = of_crate(name);
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for dependency in keys(&manifest, section) {
                let is_ours = KNOWS.iter().any(|(ours, _)| *ours == dependency);
                assert!(
                    !is_ours || knows.contains(&dependency),
                    "{name} names {dependency} in [{section}] and may know only {knows:?}"
                );
            }
        }
    }
}

#[test]
fn deciders_know_no_runtime_no_http_and_no_serde() {
    for name in PURE {
        let manifest = of_crate(name);
        for dependency in keys(&manifest, "dependencies") {
            assert!(!DOING.contains(&dependency), "{name} depends on {dependency}");
        }
    }
}

#[test]
fn every_crate_takes_the_lints_and_the_versions_of_the_workspace() {
    let root = manifest(&workspace().join("Cargo.toml"));
    for (name, _) in KNOWS {
        let manifest = of_crate(name);
        assert_eq!(keys(&manifest, "lints"), ["workspace"], "{name}");
        for (section, entries) in &manifest {
            if !section.ends_with("dependencies") {
                continue;
            }
            for (dependency, value) in entries {
                // A crate may add features, in its tests above all; never a version of its own.
                let from_root = value == "true"
                    || value == "{ workspace = true, optional = true }"
                    || value.starts_with("{ workspace = true, features = [");
                assert!(from_root, "{name}: {dependency} takes its version from the root: {value}");
                assert!(root["workspace.dependencies"].contains_key(dependency), "{dependency}");
            }
        }
    }
}

#[test]
fn cargo_run_is_cumae_whatever_else_is_added() {
    let root = manifest(&workspace().join("Cargo.toml"));
    assert_eq!(root["workspace"]["default-members"], "[\"node\"]");
    assert_eq!(of_crate("node")["package"]["default-run"], "\"cumae\"");
}

#[test]
fn each_direct_dependency_has_its_reason_in_the_docs() {
    let reasons = std::fs::read_to_string(workspace().join("docs/DEPENDENCIES.md")).unwrap();
    let root = manifest(&workspace().join("Cargo.toml"));
    let used: BTreeSet<String> = KNOWS
        .iter()
        .flat_map(|(name, _)| of_crate(name))
        .filter(|(section, _)| section.ends_with("dependencies"))
        .flat_map(|(_, entries)| entries.into_keys())
        .filter(|name| !KNOWS.iter().any(|(ours, _)| ours == name))
        .collect();
    for name in &used {
        assert!(reasons.contains(&format!("| `{name}` |")), "{name} has no line");
    }
    for name in root["workspace.dependencies"].keys() {
        let is_ours = KNOWS.iter().any(|(ours, _)| ours == name);
        assert!(is_ours || used.contains(name), "{name} is declared and nobody uses it");
    }
}

#[test]
fn no_file_names_a_path_of_somebodys_machine() {
    let roots = [["/ho", "me/"], ["/ro", "ot/"], ["/wo", "rk/"], ["/Us", "ers/"]];
    let mut files = Vec::new();
    text_files(workspace(), &mut files);
    assert!(files.len() > 50, "{} files found", files.len());
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        for root in &roots {
            assert!(!text.contains(&root.concat()), "{}: {}", file.display(), root.concat());
        }
    }
}

fn text_files(dir: &Path, files: &mut Vec<PathBuf>) {
    const TEXT: [&str; 8] = ["rs", "toml", "md", "yaml", "yml", "py", "sh", "json"];
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let name = entry.file_name().into_string().unwrap();
        if path.is_dir() {
            if !["target", ".git", ".cache", "cumae-data"].contains(&name.as_str()) {
                text_files(&path, files);
            }
        } else if TEXT.iter().any(|ending| name.ends_with(&format!(".{ending}"))) || name == "run" {
            files.push(path);
        }
    }
}
