//! O3: a tenant that writes twenty times what it may beside one that writes a third of what the machine bears.

use super::overload::{launched, percentile};
use bench::http::Connection;
use bench::remote_write::{HEADERS, Series, body};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};
use tests::process::{Cumae, is_released, now, wall_ms};

/// A round is so many writes, one each ten milliseconds.
const WRITES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);
/// So many times it is measured alone and beside the other by turns: the median counts.
const TIMES: usize = 5;
const CONNECTIONS: u32 = 4;

/// What the noisy tenant does: 50 requests a second of 2,000 samples, its limit being 5,000; or a million new
/// series a minute, of which it may have a twentieth.
const NOISES: [(&str, &str, Duration); 2] = [
    ("far over its rate", "ingestion_rate: 5000", Duration::from_millis(20)),
    ("new series", "max_series: 50000", Duration::from_millis(120)),
];

fn samples(name: &str, first: u32, len: u32) -> Vec<u8> {
    let at = wall_ms();
    let of = |number: u32| Series::new(name, &[("i", &number.to_string())], &[(at, 1.0)]);
    body(&(first..first + len).map(of).collect::<Vec<_>>())
}

fn wait_until(due: Instant) {
    while now() < due {
        thread::park_timeout(due - now());
    }
}

/// How long the small tenant's writes take, ascending; each has to be taken.
fn small_writes(cumae: &Cumae) -> Vec<Duration> {
    let len = if is_released() { 5_000 } else { 500 };
    let bodies: Vec<Vec<u8>> = (0..WRITES).map(|_| samples("w", 0, len)).collect();
    let mut connection = Connection::open(cumae.address()).unwrap();
    let mut headers = HEADERS.to_vec();
    headers.push(("X-Scope-OrgID", "small"));
    let start = now();
    let mut took: Vec<Duration> = (0..)
        .zip(&bodies)
        .map(|(number, body)| {
            wait_until(start + PAUSE * number);
            let began = now();
            let answer = connection.send("POST", "/api/v1/push", &headers, body).unwrap();
            assert_eq!(answer.status, 204, "{}", answer.text());
            began.elapsed()
        })
        .collect();
    took.sort_unstable();
    took
}

/// Sends what is not the small tenant's over a connection, so often, until it is stopped; how many of it
/// were refused.
fn noise(
    cumae: &Cumae,
    bodies: &[Vec<u8>],
    every: Duration,
    next: &AtomicU32,
    stop: &AtomicBool,
) -> u32 {
    let mut connection = Connection::open(cumae.address()).unwrap();
    let mut headers = HEADERS.to_vec();
    headers.push(("X-Scope-OrgID", "noisy"));
    let (start, mut refused) = (now(), 0);
    for number in 0.. {
        wait_until(start + every * number);
        if stop.load(Relaxed) || start.elapsed() > Duration::from_secs(30) {
            break;
        }
        let index = next.fetch_add(1, Relaxed) as usize;
        let answer =
            connection.send("POST", "/api/v1/push", &headers, &bodies[index % bodies.len()]);
        let answer = answer.unwrap();
        assert!(matches!(answer.status, 204 | 400 | 429), "{}", answer.text());
        refused += u32::from(answer.status != 204);
    }
    refused
}

/// What may be beyond the ratio: what is released is measured alone, and may be two ticks late.
fn slack() -> Duration {
    Duration::from_millis(if is_released() { 8 } else { 400 })
}

#[test]
fn o3_a_tenant_that_writes_far_over_its_limits_fails_nothing_and_stalls_nothing_of_another() {
    for (what, limit, every) in NOISES {
        let dir = tempfile::tempdir().unwrap();
        let config = format!(
            "tenancy: multi\noverrides: {{noisy: {{{limit}}}, small: {{ingestion_rate: 0}}}}\n"
        );
        let cumae = launched(&dir, &config);
        drop(small_writes(&cumae));
        let bodies: Vec<Vec<u8>> =
            (0..150).map(|number| samples("n", number * 2_000, 2_000)).collect();
        let (next, mut rounds, mut refused) = (AtomicU32::new(0), Vec::new(), 0);
        for _ in 0..TIMES {
            let alone = small_writes(&cumae);
            let stop = AtomicBool::new(false);
            let beside = thread::scope(|scope| {
                let noise = || noise(&cumae, &bodies, every * CONNECTIONS, &next, &stop);
                let noisy: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(noise)).collect();
                let beside = small_writes(&cumae);
                stop.store(true, Relaxed);
                refused += noisy.into_iter().map(|one| one.join().unwrap()).sum::<u32>();
                beside
            });
            let told = |took: &[Duration]| (percentile(took, 50), percentile(took, 98));
            println!("{what}: alone {:?}, beside {:?}", told(&alone), told(&beside));
            rounds.push((percentile(&alone, 98), percentile(&beside, 98)));
        }
        let sent = next.into_inner();
        rounds.sort_by_key(|(alone, beside)| beside.saturating_sub(alone.mul_f64(1.25)));
        let (alone, beside) = rounds[TIMES / 2];
        let ratio = beside.as_secs_f64() / alone.as_secs_f64();
        println!(
            "{what}: {alone:?} alone, {beside:?} beside ({ratio:.2} x), {refused} of {sent} refused"
        );
        assert!(refused > 20 && sent > 30, "{refused} of {sent}");
        assert!(beside <= alone.mul_f64(1.25) + slack(), "{what}: {alone:?}, {beside:?}");
    }
}
