//! The real binary, killed without a warning: what it acknowledged is there, once.
//!
//! Each sample describes itself: its value and its moment are functions of its writer, series and
//! number, so what is read proves whence it came. `CUMAE_SEED` repeats a run.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[path = "kill9/kinds.rs"]
mod kinds;
#[path = "kill9/load.rs"]
mod load;
#[path = "kill9/rot.rs"]
mod rot;

use bench::http::{self, Connection};
use bench::remote_write::{self, Series};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use tests::process::{Cumae, Launch, PATIENCE, wall_ms};

const ROUNDS: u64 = 10;
/// Every third kill is meant for a flush; one that comes too late does not count.
const ROUNDS_MAX: u64 = 25;
const FLUSHES_HIT: u32 = 3;
const WRITERS: u64 = 3;
const SERIES_PER_REQUEST: u64 = 20;
const SAMPLES_PER_SERIES: u64 = 4;

/// One request: its writer, and its number within that.
type Request = (u64, u64);

/// What was sent over all rounds.
#[derive(Default)]
struct Ledger {
    base_ms: i64,
    sent: BTreeSet<Request>,
    acknowledged: BTreeSet<Request>,
    /// Requests that a start answered after its replay: they may not vanish again.
    seen: BTreeSet<Request>,
}

/// A series' number: writers keep half of their series, and begin the others anew every 8 requests.
fn series_number((_, request): Request, index: u64) -> u64 {
    if index.is_multiple_of(2) { index } else { 1_000 * (1 + request / 8) + index }
}

/// The moment and the value of a sample.
fn sample(base_ms: i64, (writer, request): Request, index: u64, number: u64) -> (i64, f64) {
    let step = i64::try_from(request * SAMPLES_PER_SERIES + number).unwrap();
    let unique = (request * SERIES_PER_REQUEST + index) * SAMPLES_PER_SERIES + number;
    #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
    let value = (((writer + 1) << 40) + unique) as f64;
    (base_ms + step * 100, value)
}

fn body(base_ms: i64, request: Request) -> Vec<u8> {
    let series: Vec<Series> = (0..SERIES_PER_REQUEST)
        .map(|index| {
            let samples: Vec<_> =
                (0..SAMPLES_PER_SERIES).map(|n| sample(base_ms, request, index, n)).collect();
            let writer = request.0.to_string();
            let number = series_number(request, index).to_string();
            Series::new("kept", &[("writer", &writer), ("series", &number)], &samples)
        })
        .collect();
    remote_write::body(&series)
}

/// Sends requests until the process is gone. Returns how many were sent, and which were
/// acknowledged.
fn write(
    address: SocketAddr,
    base_ms: i64,
    writer: u64,
    first: u64,
    told: &SyncSender<()>,
) -> (u64, Vec<u64>) {
    let mut acknowledged = Vec::new();
    let Ok(mut connection) = Connection::open(address) else { return (first, acknowledged) };
    for request in first..first + 100_000 {
        let body = body(base_ms, (writer, request));
        match connection.send("POST", "/api/v1/push", &remote_write::HEADERS, &body) {
            Ok(answer) if answer.status / 100 == 2 => {
                acknowledged.push(request);
                // Nobody listens any more once the kill is under way.
                let _ = told.try_send(());
            }
            Ok(answer) => {
                assert_eq!(answer.status, 503, "{}", answer.text());
                return (request + 1, acknowledged);
            }
            Err(_) => return (request + 1, acknowledged),
        }
    }
    (first + 100_000, acknowledged)
}

/// Reads everything back and says what is wrong; remembers what was seen.
fn check(cumae: &Cumae, ledger: &mut Ledger) -> Vec<String> {
    let mut faults = Vec::new();
    let mut found: BTreeMap<(u64, u64), BTreeMap<i64, f64>> = BTreeMap::new();
    let end_ms = wall_ms();
    for writer in 0..WRITERS {
        let query = format!("kept{{writer=\"{writer}\"}}[2h]");
        let seconds = std::time::Duration::from_millis(end_ms.unsigned_abs()).as_secs_f64();
        let rows = cumae.query(&query, seconds);
        for row in rows.as_array().unwrap() {
            let number: u64 = row["metric"]["series"].as_str().unwrap().parse().unwrap();
            let samples = found.entry((writer, number)).or_default();
            for pair in row["values"].as_array().unwrap() {
                #[expect(clippy::cast_possible_truncation, reason = "milliseconds fit")]
                let timestamp_ms = (pair[0].as_f64().unwrap() * 1e3).round() as i64;
                let value = pair[1].as_str().unwrap().parse().unwrap();
                if samples.insert(timestamp_ms, value).is_some() {
                    faults.push(format!("{writer}/{number} at {timestamp_ms} comes twice"));
                }
            }
        }
    }
    let seen = take_known(ledger, &mut found, &mut faults);
    let must = ledger.acknowledged.union(&ledger.seen);
    faults.extend(must.filter(|r| !seen.contains(r)).map(|r| format!("{r:?} is lost")));
    let left = found.iter().filter(|(_, samples)| !samples.is_empty());
    faults.extend(left.map(|(series, samples)| format!("{series:?}: invented {samples:?}")));
    ledger.seen = seen;
    faults
}

