//! The walk against prost, and against bytes that nobody would send in good faith.

use super::*;
use guard::Limit;
use model::histogram::{BUCKETS_MAX, BadHistogram, Counts, Histogram, ResetHint, Span};
use proptest::prelude::*;
use prost::Message;

mod version2;

// The messages of CONTRACTS.md 5.4 for prost. Texts are bytes here, since the walk leaves UTF-8 to
// validation, which refuses a series and not a body.

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<MetricMetadata>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    exemplars: Vec<ProstExemplar>,
    #[prost(message, repeated, tag = "4")]
    histograms: Vec<ProstHistogram>,
}

#[derive(Clone, PartialEq, Message)]
struct ProstExemplar {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(int64, tag = "3")]
    timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, prost::Oneof)]
enum ProstCount {
    #[prost(uint64, tag = "1")]
    Int(u64),
    #[prost(double, tag = "2")]
    Float(f64),
}

#[derive(Clone, Copy, PartialEq, prost::Oneof)]
enum ProstZeroCount {
    #[prost(uint64, tag = "6")]
    Int(u64),
    #[prost(double, tag = "7")]
    Float(f64),
}

#[derive(Clone, Copy, PartialEq, Message)]
struct ProstSpan {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

#[derive(Clone, PartialEq, Message)]
struct ProstHistogram {
    #[prost(oneof = "ProstCount", tags = "1, 2")]
    count: Option<ProstCount>,
    #[prost(double, tag = "3")]
    sum: f64,
    #[prost(sint32, tag = "4")]
    schema: i32,
    #[prost(double, tag = "5")]
    zero_threshold: f64,
    #[prost(oneof = "ProstZeroCount", tags = "6, 7")]
    zero_count: Option<ProstZeroCount>,
    #[prost(message, repeated, tag = "8")]
    negative_spans: Vec<ProstSpan>,
    #[prost(sint64, repeated, tag = "9")]
    negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    positive_spans: Vec<ProstSpan>,
    #[prost(sint64, repeated, tag = "12")]
    positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    reset_hint: i32,
    #[prost(int64, tag = "15")]
    timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    custom_values: Vec<f64>,
    #[prost(int64, tag = "17")]
    start_timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct MetricMetadata {
    #[prost(int32, tag = "1")]
    metric_type: i32,
    #[prost(bytes = "vec", tag = "2")]
    metric_family_name: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    help: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    unit: Vec<u8>,
}

/// What both decoders say of a body; values by their bits.
#[derive(Debug, Default, PartialEq)]
struct Said {
    series: Vec<SaidSeries>,
    metadata: Vec<SaidMetadata>,
}

/// Type, metric, help, unit.
type SaidMetadata = (&'static str, Vec<u8>, Vec<u8>, Vec<u8>);

#[derive(Debug, Default, PartialEq)]
struct SaidSeries {
    labels: Vec<(Vec<u8>, Vec<u8>)>,
    samples: Vec<(i64, u64)>,
    exemplars: Vec<SaidExemplar>,
    histograms: Vec<HistogramView>,
}

/// Labels, time, value by its bits.
type SaidExemplar = (Vec<(Vec<u8>, Vec<u8>)>, i64, u64);

fn pairs(labels: Vec<Label>) -> Vec<(Vec<u8>, Vec<u8>)> {
    labels.into_iter().map(|label| (label.name, label.value)).collect()
}

/// What the histogram says, by the plainest reading of CONTRACTS.md 5.5.
fn histogram_of(sent: &ProstHistogram) -> HistogramView {
    let said = || {
        let schema = i8::try_from(sent.schema).map_err(|_| BadHistogram("unknown schema"))?;
        let spans = |spans: &[ProstSpan]| -> Vec<Span> {
            spans.iter().map(|s| Span { offset: s.offset, length: s.length }).collect()
        };
        let counts = if let Some(ProstCount::Float(count)) = sent.count {
            let zero_count = match sent.zero_count {
                Some(ProstZeroCount::Float(zero)) => zero,
                _ => 0.0,
            };
            let (positive, negative) = (sent.positive_counts.clone(), sent.negative_counts.clone());
            Counts::Float { count, zero_count, positive, negative }
        } else {
            let absolute = |deltas: &[i64]| {
                let sums = deltas.iter().scan(0_i128, |sum, delta| {
                    *sum += i128::from(*delta);
                    Some(i64::try_from(*sum).ok().and_then(|sum| u64::try_from(sum).ok()))
                });
                sums.collect::<Option<Vec<u64>>>().ok_or(BadHistogram("a bucket is negative"))
            };
            Counts::Integer {
                count: if let Some(ProstCount::Int(count)) = sent.count { count } else { 0 },
                zero_count: match sent.zero_count {
                    Some(ProstZeroCount::Int(zero)) => zero,
                    _ => 0,
                },
                positive: absolute(&sent.positive_deltas)?,
                negative: absolute(&sent.negative_deltas)?,
            }
        };
        Ok(Histogram {
            schema,
            zero_threshold: sent.zero_threshold,
            sum: sent.sum,
            reset_hint: match sent.reset_hint {
                1 => ResetHint::Yes,
                2 => ResetHint::No,
                3 => ResetHint::Gauge,
                _ => ResetHint::Unknown,
            },
            positive_spans: spans(&sent.positive_spans),
            negative_spans: spans(&sent.negative_spans),
            custom_values: sent.custom_values.clone(),
            counts,
        })
    };
    HistogramView {
        timestamp_ms: sent.timestamp,
        start_timestamp_ms: sent.start_timestamp,
        histogram: said(),
    }
}

fn by_prost(body: &[u8]) -> Option<Said> {
    let request = WriteRequest::decode(body).ok()?;
    let series = request.timeseries.into_iter().map(|series| SaidSeries {
        labels: pairs(series.labels),
        samples: series.samples.iter().map(|s| (s.timestamp, s.value.to_bits())).collect(),
        exemplars: series
            .exemplars
            .into_iter()
            .map(|sent| (pairs(sent.labels), sent.timestamp, sent.value.to_bits()))
            .collect(),
        histograms: series.histograms.iter().map(histogram_of).collect(),
    });
    let names = [
        "unknown",
        "counter",
        "gauge",
        "histogram",
        "gaugehistogram",
        "summary",
        "info",
        "stateset",
    ];
    let metadata = request.metadata.into_iter().map(|one| {
        let number = usize::try_from(one.metric_type).unwrap_or(0);
        let name = names.get(number).copied().unwrap_or("unknown");
        (name, one.metric_family_name, one.help, one.unit)
    });
    Some(Said { series: series.collect(), metadata: metadata.collect() })
}

fn by_walk(body: &[u8]) -> Result<Said, Error> {
    let mut said = Said::default();
    let mut walk = Walk::new(body, Version::One);
    loop {
        match walk.next_field() {
            Ok(None) | Err(Error::OtherVersion(_)) => return Ok(said),
            Err(error) => return Err(error),
            Ok(Some(Field::Series(view))) => said.series.push(series_by_walk(body, view)?),
            Ok(Some(Field::Metadata(view))) => said.metadata.push((
                view.metric_type.as_str(),
                view.metric.to_vec(),
                view.help.to_vec(),
                view.unit.to_vec(),
            )),
        }
    }
}

fn series_by_walk(body: &[u8], view: SeriesView<'_>) -> Result<SaidSeries, Error> {
    let message = view.message();
    assert_eq!(&body[view.offset()..view.offset() + message.len()], message);
    let leading = view.leading_labels()?;
    let mut columns = SampleColumns::default();
    let tail = view.read_samples(leading.len(), &mut columns)?;
    let mut gathered = Vec::new();
    view.gather_labels(&mut gathered)?;
    if tail.has_more_labels {
        assert!(gathered.len() > leading.len());
    } else {
        assert_eq!(gathered, leading);
        assert_eq!(view.labels_of_len(leading.len()), Some(leading));
    }
    let owned = |labels: RawLabels<'_>| {
        let pairs =
            labels.iter().map(|label| label.map(|(name, value)| (name.to_vec(), value.to_vec())));
        pairs.collect::<Result<Vec<_>, Error>>()
    };
    let (mut histograms, mut exemplars) = (Vec::new(), Vec::new());
    for extra in view.extras() {
        match extra? {
            Extra::Histogram(histogram) => histograms.push(*histogram),
            Extra::Exemplar(view) => {
                exemplars.push((
                    owned(view.labels(None))?,
                    view.timestamp_ms,
                    view.value.to_bits(),
                ));
            }
        }
    }
    assert_eq!(tail.has_histograms, !histograms.is_empty());
    assert_eq!(tail.has_exemplars, !exemplars.is_empty());
    let values = columns.values.iter().map(|value| value.to_bits());
    Ok(SaidSeries {
        labels: owned(RawLabels::new(&gathered, None))?,
        samples: columns.timestamps_ms.into_iter().zip(values).collect(),
        exemplars,
        histograms,
    })
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"__name__".to_vec()),
        prop::collection::vec(any::<u8>(), 0..12),
        prop::collection::vec(any::<u8>(), 120..140),
    ]
}

