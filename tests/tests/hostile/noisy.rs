//! O4: a tenant with fifty heavy queries at once beside one that reads and writes a little.

use super::door::{TEN_SECONDS, ask, fill, filled};
use bench::http::{self, Connection};
use bench::remote_write::{HEADERS, Series, body};
use std::time::Duration;
use tests::process::{Cumae, now};

const ROUNDS: usize = 100;

/// How long the small tenant's reads and writes take, each ascending.
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
        let mut headers = HEADERS.to_vec();
        headers.push(tenant);
        let began = now();
        let answer = connection.send("POST", "/api/v1/push", &headers, &body).unwrap();
        writes.push(began.elapsed());
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
    reads.sort_unstable();
    writes.sort_unstable();
    [reads, writes]
}

#[test]
fn o4_fifty_heavy_queries_of_one_tenant_fail_nothing_and_stall_nothing_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let config = "tenancy: multi\nlimits: {max_query_samples: 0}\n";
    let (cumae, end_s) = filled(&dir, config);
    fill(&cumae, "small", end_s);
    fill(&cumae, "heavy", end_s);
    let alone = small_ones(&cumae, end_s);
    let heavy: Vec<_> = (0..50).map(|_| ask(&cumae, "heavy", TEN_SECONDS[0], end_s)).collect();
    let beside = small_ones(&cumae, end_s);
    let listed =
        cumae.send("GET", "/api/v1/status/active_queries", &[("X-Scope-OrgID", "heavy")], b"");
    assert_eq!(listed.text().matches("\"id\":").count(), 50, "all of them are still there");
    drop(heavy);
    for (what, alone, beside) in
        [("reads", &alone[0], &beside[0]), ("writes", &alone[1], &beside[1])]
    {
        let (p50, p99) = (ROUNDS / 2, ROUNDS - 2);
        let ratio = |at: usize| beside[at].as_secs_f64() / alone[at].as_secs_f64();
        println!(
            "{what}: p50 {:?} alone, {:?} beside ({:.2} x); p99 {:?}, {:?} ({:.2} x)",
            alone[p50],
            beside[p50],
            ratio(p50),
            alone[p99],
            beside[p99],
            ratio(p99)
        );
        // The heavy ones hold every processor: a turn of the scheduler, not of a query, is waited for.
        assert!(beside[p50] < alone[p50] * 2 + Duration::from_millis(100), "{what}");
        assert!(beside[p99] < alone[p99] * 2 + Duration::from_millis(400), "{what}");
    }
}
