//! Bombs of the door (reliability.md section 8, B1 to B7), as 2.0 and in zstd: the right answer, and
//! the server goes on. What they take of a real process: `tests/tests/hostile/writes.rs`.

use super::*;

const ZSTD: (&str, &str) = ("Content-Encoding", "zstd");

/// A frame that declares its length.
fn zstd(message: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(message, 1).unwrap()
}

/// A frame header that declares `content` bytes and a window of `1 << window_log`, and no block.
fn zstd_header(content: u64, window_log: u8) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xc0, (window_log - 10) << 3];
    frame.extend(content.to_le_bytes());
    frame
}

/// The last block of a frame, its bytes as they are.
fn raw_block(content: &[u8]) -> Vec<u8> {
    let header = u32::try_from(content.len()).unwrap() << 3 | 1;
    [&header.to_le_bytes()[..3], content].concat()
}

/// A whole frame that declares `content` bytes and has none.
fn zstd_frame(content: u64) -> Vec<u8> {
    [zstd_header(content, 20), raw_block(b"")].concat()
}

fn simple() -> Vec<u8> {
    request_v2(&[(&up(), one(&[(NOW_MS, 1.0, 0)]))])
}

/// The samples of `field`s that each say nothing, as a series with a name.
fn series_of(parts: &[&[u8]]) -> Vec<u8> {
    let symbols = [field(4, b""), field(4, b"__name__"), field(4, b"up")].concat();
    [symbols, field(5, &[&field(1, &[1, 2])[..], &parts.concat()].concat())].concat()
}

#[tokio::test]
async fn zstd_bodies_of_both_versions_are_taken_as_vmagent_sends_them() {
    let server = server().await;
    let version1 = request(&[(&c_total(), &[(NOW_MS, 2.0)])]);
    let vmagent = [
        ("Content-Type", "application/x-protobuf"),
        ZSTD,
        ("X-VictoriaMetrics-Remote-Write-Version", "1"),
    ];
    assert_eq!(server.post(PUSH, &vmagent, &zstd(&version1)).await.status, 204);
    let response = server.post(PUSH, &[V2, ZSTD], &zstd(&simple())).await;
    assert_eq!((response.status, response.written()), (204, counts(1, 0, 0)));
    let replica = &server.rig.replicas[0];
    assert_eq!(replica.samples("default", &c_total()), [(NOW_MS, 2.0)]);
    assert_eq!(replica.samples("default", &up()), [(NOW_MS, 1.0)]);
}

#[tokio::test]
async fn a_zstd_body_that_is_not_one_frame_of_declared_length_is_refused() {
    let server = limited(Limits { max_decoded_bytes: Limit(1 << 20), ..Limits::default() }).await;
    let whole = zstd(&simple());
    let mut longer = whole.clone();
    longer.push(0);
    let streamed = zstd::stream::encode_all(&*simple(), 1).unwrap();
    let huge = zstd(&vec![0; (1 << 20) + 1]);
    let wrong_window = [zstd_header(5, 31), raw_block(b"hello")].concat();
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4][..], &whole].concat();
    let rows = [
        ("one more byte than may be", huge.clone(), 413, "max_decoded_bytes"),
        ("2.5 GiB in 17 bytes", zstd_frame(2_500 << 20), 413, "max_decoded_bytes"),
        ("the most there is", zstd_frame(u64::MAX - 2), 413, "max_decoded_bytes"),
        ("a length that is not declared", streamed, 400, "does not declare"),
        ("two frames", [&whole[..], &whole].concat(), 400, "behind the frame"),
        ("a byte behind it", longer, 400, "behind the frame"),
        ("half of it", whole[..whole.len() / 2].to_vec(), 400, "zstd"),
        ("a header alone", zstd_header(1 << 20, 20), 400, "zstd"),
        ("a length too long", [zstd_header(6, 20), raw_block(b"hello")].concat(), 400, "zstd"),
        ("a length too short", [zstd_header(4, 20), raw_block(b"hello")].concat(), 400, "zstd"),
        ("a window of 2 GiB", wrong_window, 400, "protobuf"),
        ("a frame to skip", skippable, 400, "zstd"),
        ("snappy", compressed(&simple()), 400, "zstd"),
        ("another frame within", zstd(&zstd(&simple())), 400, "protobuf"),
    ];
    for (what, body, status, text) in rows {
        let response = server.post(PUSH, &[V2, ZSTD], &body).await;
        assert_eq!(
            (response.status, response.written()),
            (status, counts(0, 0, 0)),
            "{what}: {}",
            response.body
        );
        assert!(response.body.contains(text), "{what}: {}", response.body);
    }
    assert_eq!(server.rig.replicas[0].writes(), 0);
    let fits = zstd(&[0x78, 0x01].repeat(1 << 19));
    assert_eq!(server.post(PUSH, &[V2, ZSTD], &fits).await.status, 204, "exactly the limit");
}