fn sample() -> impl Strategy<Value = Sample> {
    let timestamp = prop_oneof![Just(1_700_000_000_000), any::<i64>(), 0_i64..300];
    let value = prop_oneof![any::<u64>().prop_map(f64::from_bits), Just(0.0)];
    (value, timestamp).prop_map(|(value, timestamp)| Sample { value, timestamp })
}

fn label() -> impl Strategy<Value = Label> {
    (bytes(), bytes()).prop_map(|(name, value)| Label { name, value })
}

fn exemplar() -> impl Strategy<Value = ProstExemplar> {
    (prop::collection::vec(label(), 0..3), sample()).prop_map(|(labels, sample)| ProstExemplar {
        labels,
        value: sample.value,
        timestamp: sample.timestamp,
    })
}

/// One side: spans, differences, counts.
fn side() -> impl Strategy<Value = (Vec<ProstSpan>, Vec<i64>, Vec<f64>)> {
    let offset = prop_oneof![0_i32..4, any::<i32>()];
    let span = (offset, 0_u32..4).prop_map(|(offset, length)| ProstSpan { offset, length });
    let delta = prop_oneof![4 => 0_i64..9, 1 => -9_i64..0, 1 => any::<i64>()];
    let count = any::<u64>().prop_map(f64::from_bits);
    (
        prop::collection::vec(span, 0..3),
        prop::collection::vec(delta, 0..4),
        prop::collection::vec(count, 0..4),
    )
}

