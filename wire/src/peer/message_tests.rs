//! Properties of the messages: decode of encode is identity, junk is refused.

use super::*;
use model::histogram::{Counts, Span};
use model::mutation::{SeriesRefusal, Written};
use model::read::{LabelWant, SelectBounds, Steps, Wanted};
use model::sample::SampleKind;
use model::{
    Column, DayBucket, Exemplar, Histogram, HistogramColumn, HistogramSample, Matcher, Principal,
    QueryShard, RequestId, Sample, SeriesRef, TenantId, TimeRange, TimestampMs,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn text() -> impl Strategy<Value = Text> {
    prop_oneof![Just("up"), Just("job"), Just("é"), Just("a"), Just("b")].prop_map(Text::from)
}

fn labels() -> impl Strategy<Value = LabelSet> {
    proptest::collection::btree_map("[a-e]{1,2}", "[a-zé]{1,6}", 0..5)
        .prop_map(|pairs| LabelSet::from_pairs(pairs).unwrap())
}

fn context() -> impl Strategy<Value = Arc<Context>> {
    let principal = prop_oneof![
        Just(Principal::Anonymous),
        Just(Principal::System),
        text().prop_map(Principal::Named)
    ];
    (principal, "[a-z]{1,9}", any::<u64>(), any::<u32>(), any::<i64>(), any::<u64>()).prop_map(
        |(principal, tenant, id, timeout_ms, now, ring_version)| {
            let now = model::TimestampMs(now);
            let tenant = TenantId::parse(&tenant).unwrap();
            let request_id = RequestId(id);
            Arc::new(Context { tenant, principal, request_id, timeout_ms, now, ring_version })
        },
    )
}

fn series_ref() -> impl Strategy<Value = SeriesRef> {
    prop_oneof![any::<u32>().prop_map(SeriesRef::Number), labels().prop_map(SeriesRef::Labels)]
}

fn metadata() -> impl Strategy<Value = Vec<MetricMetadata>> {
    let one = (text(), 0..8_usize, text(), text()).prop_map(|(metric, at, help, unit)| {
        MetricMetadata { metric, metric_type: model::mutation::MetricType::ALL[at], help, unit }
    });
    vec(one, 0..4)
}

fn bits() -> impl Strategy<Value = f64> {
    any::<u64>().prop_map(f64::from_bits)
}

fn histogram(sum: f64) -> Arc<Histogram> {
    let counts =
        Counts::Float { count: sum, zero_count: 0.0, positive: vec![], negative: vec![1.0, sum] };
    let negative_spans = vec![Span { offset: -9, length: 2 }];
    Arc::new(Histogram { sum, counts, negative_spans, ..Histogram::stale() })
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let rows = vec((series_ref(), vec((any::<i64>(), bits()), 0..5)), 0..5);
    (context(), any::<u64>(), any::<u32>(), any::<bool>(), rows, any::<bool>(), metadata())
        .prop_map(|(context, generation, revision, float, rows, starts, metadata)| {
            let mut mutation = Mutation::empty(context);
            (mutation.generation, mutation.revision) = (generation, revision);
            mutation.kind = if float { SampleKind::Float } else { SampleKind::Histogram };
            rows.into_iter().for_each(|(series, samples)| mutation.push(series, samples));
            if !float {
                let values = std::mem::take(&mut mutation.values);
                mutation.histograms = values.into_iter().map(histogram).collect();
            }
            if let Some(rows) = mutation.series.first() {
                let labels = match &rows.series {
                    SeriesRef::Labels(labels) => labels.clone(),
                    SeriesRef::Number(_) => LabelSet::default(),
                };
                let exemplar = Exemplar { timestamp_ms: -7, value: 0.5, labels };
                mutation.exemplars.push((0, exemplar));
            }
            if starts {
                mutation.start_timestamps_ms = mutation.timestamps_ms.clone();
            }
            mutation.metadata = metadata;
            mutation
        })
}

fn matchers() -> impl Strategy<Value = Vec<Matcher>> {
    let one = (text(), 0..4_usize, text())
        .prop_map(|(name, op, value)| Matcher::new(name, model::MatchOp::ALL[op], value));
    vec(one, 0..4)
}

fn range() -> impl Strategy<Value = TimeRange> {
    (any::<i64>(), any::<i64>())
        .prop_map(|(a, b)| TimeRange { start: TimestampMs(a), end: TimestampMs(b) })
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let steps = any::<[i64; 4]>().prop_map(|[first_ms, step_ms, last_ms, back_ms]| Steps {
        first_ms,
        step_ms,
        last_ms,
        back_ms,
    });
    let labels = proptest::option::of(vec(text(), 0..3));
    (proptest::option::of(steps), any::<bool>(), labels)
        .prop_map(|(steps, presence, labels)| Wanted { steps, presence, labels })
}

fn selection() -> BoxedStrategy<Selection> {
    let days = proptest::option::of(vec(any::<i32>().prop_map(DayBucket), 0..4));
    (matchers(), range(), days, any::<[u32; 2]>(), any::<[u64; 3]>(), wanted())
        .prop_map(
            |(
                matchers,
                range,
                days,
                [index, count],
                [series_max, samples_max, tombstones_max],
                wanted,
            )| {
                Selection {
                    matchers,
                    range,
                    days,
                    shard: model::QueryShard { index, count },
                    bounds: SelectBounds { series_max, samples_max, tombstones_max },
                    wanted,
                }
            },
        )
        .boxed()
}

fn request() -> impl Strategy<Value = Request> {
    let want = prop_oneof![
        Just(LabelWant::Names),
        text().prop_map(LabelWant::Values),
        Just(LabelWant::Series),
        any::<[u32; 2]>()
            .prop_map(|[index, count]| { LabelWant::SeriesPart(QueryShard { index, count }) })
    ];
    let query = (want, vec(matchers(), 0..3), range(), any::<[u64; 2]>()).prop_map(
        |(want, matcher_sets, range, [limit, tombstones_max])| LabelQuery {
            want,
            matcher_sets,
            range,
            limit,
            tombstones_max,
        },
    );
    let about = proptest::option::of(text()).prop_map(|metric| MetadataQuery { metric });
    let exemplars = (vec(matchers(), 0..3), range(), any::<[u64; 2]>()).prop_map(
        |(matcher_sets, range, [exemplars_max, tombstones_max])| ExemplarQuery {
            matcher_sets,
            range,
            exemplars_max,
            tombstones_max,
        },
    );
    let delete = (vec(matchers(), 0..3), range(), any::<u32>()).prop_map(
        |(matcher_sets, range, revision_max)| DeleteRequest { matcher_sets, range, revision_max },
    );
    prop_oneof![
        (context(), vec(range(), 0..5)).prop_map(|(context, of)| Request::Versions(context, of)),
        (context(), exemplars).prop_map(|(context, of)| Request::Exemplars(context, of)),
        (context(), selection()).prop_map(|(context, of)| Request::Estimate(context, of)),
        context().prop_map(Request::Activity),
        context().prop_map(Request::Ring),
        (context(), delete).prop_map(|(context, of)| Request::Delete(context, of)),
        context().prop_map(Request::Tombstones),
        context().prop_map(Request::Purge),
        mutation().prop_map(Request::Write),
        (context(), selection()).prop_map(|(context, of)| Request::Select(context, of)),
        (context(), query).prop_map(|(context, of)| Request::Labels(context, of)),
        (context(), about).prop_map(|(context, of)| Request::Metadata(context, of)),
    ]
}

fn columns() -> impl Strategy<Value = Vec<SeriesColumns>> {
    let value = (bits(), any::<bool>(), 0_i64..2, 0_u32..2);
    let samples = proptest::collection::btree_map(any::<i64>(), value, 0..6);
    type Samples = std::collections::BTreeMap<i64, (f64, bool, i64, u32)>;
    proptest::collection::btree_map(labels(), samples, 0..5).prop_map(|series| {
        let of = |(labels, samples): (LabelSet, Samples)| {
            let mut one = SeriesColumns { labels, ..SeriesColumns::default() };
            for (timestamp_ms, (value, is_float, start_timestamp_ms, revision)) in samples {
                if is_float {
                    let sample = Sample { timestamp_ms, value, start_timestamp_ms, revision };
                    one.floats.push_sample(&sample);
                } else {
                    let histogram = histogram(value);
                    one.histograms.push_sample(HistogramSample {
                        timestamp_ms,
                        histogram,
                        start_timestamp_ms,
                        revision,
                    });
                }
            }
            one
        };
        series.into_iter().map(of).collect()
    })
}

fn exemplars() -> impl Strategy<Value = Vec<SeriesExemplars>> {
    let one = (any::<i64>(), bits(), labels()).prop_map(|(timestamp_ms, value, labels)| Exemplar {
        timestamp_ms,
        value,
        labels,
    });
    proptest::collection::btree_map(labels(), proptest::collection::btree_set(one, 1..5), 0..4)
        .prop_map(|series| {
            let of = |(labels, exemplars): (_, std::collections::BTreeSet<Exemplar>)| {
                SeriesExemplars { labels, exemplars: exemplars.into_iter().collect() }
            };
            series.into_iter().map(of).collect()
        })
}

fn tombstones() -> impl Strategy<Value = Vec<Tombstone>> {
    let one = ("[a-z]{1,9}", matchers(), range(), any::<u32>(), any::<i64>()).prop_map(
        |(tenant, matchers, range, revision_max, created)| Tombstone {
            tenant: TenantId::parse(&tenant).unwrap(),
            matchers,
            range,
            revision_max,
            created: TimestampMs(created),
        },
    );
    vec(one, 0..4)
}

fn response() -> impl Strategy<Value = Response> {
    let refusal = (any::<u32>(), any::<bool>(), any::<u64>()).prop_map(|(index, series, limit)| {
        let of_series = SeriesRefusal::SeriesLimit { limit };
        (index, if series { of_series } else { SeriesRefusal::MetricSeriesLimit { limit } })
    });
    let numbers = vec((any::<u32>(), any::<u32>()), 0..4);
    let written =
        (any::<u64>(), numbers, vec(refusal, 0..3)).prop_map(|(generation, numbers, refused)| {
            Response::Write(WriteAnswer::Written(Written { generation, numbers, refused }))
        });
    prop_oneof![
        any::<u32>().prop_map(|revision_max| Response::Delete(DeleteAnswer { revision_max })),
        tombstones().prop_map(Response::Tombstones),
        Just(Response::Purge),
        Just(Response::Write(WriteAnswer::NeedLabels)),
        written,
        columns().prop_map(Response::Select),
        vec(text(), 0..4).prop_map(|texts| Response::Labels(LabelAnswer::Texts(texts))),
        vec(labels(), 0..4).prop_map(|sets| Response::Labels(LabelAnswer::Series(sets))),
        metadata().prop_map(Response::Metadata),
        exemplars().prop_map(Response::Exemplars),
        any::<[u64; 3]>().prop_map(|[partitions, series, samples]| {
            Response::Estimate(Estimate { partitions, series, samples })
        }),
        vec(any::<u64>(), 0..5).prop_map(Response::Versions),
        (vec(any::<u8>(), 0..9), vec((any::<u128>(), "[a-z:0-9]{0,9}"), 0..3))
            .prop_map(|(row, addresses)| Response::Ring(RingAnswer { row, addresses })),
        (0..13_usize, "[a-z ]{0,9}").prop_map(|(at, text)| Response::Failed(KINDS[at], text)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    // Values are compared by what they encode to: NaN payloads count.
    #[test]
    fn a_request_reads_back_as_it_was(request in request()) {
        let bytes = request.encode();
        let back = Request::decode(&bytes).unwrap();
        prop_assert_eq!(back.encode(), bytes);
        let (back, request) = (format!("{back:?}"), format!("{request:?}"));
        prop_assert_eq!(back, request);
    }

    #[test]
    fn an_answer_reads_back_as_it_was(response in response()) {
        let parts = response.encode();
        let back = Response::decode(&parts).unwrap();
        prop_assert_eq!(back.encode(), parts);
        prop_assert_eq!(format!("{back:?}"), format!("{response:?}"));
    }

    #[test]
    fn a_request_that_is_cut_anywhere_is_refused(request in request(), at in any::<prop::sample::Index>()) {
        let bytes = request.encode();
        prop_assert!(Request::decode(&bytes[..at.index(bytes.len())]).is_err());
    }

    #[test]
    fn a_message_with_a_broken_byte_never_panics(
        request in request(),
        response in response(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = request.encode();
        let place = at.index(bytes.len());
        bytes[place] = byte;
        let _ = Request::decode(&bytes);
        for mut part in response.encode() {
            let place = at.index(part.len());
            part[place] = byte;
            let _ = Response::decode(&[part]);
        }
    }

    #[test]
    fn junk_never_panics(bytes in vec(any::<u8>(), 0..400), kind in 0..19_u8) {
        let mut bytes = bytes;
        let _ = Request::decode(&bytes);
        bytes.insert(0, kind);
        let _ = Request::decode(&bytes);
        let _ = Response::decode(&[bytes]);
    }
}

#[test]
fn a_long_series_travels_in_many_parts_and_arrives_whole() {
    let labels = LabelSet::from_pairs([("__name__", "up")]).unwrap();
    let count = 200_000_i64;
    let floats = Column {
        timestamps_ms: (0..count).collect(),
        values: vec![1.5; usize::try_from(count).unwrap()],
        ..Column::default()
    };
    let other = LabelSet::from_pairs([("__name__", "z")]).unwrap();
    let short = SeriesColumns {
        labels: other,
        floats: Column { timestamps_ms: vec![1].into(), values: vec![1.0], ..Column::default() },
        ..SeriesColumns::default()
    };
    let whole =
        Response::Select(vec![SeriesColumns { labels, floats, ..SeriesColumns::default() }, short]);
    let parts = whole.encode();
    assert!(parts.len() >= 2, "{} parts", parts.len());
    assert!(parts.iter().all(|part| part.len() < 2 * PART_BYTES));
    assert_eq!(Response::decode(&parts), Ok(whole));
    let swapped: Vec<_> = parts.into_iter().rev().collect();
    assert!(Response::decode(&swapped).is_err(), "parts in another order are no answer");
}

#[test]
fn exemplars_travel_in_many_parts_and_arrive_whole_and_in_order() {
    let of = |name: &str| SeriesExemplars {
        labels: LabelSet::from_pairs([("__name__", name)]).unwrap(),
        exemplars: (0..40_000)
            .map(|timestamp_ms| {
                let labels = LabelSet::from_pairs([("trace_id", "0af7651916cd43dd")]).unwrap();
                Exemplar { timestamp_ms, value: 0.5, labels }
            })
            .collect(),
    };
    let whole = Response::Exemplars(vec![of("a"), of("b")]);
    let parts = whole.encode();
    assert!(parts.len() >= 2, "{} parts", parts.len());
    assert!(parts.iter().all(|part| part.len() < 2 * PART_BYTES));
    assert_eq!(Response::decode(&parts), Ok(whole));
    let swapped: Vec<_> = parts.iter().rev().collect();
    assert!(Response::decode(&swapped).is_err(), "parts in another order are no answer");
    let twice = [&parts[0], &parts[0]];
    assert!(Response::decode(&twice).is_err(), "nor is one twice");
    assert_eq!(Response::Exemplars(vec![]).encode(), [vec![6, 0, 0]]);
}

#[test]
fn a_count_that_the_frame_cannot_hold_reserves_nothing() {
    let mut out = Writer::default();
    out.u8(2);
    out.u64(u64::MAX);
    assert_eq!(
        Response::decode(&[out.out]),
        Err(DecodeError { what: "a count is larger than the frame" })
    );
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `PEER.md` and `handshake::VERSION` change together with these.
#[test]
fn the_bytes_of_a_write_of_version_1_stay_as_they_are() {
    let tenant = TenantId::parse("t").unwrap();
    let context = Arc::new(Context {
        tenant,
        principal: Principal::Named("ada".into()),
        request_id: RequestId(0x0102_0304),
        timeout_ms: 300,
        now: model::TimestampMs(1_000),
        ring_version: 2,
    });
    let labels = LabelSet::from_pairs([("__name__", "up"), ("job", "up")]).unwrap();
    let mut mutation = Mutation::empty(context);
    mutation.generation = 9;
    mutation.push(SeriesRef::Labels(labels), [(1_000, 1.0), (900, -0.0)]);
    mutation.push(SeriesRef::Number(300), [(2_000, f64::NAN)]);
    let request = [
        "00",
        "0203616461",
        "0174",
        "0403020100000000",
        "ac02",
        "d00f",
        "02",
        "0900000000000000",
        "00",
        "00",
        "03085f5f6e616d655f5f027570036a6f62",
        "02",
        "01020001020102",
        "00ac0201",
        "03",
        "d00fc701981100",
    ];
    let bytes = hex(&Request::Write(mutation).encode());
    assert!(bytes.starts_with(&request.concat()), "{bytes}");
}

#[test]
fn the_bytes_of_floats_of_version_1_stay_as_they_are() {
    let labels = LabelSet::from_pairs([("__name__", "up"), ("job", "up")]).unwrap();
    let floats = Column {
        timestamps_ms: vec![1_000, 1_015].into(),
        values: vec![1.0, 2.0],
        ..Column::default()
    };
    let parts =
        Response::Select(vec![SeriesColumns { labels, floats, ..SeriesColumns::default() }])
            .encode();
    let answer = [
        "01",
        "03085f5f6e616d655f5f027570036a6f62",
        "01",
        "0200010201",
        "00",
        "02",
        "d00f1e",
        "000000000000f03f",
        "0000000000000040",
    ];
    assert_eq!(hex(&parts[0]), answer.concat());
}

#[test]
fn the_bytes_of_histograms_of_version_1_stay_as_they_are() {
    let mut histograms = HistogramColumn::default();
    histograms.push_sample(HistogramSample {
        timestamp_ms: 1_000,
        histogram: histogram(1.0),
        start_timestamp_ms: 500,
        revision: 0,
    });
    let labels = LabelSet::default();
    let floats = Column::default();
    let parts = Response::Select(vec![SeriesColumns { labels, floats, histograms }]).encode();
    let answer = [
        "010001",
        "00",
        "0c",
        "00",
        "01d00f",
        "0100",
        "0000000000000000",
        "000000000000f03f",
        "00011102",
        "00",
        "000000000000f03f0000000000000000",
        "000000000000f03f000000000000f03f",
        "e807",
    ];
    assert_eq!(hex(&parts[0]), answer.concat());
}

#[test]
fn the_bytes_of_exemplars_of_version_1_stay_as_they_are() {
    let context = Arc::new(Context {
        tenant: TenantId::parse("t").unwrap(),
        principal: Principal::Anonymous,
        request_id: RequestId(7),
        timeout_ms: 0,
        now: model::TimestampMs(0),
        ring_version: 0,
    });
    let query = ExemplarQuery {
        matcher_sets: vec![vec![Matcher::equal("job", "a")]],
        range: TimeRange { start: TimestampMs(-1), end: TimestampMs(1_000) },
        exemplars_max: 300,
        tombstones_max: 200,
    };
    let request = [
        "04",
        "00",
        "0174",
        "0700000000000000",
        "00",
        "00",
        "00",
        "0101036a6f62000161",
        "01d00f",
        "ac02",
        "c801",
    ];
    assert_eq!(hex(&Request::Exemplars(context, query).encode()), request.concat());
    let set = |pairs: &[(&str, &str)]| LabelSet::from_pairs(pairs.iter().copied()).unwrap();
    let exemplar = Exemplar { timestamp_ms: 1_000, value: 1.0, labels: set(&[("id", "a")]) };
    let series = SeriesExemplars { labels: set(&[("job", "a")]), exemplars: vec![exemplar] };
    let answer =
        ["06", "03036a6f620161026964", "01", "010001", "01", "d00f", "000000000000f03f", "010201"];
    let parts = Response::Exemplars(vec![series]).encode();
    assert_eq!(hex(&parts[0]), answer.concat());
}

#[test]
fn the_bytes_of_versions_of_version_1_stay_as_they_are() {
    let context = Arc::new(Context {
        tenant: TenantId::parse("t").unwrap(),
        principal: Principal::Anonymous,
        request_id: RequestId(7),
        timeout_ms: 0,
        now: model::TimestampMs(0),
        ring_version: 0,
    });
    let ranges = vec![TimeRange { start: TimestampMs(-1), end: TimestampMs(1_000) }];
    let request = ["06", "00", "0174", "0700000000000000", "00", "00", "00", "01", "01d00f"];
    assert_eq!(hex(&Request::Versions(context, ranges).encode()), request.concat());
    let parts = Response::Versions(vec![0, 258]).encode();
    assert_eq!(hex(&parts[0]), ["08", "02", "0000000000000000", "0201000000000000"].concat());
}
