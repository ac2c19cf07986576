//! Bytes that rot under a running server, and before a start: what needs them says so, all else is
//! served, and `cumae store` names the place.

use bench::remote_write::Series;
use serde_json::Value;
use std::path::{Path, PathBuf};
use tests::process::{Cumae, Ended, Launch, eventually, wall_ms};

fn launch(data: &Path) -> Launch {
    Launch::new(data).config("self_metrics: false\n")
}

fn store(data: &Path, command: &str, path: &Path) -> Ended {
    let path = path.display().to_string();
    Launch::new(data).args(["store", command, &path]).run()
}

/// The only sstable, when those that it was made of are gone.
fn sstable(data: &Path) -> PathBuf {
    let directory = data.join("store/sstables");
    let paths = || -> Vec<PathBuf> {
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    assert!(eventually(|| paths().len() == 1), "{:?}", paths());
    paths().remove(0)
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// Where the first block of chunks begins (`store/FORMAT.md`): of the metric that sorts first.
fn chunks_block(path: &Path) -> usize {
    let bytes = std::fs::read(path).unwrap();
    let mut at = 16;
    while bytes[at + 8] & 0x7F != 3 {
        at += 9 + u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    }
    at
}

fn series(name: &str, time_ms: i64) -> Series {
    let samples: Vec<(i64, f64)> =
        (0..200_i32).map(|n| (time_ms + i64::from(n), f64::from(n).sin())).collect();
    Series::new(name, &[("job", "j")], &samples)
}

/// What a query of a metric's samples is answered: the status and the whole body.
fn ask(cumae: &Cumae, metric: &str, time_ms: i64) -> (u16, String) {
    let at = (time_ms / 1000 + 60).to_string();
    let form = [("query", format!("{metric}[1h]")), ("time", at)];
    let form: Vec<(&str, &str)> = form.iter().map(|(key, text)| (*key, text.as_str())).collect();
    let answer = cumae.get(&format!("/api/v1/query?{}", bench::http::form(&form)));
    (answer.status, answer.text())
}

#[test]
fn a_byte_that_rots_under_a_server_is_told_to_who_needs_it_and_to_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let time_ms = wall_ms() - 600_000;
    let mut cumae = launch(&data).start();
    assert_eq!(cumae.push(&[series("aching", time_ms), series("sound", time_ms)]).status, 204);
    let (before, aching) = (ask(&cumae, "sound", time_ms), ask(&cumae, "aching", time_ms));
    assert!(before.0 == 200 && before.1.contains("0.8414709848"), "{before:?}");
    assert_eq!(cumae.send("POST", "/ingester/flush?seal=true", &[], b"").status, 204);
    let path = sstable(&data);
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(store(&data, "verify", &data).is_success());
    let at = chunks_block(&path);
    flip(&path, at + 9);

    // What was read before may still be in memory; after a start nothing is.
    for round in 0..2 {
        let told = ask(&cumae, "aching", time_ms);
        assert!(
            round == 0 && told == aching || told.0 == 503 && told.1.contains(&name),
            "{told:?}"
        );
        assert_eq!(ask(&cumae, "sound", time_ms), before, "round {round}");
        let labels: Value = cumae.api("label/__name__/values", &[]);
        assert_eq!(labels["data"], serde_json::json!(["aching", "sound"]), "round {round}");
        assert_eq!(cumae.get("/-/healthy").status, 200, "round {round}");
        if round == 0 {
            cumae.kill_9();
            cumae = launch(&data).start();
        }
    }
    assert_eq!(cumae.push(&[series("new", time_ms)]).status, 204);
    assert_eq!(ask(&cumae, "new", time_ms).0, 200);
    assert!(cumae.get("/metrics").text().contains("\ncumae_store_damaged_blocks 1\n"));
    let place = format!("`sstables/{name}` is damaged at byte {at}");
    let is_logged = |line: &str| line.contains("ERROR") && line.contains(&place);
    assert!(eventually(|| cumae.log().lines().any(is_logged)), "{place}\n{}", cumae.log());
    for what in [&data, &path] {
        let verified = store(&data, "verify", what);
        let said = format!("{}{}", verified.printed, verified.log);
        assert!(!verified.is_success() && said.contains(&format!("at byte {at}")), "{said}");
        assert!(said.contains(&name), "{said}");
    }
    // People at night may look all the same.
    assert!(store(&data, "inspect", &path).printed.contains("checksum mismatch: chunks block"));
    assert!(store(&data, "dump", &path).printed.contains("sound"));
    assert!(cumae.terminate().is_success());
}

#[test]
fn a_record_that_rots_before_a_start_is_told_and_no_import_wipes_it_away() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let time_ms = wall_ms() - 600_000;
    let cumae = launch(&data).start();
    for name in ["before", "aching", "behind"] {
        assert_eq!(cumae.push(&[series(name, time_ms)]).status, 204);
    }
    cumae.kill_9();
    let mut logs = std::fs::read_dir(data.join("store/log")).unwrap();
    let log = logs.next().unwrap().unwrap().path();
    let bytes = std::fs::read(&log).unwrap();
    flip(&log, bytes.windows(6).position(|text| text == b"aching").unwrap());

    let text = dir.path().join("more.om");
    std::fs::write(&text, format!("# TYPE more gauge\nmore 1 {}\n# EOF\n", time_ms / 1000))
        .unwrap();
    let import = Launch::new(&data).args(["import", "openmetrics", &text.display().to_string()]);
    let refused = import.run();
    assert!(!refused.is_success() && refused.log.contains("log are lost"), "{}", refused.log);

    let cumae = launch(&data).start();
    let place = log.file_name().unwrap().to_str().unwrap().to_owned();
    let is_logged = |line: &str| line.contains("ERROR") && line.contains(&place);
    assert!(eventually(|| cumae.log().lines().any(is_logged)), "{place}\n{}", cumae.log());
    assert!(cumae.get("/metrics").text().contains("\ncumae_store_log_damaged 1\n"));
    for (name, is_there) in [("before", true), ("aching", false), ("behind", true)] {
        assert_eq!(ask(&cumae, name, time_ms).1.contains("0.8414709848"), is_there, "{name}");
    }
    assert!(cumae.terminate().is_success());
}
