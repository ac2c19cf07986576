//! Some samples refused, the rest durable: a 400 that names the first, the reason and how many.

use super::*;

#[tokio::test]
async fn one_bad_sample_of_four_is_400_in_the_contracts_words_and_three_are_kept() {
    let server = server().await;
    let job = labels(&[("job", "a")]);
    let body = request(&[
        (&up(), &[(NOW_MS, 1.0), (NOW_MS + 1, 2.0)]),
        (&job, &[(NOW_MS, 1.0)]),
        (&labels(&[("__name__", "down")]), &[(NOW_MS, 3.0)]),
    ]);
    let response = server.push(&body).await;
    assert_eq!(response.status, 400);
    assert_eq!(response.body, "1 of 4 samples refused: {job=\"a\"}: no metric name\n");
    assert_eq!(response.header("content-type"), Some("text/plain; charset=utf-8"));
    let replica = &server.rig.replicas[0];
    assert_eq!(replica.samples("default", &up()), [(NOW_MS, 1.0), (NOW_MS + 1, 2.0)]);
    assert_eq!(replica.series(), 2);
}

#[tokio::test]
async fn each_reason_of_a_refused_series_is_told_and_counted() {
    let server = server().await;
    let named = || raw_label(b"__name__", b"up");
    let long = |bytes: usize| "x".repeat(bytes).into_bytes();
    let many: Vec<_> = (0..64).map(|n| raw_label(format!("l{n}").as_bytes(), b"v")).collect();
    let large: Vec<_> =
        (0..9).map(|n| raw_label(format!("l{n}").as_bytes(), &long(2000))).collect();
    let rows = [
        (vec![raw_label(b"job", b"a")], "no_metric_name", "no metric name"),
        (vec![named(), raw_label(b"", b"a")], "no_label_name", "label without a name"),
        (
            vec![named(), raw_label(b"job", b"a"), raw_label(b"job", b"b")],
            "duplicate_label",
            "duplicate label name \"job\"",
        ),
        (vec![named(), named()], "duplicate_label", "duplicate label name \"__name__\""),
        (vec![named(), raw_label(b"job", b"\xff")], "not_utf8", "invalid UTF-8 in label \"job\""),
        (vec![named(), raw_label(b"\xff", b"a")], "not_utf8", "invalid UTF-8 in label"),
        (
            vec![named(), raw_label(&long(1025), b"a")],
            "label_name_bytes",
            "1025 over the limit of 1024 (max_label_name_bytes)",
        ),
        (
            vec![named(), raw_label(b"job", &long(2049))],
            "label_value_bytes",
            "2049 over the limit of 2048 (max_label_value_bytes)",
        ),
        (
            [vec![named()], many].concat(),
            "label_count",
            "labels 65 over the limit of 64 (max_labels)",
        ),
        (
            [vec![named()], large].concat(),
            "labels_bytes",
            "over the limit of 16384 (max_labels_bytes)",
        ),
    ];
    for (raw_labels, reason, text) in rows {
        let before = refused(&server, reason);
        let body = [request(&[(&up(), &[(NOW_MS, 1.0)])]), raw_series(&raw_labels)].concat();
        let response = server.push(&body).await;
        assert_eq!(response.status, 400, "{reason}");
        assert!(response.body.starts_with("1 of 2 samples refused: {"), "{}", response.body);
        assert!(response.body.contains(text), "{} {text}", response.body);
        assert!(response.body.len() < 2000, "{reason}");
        assert_eq!(refused(&server, reason), before + 1.0, "{reason}");
    }
    assert_eq!(server.rig.replicas[0].series(), 1);
}

#[tokio::test]
async fn unsorted_labels_are_sorted_and_empty_ones_dropped() {
    let server = server().await;
    let body = raw_series(&[
        raw_label(b"job", b"a"),
        raw_label(b"empty", b""),
        raw_label(b"__name__", b"up"),
    ]);
    assert_eq!(server.push(&body).await.status, 204);
    assert_eq!(server.rig.replicas[0].samples("default", &up()), [(NOW_MS, 1.0)]);
}

