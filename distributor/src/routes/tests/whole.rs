//! Requests that fail as a whole: bodies that cannot be read, are too large or too many, and nodes
//! that cannot take them now.

use super::*;

#[tokio::test]
async fn an_undecodable_body_is_400_and_writes_nothing() {
    let server = server().await;
    let good = request(&[(&up(), &[(NOW_MS, 1.0)])]);
    let snappy = compressed(&good);
    let rows = [
        snappy[..snappy.len() - 1].to_vec(),
        b"garbage".to_vec(),
        [0xff; 5].to_vec(),
        compressed(b"\xff\xff\xff\xff"),
        compressed(&[&good[..], b"\x0a\x05\x00"].concat()),
        compressed(&[&good[..], &field(1, b"\x0a\xff\x01")].concat()),
        compressed(&[&good[..], &raw_series(&[field(1, b"\x0a\x7f")])].concat()),
    ];
    for (number, body) in rows.iter().enumerate() {
        let response = server.post(PUSH, &[], body).await;
        assert_eq!(response.status, 400, "row {number}: {}", response.body);
    }
    assert_eq!(server.rig.replicas[0].writes(), 0);
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_by_its_declared_length_and_by_its_bytes() {
    let limits = Limits {
        max_request_bytes: Limit(100),
        max_decoded_bytes: Limit(200),
        ..Limits::default()
    };
    let server = limited(limits).await;

    let declared = server.post(PUSH, &[("Content-Length", "101")], b"").await;
    assert_eq!(declared.status, 413);
    assert_eq!(
        declared.body,
        "tenant default is over its limit of 100 bytes in one request (max_request_bytes)\n"
    );

    let chunk = "65\r\n".to_owned() + &"x".repeat(101) + "\r\n0\r\n\r\n";
    let head = "POST /api/v1/push HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(server.exchange(format!("{head}{chunk}").as_bytes()).await.status, 413);

    let decoded = server.post(PUSH, &[], &compressed(&[0; 201])).await;
    assert_eq!(decoded.status, 413);
    assert!(decoded.body.contains("max_decoded_bytes"), "{}", decoded.body);
    assert_eq!(server.post(PUSH, &[], &bytes_of(RW1)).await.status, 204);
}

#[tokio::test]
async fn a_snappy_header_that_claims_2_5_gib_is_413_and_takes_no_memory() {
    let server = server().await;
    // 2.5 GiB as a varint, and 42 bytes of nothing.
    let bomb = [&[0x80, 0x80, 0x80, 0x80, 0x0a][..], &[0; 42]].concat();
    let response = server.post(PUSH, &[], &bomb).await;
    assert_eq!(response.status, 413, "{}", response.body);
}

#[tokio::test]
async fn a_snappy_header_within_the_limit_that_its_bytes_cannot_fill_is_400() {
    let server = server().await;
    let bomb = [&[0x80, 0x80, 0x80, 0x0f][..], &[0; 42]].concat();
    let response = server.post(PUSH, &[], &bomb).await;
    assert_eq!(response.status, 400);
    assert!(response.body.contains("cannot hold"), "{}", response.body);
}

#[tokio::test]
async fn more_series_or_samples_than_allowed_are_413_and_nothing_is_written() {
    let limits =
        Limits { max_request_series: Limit(2), max_request_samples: Limit(3), ..Limits::default() };
    let server = limited(limits).await;
    let one = request(&[(&up(), &[(NOW_MS, 1.0)])]);
    let series = server.push(&one.repeat(3)).await;
    assert_eq!(series.status, 413);
    assert!(series.body.contains("limit of 2 series in one request"), "{}", series.body);

    let four: Vec<_> = (0..4).map(|n| (NOW_MS + n, 1.0)).collect();
    let samples = server.push(&request(&[(&up(), &four)])).await;
    assert_eq!(samples.status, 413);
    assert!(samples.body.contains("limit of 3 samples in one request"), "{}", samples.body);
    assert_eq!(server.rig.replicas[0].writes(), 0);
}

#[tokio::test]
async fn over_its_rate_a_tenant_gets_429_with_retry_after_and_nothing_is_written() {
    let limits = Limits { ingestion_rate: Limit(2), ingestion_burst: 2, ..Limits::default() };
    let server = limited(limits).await;
    let body = request(&[(&up(), &[(NOW_MS, 1.0), (NOW_MS + 1, 1.0)])]);
    assert_eq!(server.push(&body).await.status, 204);

    let response = server.push(&body).await;
    assert_eq!(response.status, 429);
    let seconds: u64 = response.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3).contains(&seconds), "{seconds}");
    assert!(response.body.contains("ingestion_rate"), "{}", response.body);
    assert_eq!(server.rig.replicas[0].writes(), 1);

    server.rig.clock.advance(1000);
    assert_eq!(server.push(&body).await.status, 204);
}

