//! Writes meant to do harm, or simply too many: O1, O2, O3 and O7 in a few seconds, B1, B3, B6, B7 and
//! B12 at the door of a real process.

use super::bomb::{field, rise};
use bench::http::Connection;
use bench::remote_write::{HEADERS, Series, body, compress};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;
use tests::process::{Cumae, Launch, now, wall_ms};

fn launched(dir: &tempfile::TempDir, config: &str) -> Cumae {
    let config = format!("self_metrics: false\n{config}");
    Launch::new(&dir.path().join("data")).config(&config).start()
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted.get(sorted.len() * percent / 100).or(sorted.last()).copied().unwrap_or_default()
}

/// A body of about a mebibyte that says little: its metadata is passed over.
fn large(series: &Series) -> Vec<u8> {
    let message =
        snap::raw::Decoder::new().decompress_vec(&body(std::slice::from_ref(series))).unwrap();
    let padding = [0x78, 0x01].repeat(512 << 10);
    compress(&[message, padding].concat())
}

#[test]
fn o1_o2_o7_a_storm_of_retries_is_refused_quickly_loses_nothing_acknowledged_and_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    // Room for two of them at once.
    let cumae = launched(&dir, "write: {memory: 5MiB}\n");
    let before = cumae.rss_bytes();
    let (stop, began) = (AtomicBool::new(false), now());
    let start_ms = wall_ms() - 600_000;
    let storm = |sender: i64| {
        let mut connection = Connection::open(cumae.address()).unwrap();
        let (mut taken, mut refusals) = (Vec::new(), Vec::new());
        while !stop.load(Relaxed) && began.elapsed() < Duration::from_secs(20) {
            let at = start_ms + i64::try_from(taken.len()).unwrap();
            let name = sender.to_string();
            let body = large(&Series::new("storm", &[("sender", &name)], &[(at, 1.0)]));
            let asked = now();
            let answer = connection.send("POST", "/api/v1/push", &HEADERS, &body).unwrap();
            match answer.status {
                204 => taken.push(at),
                503 => {
                    refusals.push(asked.elapsed());
                    assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
                }
                other => panic!("{other}: {}", answer.text()),
            }
        }
        (sender, taken.len(), refusals)
    };
    let ended: Vec<_> = thread::scope(|scope| {
        let senders: Vec<_> = (0..16).map(|sender| scope.spawn(move || storm(sender))).collect();
        let pause = now();
        while pause.elapsed() < Duration::from_secs(3) {
            assert_eq!(cumae.get("/-/ready").status, 200);
        }
        stop.store(true, Relaxed);
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    let taken: usize = ended.iter().map(|(_, taken, _)| taken).sum();
    let mut refusals: Vec<Duration> = ended.iter().flat_map(|(_, _, all)| all.clone()).collect();
    refusals.sort_unstable();
    let (p50, p99) = (percentile(&refusals, 50), percentile(&refusals, 99));
    let more = cumae.rss_bytes().saturating_sub(before) >> 20;
    println!(
        "{taken} taken, {} refused: p50 {p50:?}, p99 {p99:?}; {more} MiB more",
        refusals.len()
    );
    assert!(taken > 20 && refusals.len() > 20, "{taken} taken, {} refused", refusals.len());
    // Sixteen senders and the process share two processors: it is the median that says what we do.
    assert!(p50 < Duration::from_millis(100), "{p50:?}");
    assert!(more < 64, "{more} MiB");
    // Right after it everything is as before, and everything that was acknowledged is there.
    let asked = now();
    let one = Series::new("after", &[], &[(wall_ms(), 1.0)]);
    assert_eq!(cumae.push(&[one]).status, 204);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    for (sender, taken, _) in ended.iter().filter(|(_, taken, _)| *taken > 0) {
        let query = format!("count_over_time(storm{{sender=\"{sender}\"}}[1h])");
        let time_s = Duration::from_millis(wall_ms().unsigned_abs()).as_secs_f64();
        let count = cumae.query(&query, time_s)[0]["value"][1].to_string();
        assert_eq!(count, format!("\"{taken}\""), "sender {sender}");
    }
}

/// How long a hundred small writes of a tenant take, ascending; each has to be taken.
fn small_writes(cumae: &Cumae, tenant: &str) -> Vec<Duration> {
    let mut connection = Connection::open(cumae.address()).unwrap();
    let mut headers = HEADERS.to_vec();
    headers.push(("X-Scope-OrgID", tenant));
    let mut took: Vec<Duration> = (0..100)
        .map(|round| {
            let at = wall_ms() - 1_000 + round;
            let names: Vec<String> = (0..50).map(|number: u32| number.to_string()).collect();
            let series: Vec<Series> =
                names.iter().map(|name| Series::new("w", &[("i", name)], &[(at, 1.0)])).collect();
            let body = body(&series);
            let began = now();
            let answer = connection.send("POST", "/api/v1/push", &headers, &body).unwrap();
            assert_eq!(answer.status, 204, "{}", answer.text());
            began.elapsed()
        })
        .collect();
    took.sort_unstable();
    took
}

#[test]
fn o3_a_tenant_that_writes_far_over_its_rate_fails_nothing_and_stalls_nothing_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let config = "tenancy: multi\noverrides: {noisy: {ingestion_rate: 5000}}\n";
    let cumae = launched(&dir, config);
    let alone = small_writes(&cumae, "small");
    let stop = AtomicBool::new(false);
    let noise = |number: i64| {
        let mut connection = Connection::open(cumae.address()).unwrap();
        let mut headers = HEADERS.to_vec();
        headers.push(("X-Scope-OrgID", "noisy"));
        let names: Vec<String> = (0..2_000).map(|at| format!("{number}-{at}")).collect();
        let at = wall_ms();
        let series: Vec<Series> =
            names.iter().map(|name| Series::new("n", &[("i", name)], &[(at, 1.0)])).collect();
        let body = body(&series);
        let (mut taken, mut refused) = (0, 0);
        let began = now();
        while !stop.load(Relaxed) && began.elapsed() < Duration::from_secs(30) {
            let answer = connection.send("POST", "/api/v1/push", &headers, &body).unwrap();
            match answer.status {
                204 => taken += 1,
                429 => {
                    refused += 1;
                    assert!(answer.header("retry-after").is_some());
                }
                other => panic!("{other}: {}", answer.text()),
            }
        }
        (taken, refused)
    };
    let (beside, noisy) = thread::scope(|scope| {
        let noisy: Vec<_> = (0..4).map(|number| scope.spawn(move || noise(number))).collect();
        let beside = small_writes(&cumae, "small");
        stop.store(true, Relaxed);
        let noisy: Vec<(u32, u32)> = noisy.into_iter().map(|one| one.join().unwrap()).collect();
        (beside, noisy)
    });
    let refused: u32 = noisy.iter().map(|(_, refused)| refused).sum();
    let told = |took: &[Duration]| (percentile(took, 50), percentile(took, 99));
    println!("alone {:?}, beside {:?}, {noisy:?}", told(&alone), told(&beside));
    assert!(refused > 20, "{noisy:?}");
    let (p50, p99) = told(&alone);
    assert!(percentile(&beside, 50) < p50 * 2 + Duration::from_millis(100), "{beside:?}");
    assert!(percentile(&beside, 99) < p99 * 2 + Duration::from_millis(400), "{beside:?}");
}