#[tokio::test]
async fn samples_too_far_ahead_or_behind_are_refused_and_the_rest_of_the_series_kept() {
    let limits = Limits { retention_ms: Limit(1000), ..Limits::default() };
    let server = limited(limits).await;
    let (min, max) = (NOW_MS - 1000, NOW_MS + 600_000);
    let times = [min - 1, min, NOW_MS, max, max + 1];
    let body = request(&[(&up(), &times.map(|time| (time, 1.0)))]);

    let response = server.push(&body).await;
    assert_eq!(response.status, 400);
    let expected = format!(
        "2 of 5 samples refused: {{__name__=\"up\", job=\"a\"}}: sample at {} is 1001 ms old, the retention is 1000 ms (retention) of tenant default\n",
        min - 1
    );
    assert_eq!(response.body, expected);
    let kept = server.rig.replicas[0].samples("default", &up());
    assert_eq!(kept, [(min, 1.0), (NOW_MS, 1.0), (max, 1.0)]);
    assert_eq!((refused(&server, "too_old"), refused(&server, "too_far_in_future")), (1.0, 1.0));
}

#[tokio::test]
async fn a_series_with_a_rule_of_its_own_is_refused_by_that_rule() {
    let rule = RetentionRule {
        matchers: vec![Matcher::equal("job", "a")],
        retention: Retention::from_ms(1000),
    };
    let limits =
        Limits { retention_ms: Limit(5000), retention_rules: vec![rule], ..Limits::default() };
    let server = limited(limits).await;
    let other = labels(&[("__name__", "up"), ("job", "b")]);
    let times = [NOW_MS - 5001, NOW_MS - 5000, NOW_MS - 1001, NOW_MS - 1000];
    let samples = times.map(|time| (time, 1.0));
    let response = server.push(&request(&[(&up(), &samples), (&other, &samples)])).await;
    assert_eq!(response.status, 400);
    assert!(response.body.starts_with("4 of 8 samples refused: "), "{}", response.body);
    let kept = |labels| server.rig.replicas[0].samples("default", labels);
    assert_eq!((kept(&up()).len(), kept(&other).len()), (1, 3));
}

#[tokio::test]
async fn samples_in_any_order_and_of_any_age_are_kept_when_nothing_limits_them() {
    let server = server().await;
    let body = request(&[(&up(), &[(NOW_MS, 1.0), (-5, 2.0), (NOW_MS - 1, 3.0)])]);
    assert_eq!(server.push(&body).await.status, 204);
    let kept = server.rig.replicas[0].samples("default", &up());
    assert_eq!(kept, [(-5, 2.0), (NOW_MS - 1, 3.0), (NOW_MS, 1.0)]);
}

#[tokio::test]
async fn labels_behind_the_samples_belong_to_the_series_all_the_same() {
    let server = server().await;
    let sample = &request(&[(&model::LabelSet::default(), &[(NOW_MS, 1.0)])])[2..];
    let series = [raw_label(b"__name__", b"up"), sample.to_vec(), raw_label(b"job", b"a")].concat();
    // Twice: the second time the labels are known.
    for _ in 0..2 {
        assert_eq!(server.push(&field(1, &series)).await.status, 204);
        let plain = request(&[(&labels(&[("__name__", "up")]), &[(NOW_MS, 9.0)])]);
        assert_eq!(server.push(&plain).await.status, 204);
    }
    let replica = &server.rig.replicas[0];
    assert_eq!(replica.samples("default", &up()), [(NOW_MS, 1.0)]);
    assert_eq!(replica.samples("default", &labels(&[("__name__", "up")])), [(NOW_MS, 9.0)]);
}

#[tokio::test]
async fn at_the_series_limit_new_series_are_a_partial_400_and_known_ones_flow_on() {
    let server = server().await;
    assert_eq!(server.post(PUSH, &[], &bytes_of(RW1)).await.status, 204);
    server.rig.replicas[0].set_mood(Mood::RefusesNewSeries);

    let fresh = labels(&[("__name__", "fresh")]);
    let body = request(&[(&up(), &[(NOW_MS + 1, 2.0)]), (&fresh, &[(NOW_MS, 1.0)])]);
    for _ in 0..2 {
        let response = server.push(&body).await;
        assert_eq!(response.status, 400);
        assert_eq!(
            response.body,
            "1 of 2 samples refused: {__name__=\"fresh\"}: tenant default is over its limit of 5000000 open series (max_series), new series of metric fresh are refused\n"
        );
    }
    assert_eq!(server.rig.replicas[0].samples("default", &up()).len(), 2);
    assert_eq!(refused(&server, "series_limit"), 2.0);
}
