//! The walk against prost, and against bytes that nobody would send in good faith.

use super::*;
use guard::Limit;
use proptest::prelude::*;
use prost::Message;

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
    #[prost(bytes = "vec", repeated, tag = "3")]
    exemplars: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    histograms: Vec<Vec<u8>>,
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
    exemplars: u64,
    histograms: u64,
}

fn by_prost(body: &[u8]) -> Option<Said> {
    let request = WriteRequest::decode(body).ok()?;
    let series = request.timeseries.into_iter().map(|series| SaidSeries {
        labels: series.labels.into_iter().map(|label| (label.name, label.value)).collect(),
        samples: series.samples.iter().map(|s| (s.timestamp, s.value.to_bits())).collect(),
        exemplars: series.exemplars.len() as u64,
        histograms: series.histograms.len() as u64,
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
    let mut walk = Walk::new(body);
    loop {
        match walk.next_field() {
            Ok(None) | Err(Error::OnlyVersion2Fields) => return Ok(said),
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
    let labels = LabelIter::new(&gathered)
        .map(|label| label.map(|(name, value)| (name.to_vec(), value.to_vec())));
    let values = columns.values.iter().map(|value| value.to_bits());
    Ok(SaidSeries {
        labels: labels.collect::<Result<_, _>>()?,
        samples: columns.timestamps_ms.into_iter().zip(values).collect(),
        exemplars: tail.exemplars,
        histograms: tail.histograms,
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

fn series() -> impl Strategy<Value = TimeSeries> {
    let label = (bytes(), bytes()).prop_map(|(name, value)| Label { name, value });
    (
        prop::collection::vec(label, 0..5),
        prop::collection::vec(sample(), 0..4),
        prop::collection::vec(bytes(), 0..2),
        prop::collection::vec(bytes(), 0..2),
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
        let len = decompress(&body, Limit(300), &mut buffer).unwrap();
        prop_assert_eq!(&buffer[..len], &message[..]);

        let body = damaged(body, &damage);
        let mut buffer = Vec::new();
        let _ = decompress(&body, Limit(300), &mut buffer);
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
fn a_length_beyond_the_limit_is_refused_before_memory_is_taken() {
    let mut buffer = Vec::new();
    for (header, limit) in
        [(&[0x80, 0x80, 0x80, 0x80, 0x0a][..], 32 << 20), (&[0x80, 0x80, 0x40], 1000)]
    {
        let body = [header, &[0; 1000]].concat();
        let error = decompress(&body, Limit(limit), &mut buffer).unwrap_err();
        assert_eq!(error.kind(), model::Kind::TooLarge);
        assert_eq!(buffer.capacity(), 0);
    }
}

#[test]
fn a_length_that_the_bytes_cannot_fill_is_refused_before_memory_is_taken() {
    let mut buffer = Vec::new();
    let body = [&[0x80, 0x80, 0x80, 0x0a][..], &[0; 42]].concat();
    let error = decompress(&body, Limit(0), &mut buffer).unwrap_err();
    assert!(matches!(error, Error::Snappy(_)), "{error}");
    assert_eq!(buffer.capacity(), 0);
}

#[test]
fn the_densest_honest_block_is_within_the_bound() {
    let message = vec![7; 30 << 20];
    let body = snap::raw::Encoder::new().compress_vec(&message).unwrap();
    assert_eq!(decoded_len(&body, Limit(0)).unwrap(), message.len());
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
