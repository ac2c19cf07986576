//! CONTRACTS.md section 8, over a real socket.

use super::*;

const TEXT: &str = "/api/v1/import/prometheus";
const JSON: &str = "/api/v1/import";
const LINES: &str = "/write";

impl Server {
    async fn import(&self, path: &str, body: &str) -> Response {
        self.post(path, &[], body.as_bytes()).await
    }

    fn kept(&self, pairs: &[(&str, &str)]) -> Vec<(i64, f64)> {
        self.rig.replicas[0].samples("default", &labels(pairs))
    }
}

#[tokio::test]
async fn text_is_imported_with_its_times_those_of_the_request_or_now() {
    let server = server().await;
    let body =
        "# HELP up whether\n# TYPE up gauge\nup{job=\"a\"} 1 1700000000000\n\nup{job=\"b\"} 2\n";
    let response = server.import(TEXT, body).await;
    assert_eq!((response.status, &*response.body), (204, ""));
    assert_eq!(server.kept(&[("__name__", "up"), ("job", "a")]), [(1_700_000_000_000, 1.0)]);
    assert_eq!(server.kept(&[("__name__", "up"), ("job", "b")]), [(NOW_MS, 2.0)]);
    assert_eq!(server.rig.replicas[0].metadata_names(), ["up".into()]);
    // Without a line feed at the end, too.
    let path = format!("{TEXT}?timestamp=1600000000000");
    assert_eq!(server.import(&path, "x 3").await.status, 204);
    assert_eq!(server.kept(&[("__name__", "x")]), [(1_600_000_000_000, 3.0)]);
}

#[tokio::test]
async fn what_text_says_of_metrics_is_cut_and_left_out_as_it_is_of_a_remote_write() {
    let server = server().await;
    let (help, long) = ("h".repeat(1 << 20), "n".repeat(2049));
    let lines = [
        format!("# HELP up {help}"),
        "# TYPE up gauge".to_owned(),
        format!("# HELP {long} too long"),
        format!("# TYPE {long} gauge"),
        "up 1".to_owned(),
    ];
    assert_eq!(server.import(TEXT, &lines.join("\n")).await.status, 204);
    let [kept] = &server.rig.replicas[0].metadata()[..] else { panic!("one is kept") };
    assert_eq!((&*kept.metric, &*kept.help), ("up", &*"h".repeat(1024)));
    assert_eq!(server.kept(&[("__name__", "up")]), [(NOW_MS, 1.0)]);
}

#[tokio::test]
async fn what_is_said_of_metrics_is_written_before_it_is_much() {
    let server = server().await;
    let help = "h".repeat(1024);
    let lines: Vec<String> =
        (0..900).map(|n| format!("# HELP {n}{} {help}", "n".repeat(2000))).collect();
    assert_eq!(server.import(TEXT, &lines.join("\n")).await.status, 204);
    let replica = &server.rig.replicas[0];
    assert_eq!(replica.metadata_names().len(), 900);
    assert!(replica.writes() >= 3, "{} mutations of 2.7 MiB", replica.writes());
}

#[tokio::test]
async fn json_lines_are_imported() {
    let server = server().await;
    let body = concat!(
        r#"{"metric":{"__name__":"up","job":"a"},"values":[1,2.5],"timestamps":[1700000000000,1699999985000]}"#,
        "\n\r\n",
        r#"{"metric":{"__name__":"x"},"values":[null,"NaN",1],"timestamps":[1,2,3]}"#,
    );
    assert_eq!(server.import(JSON, body).await.status, 204);
    let up = server.kept(&[("__name__", "up"), ("job", "a")]);
    assert_eq!(up, [(1_699_999_985_000, 2.5), (1_700_000_000_000, 1.0)]);
    let times: Vec<i64> = server.kept(&[("__name__", "x")]).iter().map(|(time, _)| *time).collect();
    assert_eq!(times, [2, 3]);
}

