//! The walk against prost, and against bytes that nobody would send in good faith.

use super::*;
use guard::Limit;
use model::histogram::{BUCKETS_MAX, BadHistogram, Counts, Histogram, ResetHint, Span};
use proptest::prelude::*;
use prost::Message;

mod encode;
mod hostile;
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
fn lists_that_are_not_packed_say_the_same() {
    // Two differences of 1 and 2, each with a key of its own; a float count likewise.
    let message = [0x60, 0x02, 0x60, 0x04, 0x69, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f];
    let view = HistogramView::read(&message).unwrap();
    assert_eq!(view, histogram_of(&ProstHistogram::decode(&message[..]).unwrap()));
    let Counts::Integer { positive, .. } = view.histogram.unwrap().counts else { panic!() };
    assert_eq!(positive, [1, 3]);
}
