//! What a tenant has done to series as they come in, over a real socket.

use super::*;
use guard::RelabelRule;
use guard::relabel::Action;
use wire::remote_write::{encode_extras, encode_series};

fn keep(metric: &str) -> RelabelRule {
    let source_labels = vec!["__name__".into()];
    let regex = metric.to_owned();
    RelabelRule { source_labels, regex, action: Action::Keep, ..RelabelRule::default() }
}

fn set(name: &str, value: &str) -> RelabelRule {
    let (target_label, replacement) = (name.to_owned(), value.to_owned());
    RelabelRule { target_label, replacement, ..RelabelRule::default() }
}

fn forget(labels: &str) -> RelabelRule {
    let regex = labels.to_owned();
    RelabelRule { regex, action: Action::LabelDrop, ..RelabelRule::default() }
}

fn rules(relabel_rules: Vec<RelabelRule>) -> Limits {
    Limits { relabel_rules, ..Limits::default() }
}

fn dropped(server: &Server) -> f64 {
    let counts = counter(&server.rig.registry, "cumae_distributor_samples_dropped_total");
    counts.values().sum()
}

#[tokio::test]
async fn series_are_written_under_the_labels_that_the_rules_make_of_them() {
    let server = limited(rules(vec![keep("up"), set("zone", "eu"), forget("pod.*")])).await;
    let sent = labels(&[("__name__", "up"), ("job", "a"), ("pod_id", "x7")]);
    let other = labels(&[("__name__", "down"), ("job", "a")]);
    let kept = labels(&[("__name__", "up"), ("job", "a"), ("zone", "eu")]);
    for round in 0..3 {
        let samples = [(NOW_MS + round, 1.0)];
        let response = server.push(&request(&[(&sent, &samples), (&other, &samples)])).await;
        assert_eq!((response.status, &*response.body), (204, ""));
    }
    let replica = &server.rig.replicas[0];
    assert_eq!(replica.samples("default", &kept).len(), 3);
    assert_eq!(replica.series(), 1);
    assert_eq!(dropped(&server), 3.0);
    assert_eq!(replica.counts(), (2, 1), "the second time the series goes by its number");
}

#[tokio::test]
async fn the_labels_of_rules_are_sent_again_when_a_replica_forgot_its_numbers() {
    let server = limited(rules(vec![set("zone", "eu")])).await;
    let replica = &server.rig.replicas[0];
    for round in 0..3 {
        server.push(&request(&[(&up(), &[(NOW_MS + round, 1.0)])])).await;
        replica.restart();
    }
    let kept = labels(&[("__name__", "up"), ("job", "a"), ("zone", "eu")]);
    assert_eq!(replica.samples("default", &kept).len(), 3);
    assert_eq!(replica.series(), 1);
}

#[tokio::test]
async fn a_dropped_series_takes_its_histograms_and_exemplars_along_known_or_not() {
    let server = limited(rules(vec![keep("down")])).await;
    let exemplar = model::Exemplar { timestamp_ms: NOW_MS, value: 1.0, labels: labels(&[]) };
    let mut histogram = model::Histogram::stale();
    histogram.sum = 0.0;
    let histogram = model::HistogramSample {
        timestamp_ms: NOW_MS,
        histogram: std::sync::Arc::new(histogram),
        start_timestamp_ms: 0,
        revision: 0,
    };
    let mut body = Vec::new();
    encode_series(&up(), &[(NOW_MS, 1.0)], &mut body);
    encode_extras(&up(), &[histogram], &[exemplar], &mut body);
    encode_series(&labels(&[("__name__", "down")]), &[(NOW_MS, 2.0)], &mut body);
    for round in 1..=2 {
        assert_eq!(server.push(&body).await.status, 204);
        assert_eq!(dropped(&server), f64::from(3 * round));
    }
    let replica = &server.rig.replicas[0];
    assert_eq!(replica.samples("default", &labels(&[("__name__", "down")])), [(NOW_MS, 2.0)]);
    assert_eq!(replica.extras("default", &up()), (vec![], vec![]));
}