/// Takes what was sent out of `found`. Returns the requests of which everything was there.
fn take_known(
    ledger: &Ledger,
    found: &mut BTreeMap<(u64, u64), BTreeMap<i64, f64>>,
    faults: &mut Vec<String>,
) -> BTreeSet<Request> {
    let mut whole = BTreeSet::new();
    for request in &ledger.sent {
        let mut there = 0;
        for index in 0..SERIES_PER_REQUEST {
            let series = (request.0, series_number(*request, index));
            for number in 0..SAMPLES_PER_SERIES {
                let (timestamp_ms, value) = sample(ledger.base_ms, *request, index, number);
                match found.get_mut(&series).and_then(|samples| samples.remove(&timestamp_ms)) {
                    Some(read) if read.to_bits() == value.to_bits() => there += 1,
                    Some(read) => faults.push(format!("{request:?}: {read} for {value}")),
                    None => {}
                }
            }
        }
        if there == SERIES_PER_REQUEST * SAMPLES_PER_SERIES {
            whole.insert(*request);
        }
    }
    whole
}

/// The names in the store's directories of sstables and checkpoints.
fn flushed_files(data_dir: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for directory in ["sstables", "checkpoints"] {
        let entries = std::fs::read_dir(data_dir.join("store").join(directory)).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path().display().to_string());
        names.extend(paths);
    }
    names
}

/// Asks for a flush, waits until its first file is there, and kills the process under it.
/// Whether the flush was still under way.
fn kill_in_flush(cumae: Cumae) -> bool {
    let before = flushed_files(cumae.data_dir());
    let address = cumae.address();
    let flush = thread::spawn(move || http::request(address, "POST", "/ingester/flush", &[], b""));
    while !flush.is_finished() && flushed_files(cumae.data_dir()) == before {
        thread::yield_now();
    }
    cumae.kill_9();
    flush.join().unwrap().is_err()
}

#[test]
fn ten_kills_lose_nothing_acknowledged_and_double_nothing() {
    let seed = std::env::var("CUMAE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| wall_ms().unsigned_abs());
    println!("CUMAE_SEED={seed}");
    let mut random = seed | 1;
    let mut below = move |bound: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 11) % bound
    };
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = Ledger { base_ms: wall_ms() - 3_600_000, ..Ledger::default() };
    let mut next = [0; 3];
    let mut flushes_hit = 0;
    for round in 0..ROUNDS_MAX {
        if round >= ROUNDS && flushes_hit >= FLUSHES_HIT {
            break;
        }
        let launch = Launch::new(&dir.path().join("data")).config("self_metrics: false\n");
        let cumae = launch.start();
        let faults = check(&cumae, &mut ledger);
        assert_eq!(faults, Vec::<String>::new(), "CUMAE_SEED={seed} round {round}");
        let acknowledged_wanted = 1 + below(150);
        let (told, heard) = sync_channel(1_000);
        let outcomes: Vec<(u64, Vec<u64>)> = thread::scope(|scope| {
            let (address, base_ms) = (cumae.address(), ledger.base_ms);
            let writers: Vec<_> = (0..WRITERS)
                .zip(next)
                .map(|(writer, first)| {
                    let told = told.clone();
                    scope.spawn(move || write(address, base_ms, writer, first, &told))
                })
                .collect();
            for _ in 0..acknowledged_wanted {
                heard.recv_timeout(PATIENCE).unwrap();
            }
            match round % 3 {
                2 => flushes_hit += u32::from(kill_in_flush(cumae)),
                _ => cumae.kill_9(),
            }
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        for ((writer, first), (end, acknowledged)) in (0..).zip(&mut next).zip(outcomes) {
            ledger.sent.extend((*first..end).map(|request| (writer, request)));
            ledger.acknowledged.extend(acknowledged.iter().map(|request| (writer, *request)));
            *first = end;
        }
    }
    let cumae = Launch::new(&dir.path().join("data")).config("self_metrics: false\n").start();
    let faults = check(&cumae, &mut ledger);
    assert_eq!(faults, Vec::<String>::new(), "CUMAE_SEED={seed} at the end");
    assert!(flushes_hit >= FLUSHES_HIT, "CUMAE_SEED={seed}: {flushes_hit} kills hit a flush");
    println!(
        "{flushes_hit} kills in a flush, {} requests acknowledged of {} sent, {} there at the end",
        ledger.acknowledged.len(),
        ledger.sent.len(),
        ledger.seen.len()
    );
}
