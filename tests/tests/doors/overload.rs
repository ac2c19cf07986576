//! Too many writes: O1, O2 and O7 in a few seconds, B7 and B12 at the door of a real process.

use super::bomb::{answer_max, beside_another};
use bench::http::Connection;
use bench::remote_write::{HEADERS, Series, body, compress};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};
use tests::process::{Cumae, Launch, is_released, now, wall_ms};

pub(super) fn launched(dir: &tempfile::TempDir, config: &str) -> Cumae {
    let config = format!("self_metrics: false\n{config}");
    Launch::new(&dir.path().join("data")).config(&config).start()
}

pub(super) fn percentile(sorted: &[Duration], percent: usize) -> Duration {
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
    let start_ms = wall_ms() - 600_000;
    let sends = |sender: i64, stop: &AtomicBool, began: Instant| {
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
    let storm = |senders: std::ops::Range<i64>| -> Vec<(i64, usize, Vec<Duration>)> {
        let (sends, stop, began) = (&sends, &AtomicBool::new(false), now());
        thread::scope(|scope| {
            let start = |sender| scope.spawn(move || sends(sender, stop, began));
            let senders: Vec<_> = senders.map(start).collect();
            while began.elapsed() < Duration::from_secs(3) {
                assert_eq!(cumae.get("/-/ready").status, 200);
            }
            stop.store(true, Relaxed);
            senders.into_iter().map(|sender| sender.join().unwrap()).collect()
        })
    };
    let peak: usize = storm(16..18).iter().map(|(_, taken, _)| taken).sum();
    let ended = storm(0..16);
    let taken: usize = ended.iter().map(|(_, taken, _)| taken).sum();
    let mut refusals: Vec<Duration> = ended.iter().flat_map(|(_, _, all)| all.clone()).collect();
    refusals.sort_unstable();
    let (p50, p99) = (percentile(&refusals, 50), percentile(&refusals, 99));
    let more = cumae.rss_bytes().saturating_sub(before) >> 20;
    println!(
        "{taken} taken ({peak} of two senders), {} refused: p50 {p50:?}, p99 {p99:?}; {more} MiB more",
        refusals.len()
    );
    assert!(taken > 20 && refusals.len() > 20, "{taken} taken, {} refused", refusals.len());
    // Sixteen senders and the process share two processors: it is the median that says what we do.
    assert!(p50 < Duration::from_millis(100), "{p50:?}");
    assert!(3 * taken > peak, "{taken} taken, {peak} of two senders alone");
    assert!(more < 64, "{more} MiB");
    // Right after it everything is as before, and everything that was acknowledged is there.
    let asked = now();
    let one = Series::new("after", &[], &[(wall_ms(), 1.0)]);
    assert_eq!(cumae.push(&[one]).status, 204);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    for (sender, taken, _) in ended.iter().filter(|(_, taken, _)| *taken > 0) {
        assert_eq!(count(&cumae, *sender), format!("\"{taken}\""), "sender {sender}");
    }
}

/// How many samples of a sender there are, as they are told.
fn count(cumae: &Cumae, sender: i64) -> String {
    let query = format!("count_over_time(storm{{sender=\"{sender}\"}}[1h])");
    let time_s = Duration::from_millis(wall_ms().unsigned_abs()).as_secs_f64();
    cumae.query(&query, time_s)[0]["value"][1].to_string()
}

#[test]
fn b7_a_flood_of_new_series_over_the_limit_costs_little_and_known_ones_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let limit = "overrides: {flood: {max_series: 1000}}\n";
    let cumae = super::bomb::launched(&dir, limit);
    let at = wall_ms();
    let of = |from: u32, count: u32| -> Vec<Series> {
        // Long enough to be noticed if one of them is kept.
        let names = (from..from + count).map(|number| format!("{number:0500}"));
        names.map(|name| Series::new("m", &[("i", &name)], &[(at, 1.0)])).collect()
    };
    let push = |series: &[Series]| cumae.push_as("flood", series);
    assert_eq!(push(&of(0, 1_000)).status, 204, "at the limit");
    let over = push(&of(1_000, 1));
    assert_eq!(over.status, 400, "one past it");
    assert!(over.text().contains("limit of 1000 open series (max_series)"), "{}", over.text());
    let (floods, each) = (40, 5_000);
    let flood = |number: u32| {
        let series = of(2_000 + number * each, each);
        let began = now();
        let answer = push(&series);
        let took = began.elapsed();
        assert_eq!(answer.status, 400);
        assert!(answer.text().starts_with("5000 of 5000 samples refused"), "{}", answer.text());
        assert_eq!(push(&of(0, 1_000)).status, 204, "known series go on");
        took
    };
    // What the first ones take is taken once.
    (0..4).for_each(|number| assert!(flood(number) < answer_max()));
    let before = cumae.rss_bytes();
    let (took, _, _, slowest) =
        beside_another(&cumae, || (4..floods).map(flood).collect::<Vec<_>>());
    let more = cumae.rss_bytes().saturating_sub(before);
    let refused = u64::from((floods - 4) * each);
    println!("{} bytes a refused series, {took:?}, {slowest:?} beside it", more / refused);
    assert!(more < 100 * refused, "{more} bytes for {refused} refused series");
    assert!(took.iter().all(|took| *took < answer_max()), "{took:?}");
    assert!(slowest < answer_max(), "{slowest:?}");
    let query = format!("/api/v1/query?query=count(m)&time={}", at / 1_000 + 1);
    let answer = cumae.send("GET", &query, &[("X-Scope-OrgID", "flood")], b"");
    assert!(answer.text().contains("\"1000\"]"), "{}", answer.text());
}