fn label(name: &[u8], value: &[u8]) -> Vec<u8> {
    field(1, &[field(1, name), field(2, value)].concat())
}

#[test]
fn b1_b3_b5_b6_bodies_that_claim_or_hold_too_much_take_no_memory_and_no_time() {
    let dir = tempfile::tempdir().unwrap();
    let cumae = launched(&dir, "");
    assert!(small_writes_alone(&cumae));
    // A snappy header of 2.52 GiB before 42 bytes of nothing.
    let claims = [&[0xb2, 0xa9, 0x8c, 0x83, 0x0a][..], &[0; 42]].concat();
    let series = |content: &[u8]| compress(&field(1, content));
    let named = label(b"__name__", b"m");
    let sample = field(2, &[&[0x09][..], &1.0_f64.to_le_bytes(), &[0x10, 0x01]].concat());
    let of_labels =
        |labels: Vec<Vec<u8>>| series(&[named.clone(), labels.concat(), sample.clone()].concat());
    let names: Vec<String> = (0..10_000).map(|number| format!("l{number}")).collect();
    // A span of a thousand million buckets, and a million spans.
    let wide = field(
        4,
        &[field(11, &[0x08, 0x00, 0x10, 0x80, 0x94, 0xeb, 0xdc, 0x03]), vec![0x78, 0x01]].concat(),
    );
    let spans = field(4, &[field(11, &[]).repeat(1_000_000), vec![0x78, 0x01]].concat());
    let million = 1_000_000;
    let rows: Vec<(&str, Vec<u8>, u16)> = vec![
        ("a header of 2.5 GiB", claims, 413),
        ("sixteen million empty series", compress(&[0x0a, 0x00].repeat(16 * million)), 413),
        ("ten million empty samples", series(&[0x12, 0x00].repeat(10 * million)), 413),
        ("ten million empty labels", series(&[0x0a, 0x00].repeat(10 * million)), 204),
        ("nested groups", compress(&[0x7b].repeat(10 * million)), 400),
        ("a varint without an end", compress(&[0xff].repeat(million)), 400),
        ("a length past the end", compress(&[0x0a, 0xff, 0xff, 0xff, 0x7f, 0x00]), 400),
        ("a span of 10^9 buckets", series(&[named.clone(), wide].concat()), 400),
        ("a million spans", series(&[named.clone(), spans].concat()), 400),
        ("a name of 1 MiB", of_labels(vec![label(&vec![b'n'; 1 << 20], b"v")]), 400),
        ("a value of 16 MiB", of_labels(vec![label(b"n", &vec![b'v'; 16 << 20])]), 400),
        (
            "10,000 labels",
            of_labels(names.iter().map(|name| label(name.as_bytes(), b"v")).collect()),
            400,
        ),
        ("a value that is no text", of_labels(vec![label(b"n", b"\xff\xfe")]), 400),
        ("a name twice", of_labels(vec![named.clone()]), 400),
        ("a body over its limit", vec![0; (32 << 20) + 1], 413),
    ];
    for (what, bytes, status) in &rows {
        let ((answer, took), more) = rise(&cumae, || {
            let began = now();
            (cumae.send("POST", "/api/v1/push", &HEADERS, bytes), began.elapsed())
        });
        println!("{what}: {} in {took:?}, {} MiB more", answer.status, more >> 20);
        assert_eq!(answer.status, *status, "{what}: {:.300}", answer.text());
        assert!(answer.body.len() < 4_200, "{what}");
        assert!(took < Duration::from_secs(5), "{what}: {took:?}");
        assert!(more < 2 * (32 << 20) + (16 << 20), "{what}: {} MiB", more >> 20);
        assert!(small_writes_alone(&cumae));
    }
}