#[tokio::test]
async fn line_protocol_is_imported_with_its_database_as_a_label() {
    let server = server().await;
    let line = "cpu,host=a usage=1.5,up=true,name=\"x\" 1700000000000000000";
    assert_eq!(server.import(LINES, line).await.status, 204);
    for (field, value) in [("cpu_usage", 1.5), ("cpu_up", 1.0)] {
        assert_eq!(server.kept(&[("__name__", field), ("host", "a")]), [(NOW_MS, value)]);
    }
    for (path, db, at) in [
        ("/write?db=d1&precision=s", "d1", "1700000001"),
        ("/api/v2/write?bucket=b%201&org=o&precision=ms", "b 1", "1700000001000"),
    ] {
        assert_eq!(server.import(path, &format!("m f=1 {at}")).await.status, 204);
        assert_eq!(server.kept(&[("__name__", "m_f"), ("db", db)]), [(NOW_MS + 1000, 1.0)]);
    }
    // A tag of that name says more.
    assert_eq!(server.import("/write?db=d1", "m,db=own f=2").await.status, 204);
    assert_eq!(server.kept(&[("__name__", "m_f"), ("db", "own")]), [(NOW_MS, 2.0)]);
}

#[tokio::test]
async fn a_bad_line_is_named_and_counted_and_the_others_are_written() {
    let server = server().await;
    for (path, body, why) in [
        (
            TEXT,
            "a 1\nb x\n\nc\nd 4",
            "2 lines could not be read: line 2: its value is not a number",
        ),
        (JSON, "{}\nx", "1 line could not be read: line 2: "),
        (
            LINES,
            "a f=1\nb f=x 1\nc f=2",
            "1 line could not be read: line 2: a field's value is not",
        ),
    ] {
        let response = server.import(path, body).await;
        assert_eq!(response.status, 400);
        assert!(response.body.starts_with(why), "{}", response.body);
    }
    assert_eq!(server.kept(&[("__name__", "a")]), [(NOW_MS, 1.0)]);
    assert_eq!(server.kept(&[("__name__", "d")]), [(NOW_MS, 4.0)]);
    assert_eq!(server.kept(&[("__name__", "c_f")]), [(NOW_MS, 2.0)]);
}

#[tokio::test]
async fn samples_are_refused_for_the_reasons_of_remote_write() {
    let server = server().await;
    let far = NOW_MS + 11 * 60_000;
    let response = server.import(TEXT, &format!("a 1\na 2 {far}\nb{{c=\"d\",c=\"e\"}} 1\n")).await;
    assert_eq!(response.status, 400);
    assert!(response.body.starts_with("2 of 3 samples refused"), "{}", response.body);
    assert!(response.body.contains("max_future"), "{}", response.body);
    let refused = counter(&server.rig.registry, "cumae_distributor_samples_refused_total");
    assert_eq!(refused["float,duplicate_label,default"], 1.0);
}