#[tokio::test]
async fn a_dropped_series_is_not_refused_for_its_times_and_costs_no_rate() {
    let slow = Limits { ingestion_rate: Limit(1), ingestion_burst: 1, ..rules(vec![keep("x")]) };
    let server = limited(slow).await;
    let far = [(NOW_MS + 86_400_000, 1.0)];
    for _ in 0..3 {
        let response = server.push(&request(&[(&up(), &far)])).await;
        assert_eq!((response.status, &*response.body), (204, ""));
    }
}

#[tokio::test]
async fn labels_are_held_to_the_limits_behind_the_rules() {
    let few = Limits { max_labels: Limit(2), max_label_value_bytes: Limit(8), ..Limits::default() };
    let few = Limits { relabel_rules: vec![forget("x|long")], ..few };
    let server = limited(few).await;
    let with = |name: &str, value: &str| {
        let mut labels = up();
        labels.set(name, value);
        server_request(&labels)
    };
    assert_eq!(server.push(&with("long", "far more than eight bytes")).await.status, 204);
    let response = server.push(&with("y", "1")).await;
    assert_eq!(response.status, 400);
    assert!(response.body.contains("labels 3 over the limit of 2 (max_labels)"), "{response:?}");
    assert_eq!(server.rig.replicas[0].series(), 1);

    let many: Vec<_> = (0..1025).map(|at| raw_label(format!("l{at}").as_bytes(), b"1")).collect();
    let response = server.push(&raw_series(&many)).await;
    assert!(response.body.contains("labels 1025 over the limit of 1024"), "{response:?}");
}

fn server_request(labels: &model::LabelSet) -> Vec<u8> {
    request(&[(labels, &[(NOW_MS, 1.0)])])
}

#[tokio::test]
async fn rules_that_leave_no_metric_name_or_too_much_are_told_to_the_sender() {
    let server = limited(rules(vec![forget("__name__")])).await;
    let response = server.push(&server_request(&up())).await;
    assert_eq!(response.status, 400);
    assert!(response.body.contains("no metric name"), "{response:?}");

    let double = RelabelRule {
        source_labels: vec!["job".into()],
        target_label: "job".to_owned(),
        replacement: "$1$1".to_owned(),
        ..RelabelRule::default()
    };
    let server = limited(rules(vec![double; 30])).await;
    let response = server.push(&server_request(&up())).await;
    assert_eq!(response.status, 400);
    let wanted = "rule 16 of metric_relabel_configs makes more than 65536 bytes";
    assert!(response.body.contains(wanted), "{response:?}");
}

#[tokio::test]
async fn two_series_that_become_one_are_one_series() {
    let server = limited(rules(vec![forget("pod")])).await;
    let of_pod = |pod: &str| {
        let mut labels = up();
        labels.set("pod", pod);
        labels
    };
    for at in 0..2 {
        let (a, b) = (of_pod("a"), of_pod("b"));
        let body = request(&[(&a, &[(NOW_MS + at, 1.0)]), (&b, &[(NOW_MS + 10 + at, 2.0)])]);
        assert_eq!(server.push(&body).await.status, 204);
    }
    let kept = server.rig.replicas[0].samples("default", &up());
    let at = |ms: i64| NOW_MS + ms;
    assert_eq!(kept, [(at(0), 1.0), (at(1), 1.0), (at(10), 2.0), (at(11), 2.0)]);
}

#[tokio::test]
async fn samples_are_routed_by_the_metric_that_the_rules_make() {
    let config = RigConfig {
        members: 5,
        limits: rules(vec![set("__name__", "one")]),
        ..RigConfig::default()
    };
    let server = Server::new(rig(config)).await;
    for metric in ["a", "b", "c", "d", "e", "f"] {
        for round in 0..2 {
            let sent = labels(&[("__name__", metric), ("was", metric)]);
            let response = server.push(&request(&[(&sent, &[(NOW_MS + round, 1.0)])])).await;
            assert_eq!(response.status, 204);
        }
    }
    let holding: Vec<usize> = server.rig.replicas.iter().map(|one| one.series()).collect();
    assert_eq!(holding.iter().filter(|series| **series > 0).count(), 1, "{holding:?}");
    assert_eq!(holding.iter().sum::<usize>(), 6);
}

/// A rig whose tenant keeps samples of HA pairs once.
async fn pairs(limits: Limits) -> Server {
    let ha = guard::HaLimits { is_on: true, max_clusters: Limit(2), ..limits.ha.clone() };
    limited(Limits { ha, ..limits }).await
}