fn small_writes_alone(cumae: &Cumae) -> bool {
    cumae.push(&[Series::new("up", &[], &[(wall_ms(), 1.0)])]).status == 204
}

#[test]
fn b7_a_flood_of_new_series_over_the_limit_costs_little_and_known_ones_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let cumae = launched(&dir, "limits: {max_series: 1000}\n");
    let at = wall_ms();
    let of = |from: u32, count: u32| -> Vec<Series> {
        let names = (from..from + count).map(|number| number.to_string());
        names.map(|name| Series::new("m", &[("i", &name)], &[(at, 1.0)])).collect()
    };
    assert_eq!(cumae.push(&of(0, 1_000)).status, 204, "at the limit");
    let over = cumae.push(&of(1_000, 1));
    assert_eq!(over.status, 400, "one past it");
    assert!(over.text().contains("limit of 1000 open series (max_series)"), "{}", over.text());
    let before = cumae.rss_bytes();
    let (floods, each) = (20, 5_000);
    let mut took = Vec::new();
    for flood in 0..floods {
        let began = now();
        let answer = cumae.push(&of(2_000 + flood * each, each));
        took.push(began.elapsed());
        assert_eq!(answer.status, 400);
        assert!(answer.text().starts_with("5000 of 5000 samples refused"), "{}", answer.text());
        assert_eq!(cumae.push(&of(0, 1_000)).status, 204, "known series go on");
    }
    let more = cumae.rss_bytes().saturating_sub(before);
    println!("{} MiB for {} refused series, {took:?}", more >> 20, floods * each);
    assert!(more < 32 << 20, "{} MiB", more >> 20);
    let count = cumae.query("count(m)", Duration::from_millis(at.unsigned_abs()).as_secs_f64());
    assert_eq!(count[0]["value"][1], "1000");
}

#[test]
fn b12_thousands_of_tenants_of_one_series_each_take_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    let cumae = launched(&dir, "tenancy: multi\n");
    let mut connection = Connection::open(cumae.address()).unwrap();
    let body = body(&[Series::new("up", &[], &[(wall_ms(), 1.0)])]);
    let mut write = |tenant: &str| {
        let mut headers = HEADERS.to_vec();
        headers.push(("X-Scope-OrgID", tenant));
        let answer = connection.send("POST", "/api/v1/push", &headers, &body).unwrap();
        assert_eq!(answer.status, 204, "{}", answer.text());
    };
    (0..200).for_each(|number| write(&format!("first-{number}")));
    let (before, tenants) = (cumae.rss_bytes(), 2_000);
    (0..tenants).for_each(|number| write(&format!("tenant-{number}")));
    let each = cumae.rss_bytes().saturating_sub(before) / tenants;
    println!("{each} bytes a tenant");
    assert!(each < 64 << 10, "{each} bytes a tenant");
}