#[tokio::test]
async fn no_count_of_the_whole_body_is_refused() {
    let limits = Limits {
        max_request_series: Limit(3),
        max_request_samples: Limit(4),
        max_decoded_bytes: Limit(4000),
        ..Limits::default()
    };
    let server = limited(limits).await;
    let text: String = (0..100).map(|n| format!("x{{n=\"{n}\"}} {n}\n")).collect();
    assert_eq!(server.import(TEXT, &text).await.status, 204);
    assert_eq!(server.rig.replicas[0].series(), 100);
    let (values, times) =
        ("1,".repeat(50) + "1", (0..50).map(|n| format!("{n},")).collect::<String>());
    let line =
        format!(r#"{{"metric":{{"__name__":"y"}},"values":[{values}],"timestamps":[{times}50]}}"#);
    assert_eq!(server.import(JSON, &line).await.status, 204);
    assert_eq!(server.kept(&[("__name__", "y")]).len(), 51);
}

#[tokio::test]
async fn a_line_that_is_too_long_ends_the_import_and_what_stood_before_is_told() {
    let server = limited(Limits { max_request_bytes: Limit(100), ..Limits::default() }).await;
    let body = format!("a 1\nb 2\nc{{d=\"{}\"}} 3\n", "x".repeat(100));
    let response = server.import(TEXT, &body).await;
    assert_eq!(response.status, 413);
    let why = "line 3: it is longer than 100 bytes (max_request_bytes); what stands before line 3 is written";
    assert!(response.body.starts_with(why), "{}", response.body);
    assert_eq!(server.kept(&[("__name__", "b")]), [(NOW_MS, 2.0)]);
    // A line at the limit is not too long, and many of them are no long body.
    let line = format!("c{{d=\"{}\"}} 3\n", "x".repeat(91));
    assert_eq!(line.len(), 101);
    assert_eq!(server.import(TEXT, &line.repeat(1000)).await.status, 204);
}

#[tokio::test]
async fn gzip_bodies_are_read_and_a_cut_off_one_is_told_after_what_it_had() {
    let server = server().await;
    let body = gzipped("a 1\nb 2\n".repeat(10_000).as_bytes());
    let gzip = [("Content-Encoding", "gzip")];
    assert_eq!(server.post(TEXT, &gzip, &body).await.status, 204);
    let response = server.post(TEXT, &gzip, &body[..body.len() - 4]).await;
    assert_eq!(response.status, 400);
    assert!(response.body.contains("gzip: "), "{}", response.body);
    assert_eq!(server.post(TEXT, &[("Content-Encoding", "br")], &body).await.status, 415);
}

#[tokio::test]
async fn a_bad_parameter_is_400_and_names_it() {
    let server = server().await;
    for (path, why) in [
        ("/api/v1/import/prometheus?timestamp=now", "timestamp is \"now\""),
        ("/write?precision=d", "precision is \"d\", wanted one of ns us ms s m h"),
    ] {
        let response = server.import(path, "a 1").await;
        assert_eq!(response.status, 400);
        assert!(response.body.starts_with(why), "{}", response.body);
    }
}

#[tokio::test]
async fn a_replica_that_fails_ends_the_import_with_503() {
    let server = server().await;
    server.rig.replicas[0].set_mood(Mood::Fails(Kind::Unavailable));
    let response = server.import(TEXT, "a 1\n").await;
    assert_eq!(response.status, 503);
    assert!(response.header("retry-after").is_some());
    assert!(response.body.contains("before line 1 is written"), "{}", response.body);
}

#[tokio::test(start_paused = true)]
async fn who_writes_faster_than_its_rate_is_slowed_down_and_not_refused() {
    let limits = Limits {
        ingestion_rate: Limit(1000),
        ingestion_burst: 10,
        max_request_samples: Limit(10),
        ..Limits::default()
    };
    let server = limited(limits).await;
    let text: String = (0..30).map(|n| format!("x{{n=\"{n}\"}} {n}\n")).collect();
    let importing = server.import(TEXT, &text);
    let time = async {
        // The clock stands still until somebody waits for it.
        for _ in 0..1000 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            server.rig.clock.advance(5);
        }
    };
    let response = tokio::select! {
        response = importing => response,
        () = time => panic!("it never ended"),
    };
    assert_eq!(response.status, 204);
    assert_eq!(server.rig.replicas[0].series(), 30);
    assert!(model::Clock::now(&*server.rig.clock).0 > NOW_MS, "somebody waited");
}

#[tokio::test]
async fn the_fields_of_a_line_are_not_written_out_beyond_all_bounds() {
    let server = limited(Limits { max_request_bytes: Limit(1 << 20), ..Limits::default() }).await;
    let line = format!("m,t={} {}", "x".repeat(10_000), vec!["f=1"; 10_000].join(","));
    let response = server.import(LINES, &line).await;
    assert_eq!(response.status, 400);
    assert!(response.body.contains("too long for so many fields"), "{}", response.body);
}

#[tokio::test]
async fn clients_of_influxdb_are_told_their_databases() {
    let server = server().await;
    let ask = async |query: &str| server.ask("GET", &format!("/query?{query}"), &[], b"").await;
    let response = ask("q=SHOW%20DATABASES&db=te%22l").await;
    assert_eq!(response.status, 200);
    let want = r#"{"results":[{"statement_id":0,"series":[{"name":"databases","columns":["name"],"values":[["te\"l"]]}]}]}"#;
    assert_eq!(response.body, want);
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let response = server.post("/query", &form, b"q=CREATE+DATABASE+%22telegraf%22").await;
    assert_eq!((response.status, &*response.body), (200, r#"{"results":[{"statement_id":0}]}"#));
    assert_eq!(ask("q=SELECT%201").await.status, 400);
}