/// One series of a tenant; the status, and whether it comes too soon. Who is turned away before its
/// body is read needs a new connection, and is told when to come back.
fn begin(cumae: &Cumae, tenant: &str) -> (u16, bool) {
    let answer = cumae.push_as(tenant, &[Series::new("up", &[], &[(wall_ms(), 1.0)])]);
    assert_eq!(answer.status == 503, answer.header("retry-after").is_some(), "{}", answer.text());
    (answer.status, answer.text().contains("new_tenants_per_second"))
}

#[test]
fn b12_tenants_of_one_series_each_take_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    let cumae = super::bomb::launched(&dir, "write: {new_tenants_per_second: 0}\n");
    let write = |tenant: &str| assert_eq!(begin(&cumae, tenant).0, 204);
    (0..500).for_each(|number| write(&format!("first-{number}")));
    // So many that what is made once and what grows by doubling is not much of it.
    let (tenants, most) = if is_released() { (10_000, 5 << 10) } else { (4_000, 6 << 10) };
    let before = cumae.rss_bytes();
    let ((), _, _, slowest) = beside_another(&cumae, || {
        (0..tenants).for_each(|number| write(&format!("tenant-{number}")));
    });
    let each = cumae.rss_bytes().saturating_sub(before) / tenants;
    println!("{each} bytes a tenant, {slowest:?} beside it");
    assert!(each <= most, "{each} bytes a tenant");
    assert!(slowest < answer_max(), "{slowest:?}");
}

#[test]
fn b12_so_many_tenants_begin_and_more_are_told_to_come_back_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = "write: {new_tenants_per_second: 2, max_tenants: 25}\n";
    let cumae = super::bomb::launched(&dir, config);
    let (mut taken, mut refused, mut full) = (Vec::new(), 0, 0);
    let ((), took, _, slowest) = beside_another(&cumae, || {
        for number in 0..1_000 {
            let tenant = format!("tenant-{number}");
            match begin(&cumae, &tenant) {
                (204, _) => taken.push(tenant),
                (503, true) => refused += 1,
                (503, false) => full += 1,
                other => panic!("{other:?}"),
            }
        }
    });
    println!("{} taken, {refused} are too soon, {full} too many, in {took:?}", taken.len());
    // Ten seconds' worth at once, and two more a second however long that takes.
    assert!((15..=25).contains(&taken.len()), "{}", taken.len());
    assert!(refused > 100 && slowest < answer_max(), "{refused}, {slowest:?}");
    // Those that are known go on, and so does what comes before them.
    assert!(taken.iter().all(|tenant| begin(&cumae, tenant).0 == 204));
    let before = cumae.rss_bytes();
    let late = (0..5_000).filter(|number| begin(&cumae, &format!("more-{number}")).0 == 204);
    assert!(taken.len() + late.count() <= 25, "they were not full before");
    let more = cumae.rss_bytes().saturating_sub(before);
    println!("{} bytes a tenant that was refused", more / 5_000);
    assert!(more < 5_000 * 512, "{more} bytes");
}