fn of_replica(replica: &str, extra: &[(&str, &str)]) -> model::LabelSet {
    let mut labels = labels(&[("__name__", "up"), ("cluster", "c"), ("__replica__", replica)]);
    for (name, value) in extra {
        labels.set(*name, *value);
    }
    labels
}

fn kept_of(server: &Server) -> Vec<(i64, f64)> {
    let stored = labels(&[("__name__", "up"), ("cluster", "c")]);
    let kept = server.rig.replicas[0].samples("default", &stored);
    kept.into_iter().map(|(at, value)| (at - NOW_MS, value)).collect()
}

/// Sends one sample of a replica, its time counted from the start.
async fn say(server: &Server, replica: &str, at_ms: i64, value: f64) -> u16 {
    let body = request(&[(&of_replica(replica, &[]), &[(NOW_MS + at_ms, value)])]);
    server.push(&body).await.status
}

#[tokio::test]
async fn of_two_replicas_one_is_kept_without_its_label_and_the_other_gets_202() {
    let server = pairs(Limits::default()).await;
    for round in 0..3 {
        assert_eq!(say(&server, "a", round * 15_000, 1.0).await, 204);
        assert_eq!(say(&server, "b", round * 15_000 + 7_000, 2.0).await, 202);
        server.rig.clock.advance(15_000);
    }
    assert_eq!(kept_of(&server), [(0, 1.0), (15_000, 1.0), (30_000, 1.0)]);
    assert_eq!(server.rig.replicas[0].series(), 1);
    assert_eq!(dropped(&server), 3.0);
}

#[tokio::test]
async fn a_replica_that_was_silent_for_thirty_seconds_is_replaced_and_waits_when_it_is_back() {
    let server = pairs(Limits::default()).await;
    say(&server, "a", 0, 1.0).await;
    server.rig.clock.advance(29_999);
    assert_eq!(say(&server, "b", 29_000, 2.0).await, 202);
    server.rig.clock.advance(1);
    assert_eq!(say(&server, "b", 30_000, 2.0).await, 204);
    assert_eq!(say(&server, "a", 30_500, 1.0).await, 202);
    let failovers = counter(&server.rig.registry, "cumae_distributor_ha_failovers_total");
    assert_eq!(failovers["default"], 1.0);
    let status = server.rig.distributor.ha_status(&id("default"));
    assert_eq!((&*status[0].elected, status[0].elections), ("b", 2));
}

#[tokio::test]
async fn a_fail_over_after_thirty_seconds_leaves_no_gap_and_brings_no_sample_twice() {
    let server = pairs(Limits::default()).await;
    // Both send every 15 s, until the first one dies behind its fifth round.
    for round in 0..10 {
        let at = round * 15_000;
        if round < 5 {
            assert_eq!(say(&server, "a", at, 1.0).await, 204);
        }
        server.rig.clock.advance(7_000);
        let silent_ms = at + 7_000 - 60_000;
        let wanted = if silent_ms >= 30_000 { 204 } else { 202 };
        assert_eq!(say(&server, "b", at + 7_000, 2.0).await, wanted, "{silent_ms}");
        server.rig.clock.advance(8_000);
    }
    let first = (0..5).map(|round| (round * 15_000, 1.0));
    let next = (4..10).map(|round| (round * 15_000 + 7_000, 2.0));
    assert_eq!(kept_of(&server), first.chain(next).collect::<Vec<_>>());
    assert_eq!(server.rig.replicas[0].series(), 1);
}

#[tokio::test]
async fn what_is_sent_late_after_a_fail_over_is_kept() {
    let server = pairs(Limits::default()).await;
    assert_eq!(say(&server, "a", 0, 1.0).await, 204);
    server.rig.clock.advance(30_000);
    assert_eq!(say(&server, "b", 30_000, 2.0).await, 204);
    // A day of one machine that was cut off, and what the other of the pair had delivered.
    for (at, value) in [(-86_400_000, 3.0), (-60_000, 4.0)] {
        assert_eq!(say(&server, "b", at, value).await / 100, 2);
    }
    assert_eq!(kept_of(&server), [(-86_400_000, 3.0), (0, 1.0), (30_000, 2.0)]);
}

