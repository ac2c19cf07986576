//! O4: a tenant with fifty heavy queries at once beside one that reads and writes a little.

use super::door::{TEN_SECONDS, ask, fill, filled};
use bench::http::{self, Connection};
use bench::remote_write::{HEADERS, Series, body};
use std::time::Duration;
use tests::process::{Cumae, eventually, is_released, now};

const ROUNDS: usize = 100;

/// The value that so many of a hundred are below.
fn percentile(ascending: &[Duration], share: usize) -> Duration {
    ascending[ascending.len() * share / 100 - 1]
}

/// How long the small tenant's reads take, and its writes and the other tenant's, each ascending.
fn small_ones(cumae: &Cumae, end_s: i64) -> [Vec<Duration>; 2] {
    let mut connection = Connection::open(cumae.address()).unwrap();
    let form = http::form(&[("query", "sum(rate(m[5m]))"), ("time", &end_s.to_string())]);
    let (path, tenant) = (format!("/api/v1/query?{form}"), ("X-Scope-OrgID", "small"));
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    for round in 0..i64::try_from(ROUNDS).unwrap() {
        let began = now();
        let answer = connection.send("GET", &path, &[tenant], b"").unwrap();
        reads.push(began.elapsed());
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains("\"value\":["), "{}", answer.text());
        let series: Vec<Series> = (0..50)
            .map(|i| Series::new("w", &[("i", &i.to_string())], &[(end_s * 1_000 + round, 1.0)]))
            .collect();
        let body = body(&series);
        for tenant in ["small", "heavy"] {
            let mut headers = HEADERS.to_vec();
            headers.push(("X-Scope-OrgID", tenant));
            let began = now();
            let answer = connection.send("POST", "/api/v1/push", &headers, &body).unwrap();
            writes.push(began.elapsed());
            assert_eq!(answer.status, 204, "{}", answer.text());
        }
    }
    reads.sort_unstable();
    writes.sort_unstable();
    [reads, writes]
}

/// So many times both are measured, for a machine that others use too: the median counts.
const TIMES: usize = 5;

/// What may be beyond the ratio, for half and for 99 %. A small tenant's reads and writes take less than
/// a millisecond: a few turns of the system's scheduler on a machine that other tests use are more
/// than that. What is released is measured alone: a quarter of a tick for half of them, two ticks for the
/// slowest, which do not keep to the ratio in each run (docs/BENCHMARKS.md).
fn slack() -> [Duration; 2] {
    let ms = if is_released() { [1, 8] } else { [100, 400] };
    ms.map(Duration::from_millis)
}

#[test]
fn o4_fifty_heavy_queries_of_one_tenant_fail_nothing_and_stall_nothing_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let config = "tenancy: multi\nlimits: {max_query_samples: 0}\n";
    let (cumae, end_s) = filled(&dir, config);
    fill(&cumae, "small", end_s);
    fill(&cumae, "heavy", end_s);
    drop(small_ones(&cumae, end_s));
    // By kind and share, how long each round takes alone and beside them.
    let mut taken: [[Vec<(Duration, Duration)>; 2]; 2] = Default::default();
    for _ in 0..TIMES {
        let alone = small_ones(&cumae, end_s);
        // No two are the same: those would be answered together.
        let heavy = |number: u32| format!("{} + {number}", TEN_SECONDS[0]);
        let heavy: Vec<_> =
            (0..50).map(|number| ask(&cumae, "heavy", &heavy(number), end_s)).collect();
        assert!(eventually(|| listed(&cumae) == 50), "all of them are there");
        let beside = small_ones(&cumae, end_s);
        assert_eq!(listed(&cumae), 50, "all of them are still there");
        drop(heavy);
        assert!(eventually(|| listed(&cumae) == 0), "they end with their callers");
        for (of, taken) in taken.iter_mut().enumerate() {
            for (share, taken) in [50, 99].into_iter().zip(taken) {
                taken.push((percentile(&alone[of], share), percentile(&beside[of], share)));
            }
        }
    }
    let [reads, writes] = &mut taken;
    for (what, most, taken) in [("reads", 1.5, reads), ("writes", 1.25, writes)] {
        for ((share, slack), taken) in ["p50", "p99"].into_iter().zip(slack()).zip(taken) {
            taken.sort_by_key(|(alone, beside)| beside.saturating_sub(alone.mul_f64(most)));
            let (alone, beside) = taken[TIMES / 2];
            let ratio = beside.as_secs_f64() / alone.as_secs_f64();
            println!("{what}: {share} {alone:?} alone, {beside:?} beside ({ratio:.2} x)");
            assert!(beside <= alone.mul_f64(most) + slack, "{what}: {share} {alone:?}, {beside:?}");
        }
    }
}

/// How many queries of the tenant `heavy` wait or run.
fn listed(cumae: &Cumae) -> usize {
    let tenant = [("X-Scope-OrgID", "heavy")];
    let listed = cumae.send("GET", "/api/v1/status/active_queries", &tenant, b"");
    listed.text().matches("\"id\":").count()
}