#[tokio::test]
async fn a_replica_that_is_down_is_503_with_retry_after() {
    let server = server().await;
    for (kind, name) in [(Kind::Unavailable, "n0"), (Kind::Internal, "n0"), (Kind::Invalid, "n0")] {
        server.rig.replicas[0].set_mood(Mood::Fails(kind));
        let response = server.post(PUSH, &[], &bytes_of(RW1)).await;
        assert_eq!(response.status, 503);
        assert!(response.header("retry-after").is_some());
        assert!(response.body.contains(name), "{}", response.body);
    }
    server.rig.replicas[0].set_mood(Mood::Well);
    assert_eq!(server.post(PUSH, &[], &bytes_of(RW1)).await.status, 204);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_stays_silent_is_503_within_the_timeout() {
    let server = server().await;
    server.rig.replicas[0].set_mood(Mood::Silent);
    let response = server.post(PUSH, &[], &bytes_of(RW1)).await;
    assert_eq!(response.status, 503);
    assert!(response.body.contains("no answer within 10000 ms"), "{}", response.body);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_503_and_not_408() {
    let server = server().await;
    let response = server.post(PUSH, &[("Content-Length", "100")], b"x").await;
    assert_eq!(response.status, 503);
    assert!(response.header("retry-after").is_some());
}

#[tokio::test]
async fn without_room_in_the_budget_a_write_is_503_and_413_if_there_could_never_be_room() {
    let config = Config { inflight_bytes_max: 1 << 20, ..Config::default() };
    let server = Server::new(rig(RigConfig { config, ..RigConfig::default() })).await;
    let message = raw_series(&[raw_label(b"__name__", &vec![b'x'; 1 << 20])]);
    let response = server.push(&message).await;
    assert_eq!((response.status, response.header("retry-after")), (413, None));
    assert!(response.body.contains("write.memory"), "{}", response.body);

    let mut others = server.rig.distributor.parts().budget.reserve(&id("others"));
    others.raise_to(1 << 20).unwrap();
    let response = server.post(PUSH, &[], &bytes_of(RW1)).await;
    assert_eq!(response.status, 503);
    assert!(response.header("retry-after").is_some());
    drop(others);
    assert_eq!(server.post(PUSH, &[], &bytes_of(RW1)).await.status, 204);
}

#[tokio::test]
async fn bombs_get_the_right_answer_and_the_server_goes_on() {
    let server = server().await;
    let labels_10k: Vec<_> =
        (0..10_000).map(|n| raw_label(format!("l{n}").as_bytes(), b"v")).collect();
    let rows = [
        // As many empty series, labels, samples as fit.
        ([0x0a, 0x00].repeat(1_000_000), 413),
        (field(1, &[0x12, 0x00].repeat(600_000)), 413),
        (raw_series(&[[0x0a, 0x00].repeat(1_000_000)]), 400),
        (raw_series(&labels_10k), 400),
        // Names and values far too long.
        (raw_series(&[raw_label(&vec![b'n'; 1 << 20], b"v")]), 400),
        (raw_series(&[raw_label(b"__name__", &vec![b'v'; 16 << 20])]), 400),
        // Unknown fields, metadata, nested groups.
        ([0x78, 0x01].repeat(1_000_000), 204),
        ([0x1a, 0x00].repeat(1_000_000), 204),
        ([0x7b].repeat(1_000_000), 400),
        // A varint without an end, a length past the end.
        ([0xff].repeat(1_000), 400),
        (vec![0x0a, 0xff, 0xff, 0xff, 0x7f, 0x00], 400),
    ];
    for (number, (message, status)) in rows.iter().enumerate() {
        let response = server.push(message).await;
        assert_eq!(response.status, *status, "row {number}: {}", response.body);
        assert!(response.body.len() <= 4100, "row {number}");
    }
    assert_eq!(server.post(PUSH, &[], &bytes_of(RW1)).await.status, 204);
}