#[tokio::test]
async fn a_fail_over_of_otlp_and_of_imports_leaves_no_gap_either() {
    let otlp = |replica: &str, at_ms: i64| {
        format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"up","gauge":{{"dataPoints":[
            {{"timeUnixNano":"{}000000","asDouble":1,"attributes":[
            {{"key":"cluster","value":{{"stringValue":"c"}}}},
            {{"key":"__replica__","value":{{"stringValue":"{replica}"}}}}]}}]}}}}]}}]}}]}}"#,
            NOW_MS + at_ms
        )
    };
    let text = |replica: &str, at_ms: i64| {
        format!("up{{cluster=\"c\",__replica__=\"{replica}\"}} 1 {}\n", NOW_MS + at_ms)
    };
    let json = [("Content-Type", "application/json")];
    type Door<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a dyn Fn(&str, i64) -> String);
    let doors: [Door<'_>; 2] =
        [("/otlp/v1/metrics", &json, &otlp), ("/api/v1/import/prometheus", &[], &text)];
    for (path, headers, body) in doors {
        let server = pairs(Limits::default()).await;
        let say = async |replica: &str, at_ms: i64| {
            server.rig.clock.advance(1);
            server.post(path, headers, body(replica, at_ms).as_bytes()).await.status
        };
        server.rig.clock.advance(100);
        for (replica, at_ms) in [("a", 10), ("b", 20), ("b", 30)] {
            assert!([200, 204].contains(&say(replica, at_ms).await), "{path}");
        }
        assert_eq!(kept_of(&server), [(10, 1.0)], "{path}: who waits is not kept");
        server.rig.clock.advance(30_000);
        say("b", 30_050).await;
        let mut kept = kept_of(&server);
        kept.sort_by_key(|(at, _)| *at);
        assert_eq!(kept, [(10, 1.0), (20, 1.0), (30, 1.0), (30_050, 1.0)], "{path}");
    }
}

#[tokio::test]
async fn what_an_heir_sent_is_held_on_while_it_cannot_be_written() {
    let server = pairs(Limits::default()).await;
    server.rig.clock.advance(100);
    say(&server, "a", 10, 1.0).await;
    assert_eq!(say(&server, "b", 20, 2.0).await, 202);
    server.rig.clock.advance(30_000);
    server.rig.replicas[0].set_mood(Mood::Fails(Kind::Unavailable));
    assert_eq!(say(&server, "b", 30, 2.0).await, 503);
    // It has nothing of its own to write, and what was held cannot be written.
    assert_eq!(say(&server, "b", 5, 2.0).await, 202);
    server.rig.replicas[0].set_mood(Mood::Well);
    assert_eq!(say(&server, "b", 30, 2.0).await, 204);
    let mut kept = kept_of(&server);
    kept.sort_by_key(|(at, _)| *at);
    assert_eq!(kept, [(10, 1.0), (20, 2.0), (30, 2.0)]);
}

#[tokio::test]
async fn what_is_owed_outlives_the_next_heir_and_who_owes_it() {
    // All that live speak every 10 s. a dies behind its first round; in the fourth b is elected in its
    // place, while nothing can be written until the tenth. b dies behind its fifth, or lives on.
    for lives in [false, true] {
        let server = pairs(Limits::default()).await;
        let mood = |mood| server.rig.replicas[0].set_mood(mood);
        server.rig.clock.advance(1_000);
        say(&server, "a", 10_000, 1.0).await;
        for round in 1..=16 {
            match round {
                4 => mood(Mood::Fails(Kind::Unavailable)),
                10 => mood(Mood::Well),
                _ => {}
            }
            // What was refused is sent again.
            let first = if lives && round == 10 { 4 } else { round };
            for round in (first..=round).filter(|round| lives || *round <= 5) {
                say(&server, "b", 10_000 * round + 1, 2.0).await;
            }
            say(&server, "c", 10_000 * round + 2, 3.0).await;
            server.rig.clock.advance(10_000);
        }
        let mut kept = kept_of(&server);
        kept.sort_by_key(|(at, _)| *at);
        let rounds: std::collections::BTreeSet<i64> =
            kept.iter().map(|(at, _)| at / 10_000).collect();
        let missing: Vec<_> = (1..=16).filter(|round| !rounds.contains(round)).collect();
        assert_eq!(missing, [0; 0], "{lives}: {kept:?}");
        // a's first and b's first are both there: it came later than what was covered.
        assert_eq!(kept.len(), 17, "{lives}: none twice: {kept:?}");
    }
}