#[tokio::test]
async fn a_body_that_declares_4_gib_is_refused_without_taking_memory() {
    let server = server().await;
    let block = [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0; 42]].concat();
    for (headers, body) in [
        ([V2, ("Content-Encoding", "snappy")], block),
        ([V2, ZSTD], zstd_frame(u64::from(u32::MAX))),
    ] {
        let response = server.post(PUSH, &headers, &body).await;
        assert_eq!((response.status, response.written()), (413, counts(0, 0, 0)));
    }
}

#[tokio::test]
async fn as_many_empty_things_as_fit_are_given_up_at_the_limit() {
    let server = server().await;
    let rows = [
        ("symbols", [0x22, 0x00].repeat(2_000_000), 413, "symbol table of 48000000 bytes"),
        ("series", [0x2a, 0x00].repeat(60_000), 413, "max_request_series"),
        ("samples", series_of(&[&[0x12, 0x00].repeat(500_001)]), 413, "max_request_samples"),
        ("histograms", series_of(&[&[0x1a, 0x00].repeat(500_001)]), 413, "max_request_samples"),
        ("exemplars", series_of(&[&[0x22, 0x00].repeat(500_001)]), 413, "max_request_samples"),
        ("references in a list", series_of(&[&field(1, &vec![0; 1 << 20]), &[0x12, 0]]), 204, ""),
        ("references", series_of(&[&[0x08, 0x00].repeat(1 << 20), &[0x12, 0]]), 204, ""),
        ("labels", series_of(&[&field(1, &[1, 2].repeat(1 << 19)), &[0x12, 0]]), 400, "max_labels"),
        ("metadata", series_of(&[&[0x2a, 0x00].repeat(1 << 20), &[0x12, 0]]), 204, ""),
        ("unknown fields", [0x78, 0x01].repeat(1 << 20), 204, ""),
        ("groups", [0x7b].repeat(1 << 20), 400, "invalid group"),
        ("varints without an end", [0xff].repeat(1_000), 400, "varint"),
        ("a length past the end", vec![0x2a, 0xff, 0xff, 0xff, 0x7f, 0x00], 400, "truncated"),
    ];
    for (what, message, status, text) in rows {
        let response = server.push_v2(&message).await;
        assert_eq!(response.status, status, "{what}: {}", response.body);
        assert!(response.body.contains(text), "{what}: {}", response.body);
        assert!(response.body.len() <= 4100, "{what}");
    }
    assert_eq!(server.push_v2(&simple()).await.written(), counts(1, 0, 0));
}

