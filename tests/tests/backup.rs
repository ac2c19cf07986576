//! Snapshots, backups and bulk loads with the real binary, as an operator's script would.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use bench::remote_write::Series;
use serde_json::Value;
use std::path::Path;
use tests::process::{Cumae, Ended, Launch, wall_ms};

const QUIET: &str = "self_metrics: false\n";

fn start(data: &Path) -> Cumae {
    Launch::new(data).config(QUIET).start()
}

/// A command beside the server, or on its own.
fn command(data: &Path, server: Option<&Cumae>, args: &[&str]) -> Ended {
    let launch = Launch::new(data).args(args.iter().copied());
    match server {
        Some(server) => launch.listen(server.address()).run(),
        None => launch.run(),
    }
}

fn push(cumae: &Cumae, time: i64, value: f64) {
    let series: Vec<Series> = (0..20)
        .map(|n| Series::new("m", &[("n", &n.to_string())], &[(time, value + f64::from(n))]))
        .collect();
    assert_eq!(cumae.push(&series).status, 204);
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of this century")]
fn all(cumae: &Cumae, time: i64) -> (Value, Value) {
    let at = time as f64 / 1e3 + 1.0;
    (cumae.query("m[1h]", at), cumae.query("sum by (n) (count_over_time(m[1h]))", at))
}

#[test]
fn a_snapshot_of_a_running_server_goes_through_a_backup_into_a_new_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (data, backup) = (dir.path().join("data"), dir.path().join("backup"));
    let backup_text = backup.display().to_string();
    let cumae = start(&data);
    let time = wall_ms() - 60_000;
    (0..10).for_each(|turn| push(&cumae, time + turn, 1.0));
    let expected = all(&cumae, time);
    let taken = command(&data, Some(&cumae), &["snapshot", "create"]);
    assert!(taken.is_success(), "{}", taken.log);
    let name = taken.printed.trim();
    (10..20).for_each(|turn| push(&cumae, time + turn, 2.0));
    assert_ne!(all(&cumae, time), expected);

    let listed = command(&data, Some(&cumae), &["snapshot", "list"]);
    assert!(listed.printed.contains(name), "{}", listed.printed);
    let verified = command(&data, Some(&cumae), &["snapshot", "verify", name]);
    assert!(verified.is_success() && verified.printed.contains("is sound"), "{}", verified.log);
    let copied = command(&data, Some(&cumae), &["snapshot", "copy", name, &backup_text]);
    assert!(copied.is_success() && copied.printed.contains(" 0 bytes were there"));
    let again = command(&data, Some(&cumae), &["snapshot", "copy", name, &backup_text]);
    assert!(again.printed.contains("0 files and 0 bytes copied"), "{}", again.printed);
    // A second one, by HTTP, shares what it can.
    let path = "/prometheus/api/v1/admin/tsdb/snapshot";
    let answer = cumae.send("PUT", path, &[], b"");
    assert_eq!(answer.status, 200);
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    let second = answer["data"]["name"].as_str().unwrap();
    let copied = command(&data, Some(&cumae), &["snapshot", "copy", second, &backup_text]);
    assert!(!copied.printed.contains(" 0 bytes were there"), "{}", copied.printed);
    cumae.kill_9();

    let new = dir.path().join("new");
    let new_text = new.display().to_string();
    let from = ["--from", &backup_text];
    let args = [&["snapshot", "restore", name, &new_text][..], &from].concat();
    let restored = command(&data, None, &args);
    assert!(restored.is_success(), "{}", restored.log);
    assert_eq!(all(&start(&new), time), expected);
    let refused = command(&data, None, &args);
    assert!(!refused.is_success() && refused.log.contains("is not empty"), "{}", refused.log);

    flip_a_byte(&backup.join("objects"));
    let damaged = command(&data, None, &[&["snapshot", "verify", name][..], &from].concat());
    let damaged_2 = command(&data, None, &[&["snapshot", "verify", second][..], &from].concat());
    assert!(!damaged.is_success() || !damaged_2.is_success());
    let said = damaged.printed + &damaged_2.printed;
    assert!(said.contains("objects/") && said.contains("at byte"), "{said}");
    let deleted = command(&data, None, &["snapshot", "delete", name]);
    assert!(deleted.is_success(), "{}", deleted.log);
    assert!(!command(&data, None, &["snapshot", "verify", name]).is_success());
}

/// In the largest of them.
fn flip_a_byte(objects: &Path) {
    let files = std::fs::read_dir(objects).unwrap().map(|entry| entry.unwrap().path());
    let largest = files.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&largest, bytes).unwrap();
}

#[test]
fn a_stopped_directory_gives_a_snapshot_too_and_one_without_data_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let nothing = command(&data, None, &["snapshot", "create"]);
    assert!(!nothing.is_success() && nothing.log.contains("holds no data"), "{}", nothing.log);
    let cumae = start(&data);
    let time = wall_ms() - 60_000;
    push(&cumae, time, 1.0);
    let expected = all(&cumae, time);
    cumae.kill_9();
    let taken = command(&data, None, &["snapshot", "create"]);
    assert!(taken.is_success(), "{}", taken.log);
    let new = dir.path().join("new");
    let args = ["snapshot", "restore", taken.printed.trim(), &new.display().to_string()];
    assert!(command(&data, None, &args).is_success());
    assert_eq!(all(&start(&new), time), expected);
}