#[tokio::test]
async fn what_is_owed_and_can_never_be_written_keeps_nobody_from_being_elected() {
    let server = pairs(Limits::default()).await;
    say(&server, "a", 0, 1.0).await;
    assert_eq!(say(&server, "b", 7_000, 2.0).await, 202);
    assert_eq!(say(&server, "b", 8_000, 2.0).await, 202);
    server.rig.replicas[0].set_mood(Mood::TooLargeAt(NOW_MS + 7_000));
    server.rig.clock.advance(30_000);
    assert_eq!(say(&server, "b", 30_000, 2.0).await, 204);
    let lost = counter(&server.rig.registry, "cumae_distributor_ha_not_held_total");
    assert_eq!(lost["default"], 1.0);
    // b has fallen silent, too.
    server.rig.clock.advance(30_000);
    assert_eq!(say(&server, "c", 62_000, 3.0).await, 204);
    let kept: Vec<i64> = kept_of(&server).into_iter().map(|(at, _)| at).collect();
    assert_eq!(kept, [0, 8_000, 30_000, 62_000]);
    // Who sends such a thing itself is told so, and not to come again.
    server.rig.replicas[0].set_mood(Mood::TooLargeAt(NOW_MS + 63_000));
    assert_eq!(say(&server, "c", 63_000, 3.0).await, 413);
}

#[tokio::test]
async fn an_heir_that_sends_more_than_there_is_room_for_is_counted_and_what_had_room_is_kept() {
    let ha = guard::HaLimits { is_on: true, ..guard::HaLimits::default() };
    let limits = Limits { ha, ..Limits::default() };
    // An eighth of a mebibyte is held: 128 requests of a kibibyte.
    let config = Config { inflight_bytes_max: 1 << 20, ..Config::default() };
    let server = Server::new(rig(RigConfig { config, limits, ..RigConfig::default() })).await;
    say(&server, "a", 0, 1.0).await;
    for at in 1..=130 {
        assert_eq!(say(&server, "b", at, 2.0).await, 202);
    }
    let not_held = counter(&server.rig.registry, "cumae_distributor_ha_not_held_total");
    assert_eq!(not_held["default"], 2.0);
    server.rig.clock.advance(30_000);
    assert_eq!(say(&server, "b", 131, 2.0).await, 204);
    assert_eq!(kept_of(&server).len(), 1 + 128 + 1);
}

#[tokio::test]
async fn no_sample_that_the_one_delivered_is_taken_from_the_other() {
    let server = pairs(Limits::default()).await;
    for at in [0, 15_000, 30_000] {
        say(&server, "a", at, 1.0).await;
        server.rig.clock.advance(15_000);
    }
    server.rig.clock.advance(30_000);
    // The other was cut off and sends all that it has, older than the last of the first one too.
    let mut late: Vec<_> = (0..5).map(|round| (NOW_MS + round * 15_000 + 7_000, 2.0)).collect();
    late.push((NOW_MS + 30_000, 2.0));
    let body = request(&[(&of_replica("b", &[]), &late)]);
    assert_eq!(server.push(&body).await.status, 204);
    let wanted =
        [(0, 1.0), (15_000, 1.0), (30_000, 1.0), (37_000, 2.0), (52_000, 2.0), (67_000, 2.0)];
    assert_eq!(kept_of(&server), wanted);
    assert_eq!(dropped(&server), 3.0, "that of the very same time too");
}

#[tokio::test]
async fn a_write_that_failed_covers_nothing() {
    let server = pairs(Limits::default()).await;
    server.rig.replicas[0].set_mood(Mood::Fails(Kind::Unavailable));
    assert_eq!(say(&server, "a", 0, 1.0).await, 503);
    server.rig.replicas[0].set_mood(Mood::Well);
    server.rig.clock.advance(30_000);
    assert_eq!(say(&server, "b", 0, 2.0).await, 204);
    assert_eq!(kept_of(&server), [(0, 2.0)]);
}

