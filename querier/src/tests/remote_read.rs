//! `read`: the answer in both forms, its limits, and requests that are none.

use super::support::{Got, Memory, NOW_MS, Server, filled, one_tenant};
use axum::body::Body;
use axum::http::Request;
use guard::{Limit, Limits, QueryLimits};
use model::{Column, LabelSet, SeriesColumns};
use wire::remote_read::{self, SeriesFrames};

/// A snappy block of bytes as they are.
fn packed(message: &[u8]) -> Vec<u8> {
    let len = u16::try_from(message.len()).unwrap();
    let mut out = vec![len.to_le_bytes()[0] & 0x7f | 0x80, u8::try_from(len >> 7).unwrap()];
    if let Some(last) = len.checked_sub(1) {
        out.push(61 << 2);
        out.extend_from_slice(&last.to_le_bytes());
    }
    out.extend_from_slice(message);
    out
}

/// A message of fields that are lengths and bytes.
fn fields(fields: &[(u8, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, bytes) in fields {
        out.push(number << 3 | 2);
        out.push(u8::try_from(bytes.len()).unwrap());
        out.extend_from_slice(bytes);
    }
    out
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
    out
}

/// A question for a metric from so many seconds ago until now.
fn query(op: u8, metric: &str, seconds_ago: i64) -> Vec<u8> {
    let mut matcher = vec![0x08, op];
    matcher.extend(fields(&[(2, b"__name__"), (3, metric.as_bytes())]));
    let mut query = vec![0x08];
    query.extend(varint((NOW_MS - 1_000 * seconds_ago).cast_unsigned()));
    query.push(0x10);
    query.extend(varint(NOW_MS.cast_unsigned()));
    query.extend(fields(&[(3, &matcher)]));
    query
}

async fn read(server: &Server, queries: &[Vec<u8>], types: &[u8]) -> Got {
    send(server, request(queries, types)).await
}

fn request(queries: &[Vec<u8>], types: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    queries.iter().for_each(|query| message.extend(fields(&[(1, query)])));
    types.iter().for_each(|number| message.extend([0x10, *number]));
    packed(&message)
}

async fn send(server: &Server, body: Vec<u8>) -> Got {
    send_as(server, body, "snappy").await
}

async fn send_as(server: &Server, body: Vec<u8>, accept: &str) -> Got {
    let request = Request::post("/api/v1/read")
        .header("content-type", "application/x-protobuf")
        .header("content-encoding", "snappy")
        .header("accept-encoding", accept);
    server.send(request.body(Body::from(body)).unwrap()).await
}

/// `up` of one instance, as `filled` has it.
fn up(job: &str, instance: &str, minutes: i64) -> SeriesColumns {
    let mut floats = Column::default();
    for minute in (0..=minutes).rev() {
        floats.push(NOW_MS - 60_000 * minute, 1.0);
    }
    let labels = [("__name__", "up"), ("job", job), ("instance", instance)];
    let labels = LabelSet::from_pairs(labels).unwrap();
    SeriesColumns { labels, floats, ..SeriesColumns::default() }
}

#[tokio::test]
async fn samples_are_one_message_in_a_snappy_block_both_ends_included() {
    let server = Server::single(filled());
    let queries = [query(0, "up", 120), query(0, "nothing", 120)];
    for types in [&[][..], &[0, 1], &[9, 0]] {
        let got = read(&server, &queries, types).await;
        assert_eq!(got.status, 200, "{types:?}");
        assert_eq!(got.header("content-type"), "application/x-protobuf");
        assert_eq!(got.header("content-encoding"), "snappy");
        let mut result = Vec::new();
        remote_read::push_series(&up("a", "h:1", 2), &mut result);
        remote_read::push_series(&up("b", "h:2", 2), &mut result);
        assert_eq!(got.body, remote_read::response(&[result, Vec::new()]).unwrap());
    }
}

#[tokio::test]
async fn chunks_are_streamed_in_frames_by_query_and_label_order_without_any_encoding() {
    let server = Server::single(filled());
    let queries = [query(0, "nothing", 9), query(0, "up", 3_600), query(2, "u.", 60)];
    for types in [&[1][..], &[1, 0], &[7, 1]] {
        let got = send_as(&server, request(&queries, types), "gzip").await;
        assert_eq!(got.status, 200, "{types:?}");
        let media_type = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
        assert_eq!(got.header("content-type"), media_type);
        assert_eq!(got.header("content-encoding"), "");
        let mut expected = Vec::new();
        for (index, minutes) in [(1, 60), (2, 1)] {
            for (job, instance) in [("a", "h:1"), ("b", "h:2")] {
                let mut frames = SeriesFrames::new(index, up(job, instance, minutes));
                while frames.push_next(&mut expected) {}
            }
        }
        assert_eq!(got.body, expected);
    }
}

#[tokio::test]
async fn a_question_without_a_matcher_or_that_ends_before_it_begins_has_no_series() {
    let server = Server::single(filled());
    let backwards = query(0, "up", -60);
    for none in [Vec::new(), backwards] {
        let got = read(&server, &[none], &[1]).await;
        assert_eq!((got.status.as_u16(), got.body.len()), (200, 0));
    }
}

#[tokio::test]
async fn samples_at_the_limit_are_answered_and_one_more_is_400_in_the_known_words() {
    let tenants = || [("default".to_owned(), filled())].into();
    let with = |query: QueryLimits| {
        let memory = Memory { tenants: tenants(), ..Memory::default() };
        Server::new(memory, one_tenant(), Limits { query, ..Limits::default() })
    };
    // Two series of three samples each.
    let at = with(QueryLimits { max_samples: Limit(6), ..QueryLimits::default() });
    let past = with(QueryLimits { max_samples: Limit(5), ..QueryLimits::default() });
    for types in [[0], [1]] {
        assert_eq!(read(&at, &[query(0, "up", 120)], &types).await.status, 200);
        let got = read(&past, &[query(0, "up", 120)], &types).await;
        assert_eq!(got.status, 400);
        assert_eq!(got.header("content-type"), "text/plain; charset=utf-8");
        assert!(got.text().starts_with("exceeded sample limit (5)"), "{}", got.text());
        // All questions of a request are one query.
        let both = [query(0, "up", 60), query(0, "up", 0)];
        assert_eq!(read(&at, &both, &types).await.status, 200);
        assert_eq!(read(&past, &both, &types).await.status, 400);
    }
    let series = with(QueryLimits { max_series: Limit(1), ..QueryLimits::default() });
    let got = read(&series, &[query(0, "up", 0)], &[1]).await;
    assert_eq!(got.status, 422);
    assert!(got.text().contains("`max_query_series` 1 and"), "{}", got.text());
}

#[tokio::test]
async fn what_is_no_question_is_refused_in_text() {
    let server = Server::single(filled());
    let bomb = vec![0xff, 0xff, 0xff, 0xff, 0x0f];
    let cases = [
        (send(&server, bomb).await, 413, "at most 2097152 are read"),
        (send(&server, vec![0; 3 << 20]).await, 413, "more than 2097152 bytes"),
        (send(&server, b"junk".to_vec()).await, 400, "snappy"),
        (send(&server, packed(b"\xff")).await, 400, "protobuf"),
        (read(&server, &[], &[3]).await, 400, "response types: [3]"),
        (read(&server, &[query(4, "up", 0)], &[]).await, 400, "invalid matcher type 4"),
        (read(&server, &[query(2, "(", 0)], &[]).await, 400, "regex"),
    ];
    for (got, status, text) in cases {
        assert_eq!(got.status, status, "{text}: {}", got.text());
        assert_eq!(got.header("content-type"), "text/plain; charset=utf-8");
        assert!(got.text().contains(text), "{text}: {}", got.text());
    }
    let request = Request::post("/api/v1/read").header("content-encoding", "gzip");
    assert_eq!(server.send(request.body(Body::from("x")).unwrap()).await.status, 415);
    let request = Request::get("/api/v1/read").body(Body::empty()).unwrap();
    let got = server.send(request).await;
    assert_eq!((got.status.as_u16(), got.header("allow").as_str()), (405, "POST"));
}

#[tokio::test]
async fn matchers_may_be_as_long_as_a_query() {
    let limits = |max: u64| Limits {
        query: QueryLimits { max_text_bytes: Limit(max), ..QueryLimits::default() },
        ..Limits::default()
    };
    // `__name__` and `up`.
    for (max, status) in [(10, 200), (9, 400)] {
        let memory =
            Memory { tenants: [("default".to_owned(), filled())].into(), ..Memory::default() };
        let server = Server::new(memory, one_tenant(), limits(max));
        let got = read(&server, &[query(0, "up", 0)], &[0]).await;
        assert_eq!(got.status, status, "{}", got.text());
    }
}