fn histogram() -> impl Strategy<Value = ProstHistogram> {
    let schema = prop_oneof![-4_i32..9, Just(-53), any::<i32>()];
    let head = (schema, sample(), sample(), 0_u8..3, 0_u8..3, -1_i32..5);
    (head, side(), side()).prop_map(|(head, positive, negative)| {
        let (schema, sum, zero, count, zero_count, reset_hint) = head;
        ProstHistogram {
            count: match count {
                0 => None,
                1 => Some(ProstCount::Int(zero.value.to_bits())),
                _ => Some(ProstCount::Float(zero.value)),
            },
            sum: sum.value,
            schema,
            zero_threshold: zero.value,
            zero_count: match zero_count {
                0 => None,
                1 => Some(ProstZeroCount::Int(7)),
                _ => Some(ProstZeroCount::Float(sum.value)),
            },
            custom_values: positive.2.clone(),
            negative_spans: negative.0,
            negative_deltas: negative.1,
            negative_counts: negative.2,
            positive_spans: positive.0,
            positive_deltas: positive.1,
            positive_counts: positive.2,
            reset_hint,
            timestamp: sum.timestamp,
            start_timestamp: zero.timestamp,
        }
    })
}

fn series() -> impl Strategy<Value = TimeSeries> {
    (
        prop::collection::vec(label(), 0..5),
        prop::collection::vec(sample(), 0..4),
        prop::collection::vec(exemplar(), 0..2),
        prop::collection::vec(histogram(), 0..2),
    )
        .prop_map(|(labels, samples, exemplars, histograms)| TimeSeries {
            labels,
            samples,
            exemplars,
            histograms,
        })
}

fn request() -> impl Strategy<Value = WriteRequest> {
    let metadata = (any::<i32>(), bytes(), bytes(), bytes()).prop_map(
        |(metric_type, metric_family_name, help, unit)| MetricMetadata {
            metric_type: metric_type % 10,
            metric_family_name,
            help,
            unit,
        },
    );
    (prop::collection::vec(series(), 0..4), prop::collection::vec(metadata, 0..2))
        .prop_map(|(timeseries, metadata)| WriteRequest { timeseries, metadata })
}

/// Changes, cuts and doubles pieces of a body.
fn damage() -> impl Strategy<Value = Vec<(usize, u8, u8)>> {
    prop::collection::vec((any::<usize>(), 0_u8..5, any::<u8>()), 0..5)
}