#[tokio::test]
async fn series_of_several_clusters_and_of_none_are_told_apart_within_a_request() {
    let server = pairs(Limits::default()).await;
    let sample = [(NOW_MS, 1.0)];
    say(&server, "a", 0, 1.0).await;
    let (waits, other) = (of_replica("b", &[]), of_replica("b", &[("cluster", "d")]));
    let (plain, half) = (up(), labels(&[("__name__", "up"), ("__replica__", "z")]));
    let all = [(&waits, &sample[..]), (&other, &sample), (&plain, &sample), (&half, &sample)];
    assert_eq!(server.push(&request(&all)).await.status, 204, "not all of it was from who waits");
    let replica = &server.rig.replicas[0];
    let d = labels(&[("__name__", "up"), ("cluster", "d")]);
    for stored in [&d, &plain, &half] {
        assert_eq!(replica.samples("default", stored).len(), 1, "{stored:?}");
    }
    assert_eq!(replica.series(), 4);
}

#[tokio::test]
async fn a_cluster_too_many_is_refused_by_name_and_the_rest_is_written() {
    let server = pairs(Limits::default()).await;
    let sample = [(NOW_MS, 1.0)];
    let of = |cluster: &str| of_replica("a", &[("cluster", cluster)]);
    let all = [of("c"), of("d"), of("e")];
    let all: Vec<_> = all.iter().map(|labels| (labels, &sample[..])).collect();
    let response = server.push(&request(&all)).await;
    assert_eq!(response.status, 400);
    let wanted = "tenant default: more than 2 HA clusters (ha_max_clusters)";
    assert!(response.body.contains("1 of 3 samples refused"), "{response:?}");
    assert!(response.body.contains(wanted), "{response:?}");
}

#[tokio::test]
async fn histograms_and_exemplars_of_who_waits_and_of_what_was_delivered_are_dropped() {
    let server = pairs(Limits::default()).await;
    let body = |replica: &str, at_ms: i64| {
        let timestamp_ms = NOW_MS + at_ms;
        let mut histogram = model::Histogram::stale();
        histogram.sum = 0.0;
        let histogram = model::HistogramSample {
            timestamp_ms,
            histogram: std::sync::Arc::new(histogram),
            start_timestamp_ms: 0,
            revision: 0,
        };
        let exemplar = model::Exemplar { timestamp_ms, value: 1.0, labels: labels(&[]) };
        let mut body = Vec::new();
        encode_extras(&of_replica(replica, &[]), &[histogram], &[exemplar], &mut body);
        body
    };
    server.rig.clock.advance(100);
    assert_eq!(server.push(&body("a", 10)).await.status, 204);
    assert_eq!(server.push(&body("b", 20)).await.status, 202);
    server.rig.clock.advance(30_000);
    assert_eq!(server.push(&body("b", 5)).await.status, 202, "a has delivered that time");
    assert_eq!(server.push(&body("b", 30)).await.status, 204);
    let stored = labels(&[("__name__", "up"), ("cluster", "c")]);
    let (histograms, exemplars) = server.rig.replicas[0].extras("default", &stored);
    let times: Vec<_> = histograms.iter().map(|one| one.timestamp_ms - NOW_MS).collect();
    assert_eq!((times, exemplars.len()), (vec![10, 20, 30], 3), "b@20 was held while b waited");
}

#[tokio::test]
async fn rules_see_the_cluster_and_not_the_replica() {
    let server = pairs(rules(vec![keep("up"), forget("cluster|__replica__")])).await;
    assert_eq!(say(&server, "a", 0, 1.0).await, 204);
    assert_eq!(say(&server, "b", 1, 2.0).await, 202);
    let stored = labels(&[("__name__", "up")]);
    assert_eq!(server.rig.replicas[0].samples("default", &stored), [(NOW_MS, 1.0)]);
}

#[tokio::test]
async fn off_the_labels_are_labels() {
    let server = server().await;
    assert_eq!(say(&server, "a", 0, 1.0).await, 204);
    assert_eq!(say(&server, "b", 0, 2.0).await, 204);
    assert_eq!(server.rig.replicas[0].series(), 2);
}