#[tokio::test]
async fn every_limit_of_a_request_holds_exactly_in_version_2() {
    type Row = (&'static str, fn(&mut Limits) -> &mut Limit, u64);
    let rows: [Row; 3] = [
        ("max_request_series", |limits| &mut limits.max_request_series, 3),
        ("max_request_samples", |limits| &mut limits.max_request_samples, 6),
        ("max_decoded_bytes", |limits| &mut limits.max_decoded_bytes, three_series().len() as u64),
    ];
    for (key, limit, exact) in rows {
        for (value, status) in [(exact, 204), (exact - 1, 413)] {
            let mut limits = Limits::default();
            *limit(&mut limits) = Limit(value);
            let response = limited(limits).await.push_v2(&three_series()).await;
            assert_eq!(response.status, status, "{key} {value}: {}", response.body);
            assert!(status == 204 || response.body.contains(key), "{}", response.body);
        }
    }
}

/// Three series with two samples each that share no long text.
fn three_series() -> Vec<u8> {
    let samples = [(NOW_MS, 1.0, 0), (NOW_MS + 1, 2.0, NOW_MS)];
    let of = |name: &str| labels(&[("__name__", name), ("value", &name.repeat(200))]);
    request_v2(&[(&of("a"), one(&samples)), (&of("b"), one(&samples)), (&of("c"), one(&samples))])
}

/// `series` series whose labels all refer to the same few symbols of `bytes` bytes, in another order
/// each: a few bytes in the body.
fn shared_symbols(series: u32, labels: u32, bytes: usize) -> Vec<u8> {
    let mut request = RequestV2::default();
    let values: Vec<String> = (0..labels).map(|number| format!("{number:0bytes$}")).collect();
    let names: Vec<String> = (0..labels).map(|number| format!("l{number}")).collect();
    for number in 0..series {
        let turned = |at: u32| &*values[((at + number) % labels) as usize];
        let id = number.to_string();
        let own = [("__name__", "m"), ("id", &*id)];
        let pairs = names.iter().zip(0..).map(|(name, at)| (&**name, turned(at)));
        request.begin(own.into_iter().chain(pairs));
        request.sample(NOW_MS, 1.0, 0);
        request.end();
    }
    request.finish()
}

#[tokio::test]
async fn symbols_that_many_new_series_share_count_for_each_of_them() {
    let limits = Limits { max_decoded_bytes: Limit(1 << 20), ..Limits::default() };
    let server = limited(limits).await;
    // 15 KiB a series, so 68 of them are within a MiB.
    let body = shared_symbols(400, 60, 250);
    assert!(body.len() < 100_000);
    let response = server.push_v2(&body).await;
    assert_eq!((response.status, response.written()), (413, counts(0, 0, 0)));
    assert!(response.body.contains("bytes of labels written out"), "{}", response.body);
    let response = server.push_v2(&shared_symbols(60, 60, 250)).await;
    assert_eq!((response.status, response.written()), (204, counts(60, 0, 0)));
    // Those that are known cost nothing.
    let response = server.push_v2(&shared_symbols(120, 60, 250)).await;
    assert_eq!((response.status, response.written()), (204, counts(120, 0, 0)));
}

#[tokio::test]
async fn a_giant_symbol_is_not_read_each_time_it_is_referred_to() {
    let giant = vec![b'x'; 16 << 20];
    let symbols =
        [field(4, b""), field(4, b"__name__"), field(4, b"up"), field(4, &giant)].concat();
    let sample = [0x12, 0x00];
    let label = field(5, &[&field(1, &[1, 2, 3, 3])[..], &sample].concat());
    let exemplar =
        field(5, &[&field(1, &[1, 2])[..], &sample, &field(4, &field(1, &[3, 3]))].concat());
    let help = [0x08, 1, 0x18, 3, 0x20, 3];
    let metadata = field(5, &[&field(1, &[1, 2])[..], &sample, &field(5, &help)].concat());
    for (what, series, status, text) in [
        ("label", label, 400, "max_label_name_bytes"),
        ("exemplar", exemplar, 400, "more than 128 characters"),
        ("metadata", metadata, 204, ""),
    ] {
        let server = server().await;
        let response = server.push_v2(&[symbols.clone(), series.repeat(40_000)].concat()).await;
        assert_eq!(response.status, status, "{what}: {}", response.body);
        assert!(response.body.contains(text), "{what}: {}", response.body);
    }
}

#[tokio::test]
async fn metadata_whose_texts_are_shared_is_kept_as_far_as_a_body_may_reach() {
    let limits = Limits { max_decoded_bytes: Limit(1 << 20), ..Limits::default() };
    let server = limited(limits).await;
    let help = "h".repeat(1000);
    let told = MetricMetadata {
        metric: "".into(),
        metric_type: MetricType::Counter,
        help: help.into(),
        unit: "".into(),
    };
    let mut request = RequestV2::default();
    for number in 0..3000 {
        let name = format!("m{number}");
        let samples = [(NOW_MS, 1.0, 0)];
        request.push(
            &labels(&[("__name__", &name)]),
            &SeriesV2 { metadata: Some(&told), ..one(&samples) },
        );
    }
    assert_eq!(server.push_v2(&request.finish()).await.written(), counts(3000, 0, 0));
    let kept = server.rig.replicas[0].metadata().len();
    assert!((900..1100).contains(&kept), "{kept}");
}

#[tokio::test]
async fn histograms_and_exemplars_take_no_more_than_twice_what_a_body_may() {
    let limits = Limits { max_decoded_bytes: Limit(1 << 20), ..Limits::default() };
    let server = limited(limits).await;
    // 160 buckets of a byte each, which take eight when decoded.
    let buckets = field(12, &[0x00; 160]);
    let span = field(11, &[0x10, 0xa0, 0x01]);
    let histogram = field(3, &[buckets, span].concat());
    let few = series_of(&[&histogram.repeat(1000)]);
    let response = server.push_v2(&few).await;
    assert_eq!(
        (response.status, response.written()),
        (204, counts(0, 1000, 0)),
        "{}",
        response.body
    );
    let many = series_of(&[&histogram.repeat(5000)]);
    assert!(many.len() < 1 << 20);
    let response = server.push_v2(&many).await;
    assert_eq!(response.status, 413);
    assert!(response.body.contains("bytes of histograms and exemplars"), "{}", response.body);
}

#[tokio::test]
async fn a_native_histogram_with_a_million_spans_or_buckets_is_refused_by_itself() {
    let server = server().await;
    let good = field(2, &[0x10, 0x01]);
    for (what, content) in [
        ("spans", field(11, &[]).repeat(1 << 20)),
        ("buckets", field(12, &vec![0; 1 << 20])),
        ("floats", field(13, &vec![0; 1 << 20])),
        ("bounds", field(16 - 8, &[]).repeat(1 << 20)),
    ] {
        let response = server.push_v2(&series_of(&[&good, &field(3, &content)])).await;
        assert_eq!((response.status, response.written()), (400, counts(1, 0, 0)), "{what}");
        assert!(response.body.contains("too many buckets"), "{what}: {}", response.body);
    }
}

#[tokio::test]
async fn bad_labels_of_every_kind_are_refused_by_their_series_and_the_rest_is_kept() {
    let long_name = "n".repeat(1 << 20);
    let long_value = "v".repeat(1 << 20);
    let many: Vec<String> = (0..10_000).map(|number| format!("l{number}")).collect();
    type Row<'a> = (&'a str, Vec<(&'a [u8], &'a [u8])>, &'a str);
    let rows: [Row<'_>; 7] = [
        ("a name of 1 MiB", vec![(long_name.as_bytes(), b"v")], "max_label_name_bytes"),
        ("a value of 1 MiB", vec![(b"l", long_value.as_bytes())], "max_label_value_bytes"),
        (
            "10,000 labels",
            many.iter().map(|name| (name.as_bytes(), &b"v"[..])).collect(),
            "max_labels",
        ),
        ("a name that is no text", vec![(b"\xff", b"v")], "invalid UTF-8"),
        ("a value that is no text", vec![(b"l", b"\xc3")], "invalid UTF-8"),
        ("a name twice", vec![(b"l", b"v"), (b"l", b"w")], "duplicate label name"),
        ("__name__ twice", vec![(b"__name__", b"down")], "duplicate label name"),
    ];
    for (what, pairs, text) in rows {
        let server = server().await;
        let mut symbols = [field(4, b""), field(4, b"__name__"), field(4, b"up")].concat();
        let mut references = vec![1, 2];
        for (pair, at) in pairs.iter().zip(0_u64..) {
            symbols.extend([field(4, pair.0), field(4, pair.1)].concat());
            for place in [2 * at + 3, 2 * at + 4] {
                references.extend(varint(place));
            }
        }
        let sample = field(2, &[0x10, 0x01]);
        let bad = field(5, &[field(1, &references), sample.clone()].concat());
        let good = field(5, &[field(1, &[1, 2]), sample].concat());
        let response = server.push_v2(&[symbols, bad, good].concat()).await;
        assert_eq!((response.status, response.written()), (400, counts(1, 0, 0)), "{what}");
        assert!(response.body.contains(text), "{what}: {}", response.body);
        assert!(response.body.len() <= 4100, "{what}");
    }
    // NUL is a character as any other.
    let nul = labels(&[("__name__", "up"), ("l", "a\0b")]);
    let response = server().await.push_v2(&request_v2(&[(&nul, one(&[(NOW_MS, 1.0, 0)]))])).await;
    assert_eq!((response.status, response.written()), (204, counts(1, 0, 0)));
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
    bytes
}

#[tokio::test]
async fn refused_new_series_do_not_stop_those_that_are_known() {
    let server = server().await;
    assert_eq!(server.push_v2(&simple()).await.status, 204);
    server.rig.replicas[0].set_mood(Mood::RefusesNewSeries);
    let mut request = RequestV2::default();
    for number in 0..20_000 {
        let id = number.to_string();
        request.push(&labels(&[("__name__", "new"), ("id", &id)]), &one(&[(NOW_MS, 1.0, 0)]));
    }
    request.push(&up(), &one(&[(NOW_MS + 1, 2.0, 0)]));
    let response = server.push_v2(&request.finish()).await;
    assert_eq!((response.status, response.written()), (400, counts(1, 0, 0)));
    assert!(response.body.starts_with("20000 of 20001 samples refused"), "{}", response.body);
    assert_eq!(server.rig.replicas[0].samples("default", &up()).len(), 2);
}

#[tokio::test]
async fn what_the_symbols_need_is_reserved_and_413_when_there_could_never_be_so_much() {
    let config = Config { inflight_bytes_max: 1 << 20, ..Config::default() };
    let server = Server::new(rig(RigConfig { config, ..RigConfig::default() })).await;
    // Decoded it needs twice 100 KB, its table 1.2 MB.
    let response = server.push_v2(&[0x22, 0x00].repeat(50_000)).await;
    assert_eq!((response.status, response.written()), (413, counts(0, 0, 0)));
    assert!(response.body.contains("write.memory"), "{}", response.body);
    // Written out, 200 series take 3 MB.
    assert_eq!(server.push_v2(&shared_symbols(200, 60, 250)).await.status, 413);
    assert_eq!(server.push_v2(&simple()).await.status, 204);
}