fn damaged(mut body: Vec<u8>, damage: &[(usize, u8, u8)]) -> Vec<u8> {
    for (at, how, byte) in damage {
        if body.is_empty() {
            return body;
        }
        let at = at % body.len();
        match how {
            0 => body[at] = *byte,
            1 => body.truncate(at),
            2 => drop(body.remove(at)),
            3 => body.insert(at, *byte),
            _ => {
                let piece = body[at..(at + usize::from(*byte)).min(body.len())].to_vec();
                body.splice(at..at, piece);
            }
        }
    }
    body
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_walk_says_what_prost_says_of_any_request(request in request()) {
        let body = request.encode_to_vec();
        prop_assert_eq!(by_walk(&body).unwrap(), by_prost(&body).unwrap());
    }

    #[test]
    fn the_walk_and_prost_agree_on_damaged_requests(request in request(), damage in damage()) {
        let body = damaged(request.encode_to_vec(), &damage);
        prop_assert_eq!(by_walk(&body).ok(), by_prost(&body), "{:?}", body);
    }

    #[test]
    fn the_walk_and_prost_agree_on_any_bytes(body in prop::collection::vec(any::<u8>(), 0..40)) {
        prop_assert_eq!(by_walk(&body).ok(), by_prost(&body), "{:?}", body);
    }

    #[test]
    fn decompression_gives_the_bytes_back_or_an_error(
        message in prop::collection::vec(any::<u8>(), 1..300),
        damage in damage(),
    ) {
        let body = snap::raw::Encoder::new().compress_vec(&message).unwrap();
        let mut buffer = vec![0xaa; 7];
        let len = decompress(&body, Encoding::Snappy, Limit(300), &mut buffer).unwrap();
        prop_assert_eq!(&buffer[..len], &message[..]);

        let body = damaged(body, &damage);
        let mut buffer = Vec::new();
        let _ = decompress(&body, Encoding::Snappy, Limit(300), &mut buffer);
        prop_assert!(buffer.len() <= 300);
    }
}

#[test]
fn what_we_encode_prost_decodes() {
    let labels = model::LabelSet::from_pairs([("__name__", "up"), ("job", "a")]).unwrap();
    let metadata = model::mutation::MetricMetadata {
        metric: "up".into(),
        metric_type: model::mutation::MetricType::Gauge,
        help: "h".repeat(200).into(),
        unit: "s".into(),
    };
    let mut body = Vec::new();
    encode_series(&labels, &[(1_700_000_000_000, 1.5), (-1, f64::INFINITY)], &mut body);
    encode_metadata(&metadata, &mut body);

    let request = WriteRequest::decode(&*body).unwrap();
    let samples: Vec<_> =
        request.timeseries[0].samples.iter().map(|s| (s.timestamp, s.value)).collect();
    assert_eq!(samples, [(1_700_000_000_000, 1.5), (-1, f64::INFINITY)]);
    assert_eq!(request.timeseries[0].labels[1].value, b"a");
    assert_eq!(request.metadata[0].help.len(), 200);
    assert_eq!(request.metadata[0].metric_type, 2);
}

#[test]
fn what_we_encode_of_histograms_and_exemplars_comes_back_bit_for_bit() {
    let set = |pairs: &[(&str, &str)]| model::LabelSet::from_pairs(pairs.iter().copied()).unwrap();
    let integer = Histogram {
        schema: -53,
        zero_threshold: 0.0,
        sum: f64::from_bits(model::sample::STALE_NAN_BITS),
        reset_hint: ResetHint::Gauge,
        positive_spans: vec![Span { offset: 1, length: 2 }, Span { offset: 3, length: 1 }],
        negative_spans: vec![Span { offset: -7, length: 1 }],
        custom_values: vec![0.5, -0.0, f64::INFINITY],
        counts: Counts::Integer {
            count: u64::MAX,
            zero_count: 300,
            positive: vec![9, 2, 40],
            negative: vec![1 << 62],
        },
    };
    let float = Histogram {
        counts: Counts::Float {
            count: -0.0,
            zero_count: f64::NAN,
            positive: vec![0.5, 1e300, 0.0],
            negative: vec![-1.0],
        },
        ..integer.clone()
    };
    let histograms = [(-5, integer), (1 << 60, float)].map(|(timestamp_ms, histogram)| {
        let histogram = std::sync::Arc::new(histogram);
        model::HistogramSample { timestamp_ms, histogram, start_timestamp_ms: 7, revision: 0 }
    });
    let exemplar = model::Exemplar {
        timestamp_ms: -1,
        value: f64::NEG_INFINITY,
        labels: set(&[("trace_id", "t1")]),
    };
    let mut body = Vec::new();
    encode_extras(&set(&[("__name__", "h")]), &histograms, &[exemplar], &mut body);

    let said = by_walk(&body).unwrap();
    assert_eq!(Some(&said), by_prost(&body).as_ref());
    assert_eq!(said.series[0].labels, [(b"__name__".to_vec(), b"h".to_vec())]);
    let labels = vec![(b"trace_id".to_vec(), b"t1".to_vec())];
    assert_eq!(said.series[0].exemplars, [(labels, -1, f64::NEG_INFINITY.to_bits())]);
    let views = histograms.map(|sample| HistogramView {
        timestamp_ms: sample.timestamp_ms,
        start_timestamp_ms: 7,
        histogram: Ok((*sample.histogram).clone()),
    });
    assert_eq!(said.series[0].histograms, views);
}

