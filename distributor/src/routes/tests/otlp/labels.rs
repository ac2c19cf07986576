//! What series are called: resources, attributes and names.

use super::*;

#[tokio::test]
async fn job_and_instance_come_from_the_service() {
    for (resource, want) in [
        (&[("service.name", "s"), ("service.namespace", "n")][..], &[("job", "n/s")][..]),
        (&[("service.name", "s")], &[("job", "s")]),
        (&[("service.namespace", "n")], &[]),
        (&[("service.instance.id", "i")], &[("instance", "i")]),
    ] {
        let server = server().await;
        let body = gauge(resource, &[("job", "mine")]);
        assert_eq!(server.otlp(&body).await.body, "{}");
        let mut pairs = [&[("__name__", "g")], want].concat();
        if !want.iter().any(|(name, _)| *name == "job") {
            // A point's own attribute stays where the resource says nothing.
            pairs.push(("job", "mine"));
        }
        assert_eq!(server.values(&pairs), [1.0], "{resource:?}");
        // No attributes but those that identify: nothing is worth saying of the target.
        assert_eq!(server.rig.replicas[0].series(), 1);
    }
}

#[tokio::test]
async fn target_info_needs_a_target_and_may_keep_what_identifies_it() {
    let server = server().await;
    server.otlp(&gauge(&[("host.name", "h")], &[])).await;
    assert_eq!(server.rig.replicas[0].series(), 1, "nobody knows which target");

    let otlp =
        guard::OtlpSettings { keep_identifying_resource_attributes: true, ..Default::default() };
    let server = with_otlp(otlp).await;
    server.otlp(&gauge(&[("host.name", "h"), ("service.name", "s")], &[])).await;
    let target =
        [("__name__", "target_info"), ("host_name", "h"), ("job", "s"), ("service_name", "s")];
    assert_eq!(server.values(&target), [1.0]);
}

#[tokio::test]
async fn target_info_is_there_all_the_way_to_the_newest_point_and_bounded() {
    let server = server().await;
    let body = |first_ms: i64| {
        SHOP.replace(
            r#""asInt":"7"}"#,
            &format!(r#""asInt":"7"}},{{"timeUnixNano":"{first_ms}000000","asInt":"6"}}"#),
        )
    };
    server.otlp(&body(NOW_MS - 285_000)).await;
    let target =
        [("__name__", "target_info"), ("host_name", "h1"), ("instance", "a1"), ("job", "shop")];
    let times: Vec<i64> = server.rig.replicas[0]
        .samples("default", &labels(&target))
        .into_iter()
        .map(|(time, _)| time - NOW_MS)
        .collect();
    assert_eq!(times, [-285_000, -135_000, 15_000]);
    assert_eq!(server.otlp(&body(0)).await.status, 200);
    assert!(server.values(&target).len() <= 1004);
}

#[tokio::test]
async fn attributes_of_one_name_are_joined_in_the_order_of_their_keys() {
    let server = server().await;
    let body = gauge(&[], &[("a_b", "3"), ("a.b", "2"), ("a-b", "1"), ("le", "x")]);
    assert_eq!(server.otlp(&body).await.body, "{}");
    assert_eq!(server.values(&[("__name__", "g"), ("a_b", "1;2;3"), ("le", "x")]), [1.0]);
}

#[tokio::test]
async fn promoted_attributes_are_on_every_series_and_yield_to_a_points_own() {
    let otlp = guard::OtlpSettings {
        promote_resource_attributes: vec!["host.name".into(), "zone".into()],
        promote_scope_metadata: true,
        ..Default::default()
    };
    let server = with_otlp(otlp).await;
    let body = gauge(&[("host.name", "h"), ("zone", "z"), ("other", "o")], &[("zone", "mine")]);
    assert_eq!(server.otlp(&body).await.body, "{}");
    let want = [
        ("__name__", "g"),
        ("host_name", "h"),
        ("zone", "mine"),
        ("otel_scope_name", "lib"),
        ("otel_scope_version", "1"),
        ("otel_scope_schema_url", "u"),
        ("otel_scope_x_y", "5"),
    ];
    assert_eq!(server.values(&want), [1.0]);
}

#[tokio::test]
async fn names_stay_as_they_are_if_the_tenant_wants_it() {
    let translation = guard::Translation::NoTranslation;
    let server = with_otlp(guard::OtlpSettings { translation, ..Default::default() }).await;
    let body = SHOP.replace("a1", "a 1");
    assert_eq!(server.otlp(&body).await.body, "{}");
    let want = [
        ("__name__", "http.requests"),
        ("http.method", "GET"),
        ("instance", "a 1"),
        ("job", "shop"),
    ];
    assert_eq!(server.values(&want), [7.0]);
}
