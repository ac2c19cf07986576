//! What bombs are made of, and what each has to leave as it was: the answer is right and comes soon,
//! little memory is taken, and who writes beside it is served.

use bench::http::Response;
use bench::remote_write::{HEADERS, Series, body};
use std::fs;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;
use tests::process::{Cumae, Launch, is_released, now, wall_ms};

/// Twice the limit of a body, and what a process takes by the way.
const RISE_MAX: u64 = 2 * (32 << 20) + (4 << 20);
/// All that a process may have.
pub(super) const MEMORY_MAX: u64 = 1 << 30;

pub(super) type Headers = &'static [(&'static str, &'static str)];

/// What is sent, where, as what, and what comes back.
pub(super) struct Bomb {
    pub(super) name: &'static str,
    pub(super) path: &'static str,
    pub(super) headers: Headers,
    pub(super) body: Vec<u8>,
    pub(super) status: u16,
}

/// How long an answer may take: the tests' own binary is several times as slow, and has company.
pub(super) fn answer_max() -> Duration {
    Duration::from_secs(if is_released() { 1 } else { 5 })
}

/// A process of many tenants that has a gibibyte of memory.
pub(super) fn launched(dir: &tempfile::TempDir, config: &str) -> Cumae {
    let config = format!("self_metrics: false\ntenancy: multi\n{config}");
    Launch::new(&dir.path().join("data")).config(&config).memory_max(MEMORY_MAX).start()
}

/// Sends something as a tenant.
pub(super) fn send_as(
    cumae: &Cumae,
    tenant: &str,
    (path, headers): (&str, &[(&str, &str)]),
    body: &[u8],
) -> Response {
    let mut headers = headers.to_vec();
    headers.push(("X-Scope-OrgID", tenant));
    cumae.send("POST", path, &headers, body)
}

/// Another tenant writes, and reads what it wrote; returns how long the write took.
fn good(cumae: &Cumae) -> Duration {
    let at = wall_ms();
    let body = body(&[Series::new("good", &[], &[(at, 1.0)])]);
    let began = now();
    let answer = send_as(cumae, "other", ("/api/v1/push", &HEADERS), &body);
    let took = began.elapsed();
    assert_eq!(answer.status, 204, "{}", answer.text());
    let path = format!("/api/v1/query?query=good&time={}", at / 1_000 + 1);
    let answer = cumae.send("GET", &path, &[("X-Scope-OrgID", "other")], b"");
    assert!(answer.status == 200 && answer.text().contains("\"good\""), "{}", answer.text());
    took
}

/// Does something while another tenant writes and reads; returns what came of it, how long it took,
/// how many more bytes were resident meanwhile, and the slowest write beside it.
pub(super) fn beside_another<T>(
    cumae: &Cumae,
    act: impl FnOnce() -> T,
) -> (T, Duration, u64, Duration) {
    good(cumae);
    let (is_over, began) = (AtomicBool::new(false), now());
    thread::scope(|scope| {
        let beside = scope.spawn(|| {
            let mut slowest = Duration::ZERO;
            while !is_over.load(Relaxed) && began.elapsed() < Duration::from_secs(60) {
                slowest = slowest.max(good(cumae));
            }
            slowest
        });
        let ((done, took), more) = rise(cumae, || {
            let began = now();
            (act(), began.elapsed())
        });
        is_over.store(true, Relaxed);
        (done, took, more, beside.join().unwrap())
    })
}

/// Each is sent by a tenant while another writes and reads.
pub(super) fn go_off(bombs: Vec<Bomb>) {
    let dir = tempfile::tempdir().unwrap();
    let cumae = launched(&dir, "");
    let first = Series::new("up", &[], &[(wall_ms(), 1.0)]);
    assert_eq!(cumae.push_as("bomber", &[first]).status, 204);
    for Bomb { name, path, headers, body, status } in bombs {
        let send = || send_as(&cumae, "bomber", (path, headers), &body);
        let (answer, took, more, slowest) = beside_another(&cumae, send);
        let (mib, status_is) = (more >> 20, answer.status);
        println!("{path} {name}: {status_is} in {took:?}, {mib} MiB more, {slowest:?} beside it");
        assert_eq!(status_is, status, "{path} {name}: {:.300}", answer.text());
        assert!(answer.body.len() < 4_200, "{path} {name}: {} bytes", answer.body.len());
        assert!(more < RISE_MAX, "{path} {name}: {mib} MiB");
        assert!(took < answer_max(), "{path} {name}: {took:?}");
        assert!(slowest < answer_max(), "beside {name}: {slowest:?}");
    }
    good(&cumae);
    assert!(cumae.terminate().is_success());
}

/// A field with a length, for messages that no encoder would write.
pub(super) fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::bytes::encode(number.into(), &content.to_vec(), &mut bytes);
    bytes
}

/// So many mebibytes of one byte, in gzip.
pub(super) fn gzipped(byte: u8, mib: usize) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    (0..mib).for_each(|_| encoder.write_all(&vec![byte; 1 << 20]).unwrap());
    encoder.finish().unwrap()
}

/// The bytes that a process had resident at most while `act` ran, beyond those before.
pub(super) fn rise<T>(cumae: &Cumae, act: impl FnOnce() -> T) -> (T, u64) {
    // 5 resets the peak.
    fs::write(format!("/proc/{}/clear_refs", cumae.pid()), "5").unwrap();
    let before = peak(cumae);
    let done = act();
    (done, peak(cumae).saturating_sub(before))
}

fn peak(cumae: &Cumae) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", cumae.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