#[test]
fn a_histogram_with_too_many_places_is_a_fault_of_its_own_and_takes_bounded_memory() {
    let places = BUCKETS_MAX + 1;
    for sent in [
        ProstHistogram { positive_deltas: vec![0; places], ..ProstHistogram::default() },
        ProstHistogram { negative_counts: vec![0.0; places], ..ProstHistogram::default() },
        ProstHistogram { custom_values: vec![0.0; places], ..ProstHistogram::default() },
        ProstHistogram { negative_spans: vec![ProstSpan::default(); places], ..Default::default() },
    ] {
        let view = HistogramView::read(&sent.encode_to_vec()).unwrap();
        assert_eq!(view.histogram, Err(BadHistogram("too many buckets")));
    }
    let fits = ProstHistogram { positive_deltas: vec![0; BUCKETS_MAX], ..Default::default() };
    let view = HistogramView::read(&fits.encode_to_vec()).unwrap();
    assert_eq!(view.histogram.unwrap().buckets(), BUCKETS_MAX);
}

#[test]
fn lists_that_are_not_packed_say_the_same() {
    // Two differences of 1 and 2, each with a key of its own; a float count likewise.
    let message = [0x60, 0x02, 0x60, 0x04, 0x69, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f];
    let view = HistogramView::read(&message).unwrap();
    assert_eq!(view, histogram_of(&ProstHistogram::decode(&message[..]).unwrap()));
    let Counts::Integer { positive, .. } = view.histogram.unwrap().counts else { panic!() };
    assert_eq!(positive, [1, 3]);
}

#[test]
fn a_length_beyond_the_limit_is_refused_before_memory_is_taken() {
    let mut buffer = Vec::new();
    for (header, limit) in
        [(&[0x80, 0x80, 0x80, 0x80, 0x0a][..], 32 << 20), (&[0x80, 0x80, 0x40], 1000)]
    {
        let body = [header, &[0; 1000]].concat();
        let error = decompress(&body, Encoding::Snappy, Limit(limit), &mut buffer).unwrap_err();
        assert_eq!(error.kind(), model::Kind::TooLarge);
        assert_eq!(buffer.capacity(), 0);
    }
}

#[test]
fn a_length_that_the_bytes_cannot_fill_is_refused_before_memory_is_taken() {
    let mut buffer = Vec::new();
    let body = [&[0x80, 0x80, 0x80, 0x0a][..], &[0; 42]].concat();
    let error = decompress(&body, Encoding::Snappy, Limit(0), &mut buffer).unwrap_err();
    assert!(matches!(error, Error::Snappy(_)), "{error}");
    assert_eq!(buffer.capacity(), 0);
}

#[test]
fn the_densest_honest_block_is_within_the_bound() {
    let message = vec![7; 30 << 20];
    let body = snap::raw::Encoder::new().compress_vec(&message).unwrap();
    assert_eq!(decoded_len(&body, Encoding::Snappy, Limit(0)).unwrap(), message.len());
}

#[test]
fn groups_nest_to_a_depth_and_no_deeper_and_never_overflow_the_stack() {
    let nested = |depth: usize| [vec![0x7b; depth], vec![0x7c; depth]].concat();
    assert!(by_walk(&nested(90)).is_ok());
    assert!(by_walk(&nested(1_000_000)).is_err());
    assert!(by_walk(&[0x7c]).is_err());
}

#[test]
fn a_varint_has_64_bits_and_no_more() {
    let field_15 = |tenth: u8| [&[0x78][..], &[0xff; 9], &[tenth]].concat();
    for (body, is_good) in [
        (field_15(0x01), true),
        (field_15(0x02), false),
        (field_15(0x81), false),
        ([&[0x78][..], &[0xff; 20]].concat(), false),
        (vec![0x78, 0x80], false),
    ] {
        assert_eq!(by_walk(&body).is_ok(), is_good, "{body:?}");
        assert_eq!(by_prost(&body).is_some(), is_good, "{body:?}");
    }
}
