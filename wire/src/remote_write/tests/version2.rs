//! The walk through 2.0 requests against prost, and against bytes of any kind; memory is bounded.

use super::*;
use crate::remote_write::{MetadataRefs, RequestV2, SeriesV2, SymbolTable};
use model::mutation::MetricMetadata as Metadata;
use model::{Exemplar, HistogramSample, LabelSet};
use std::sync::Arc;

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(bytes = "vec", repeated, tag = "4")]
    symbols: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "5")]
    timeseries: Vec<SeriesOf2>,
}

#[derive(Clone, PartialEq, Message)]
struct SeriesOf2 {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<SampleOf2>,
    #[prost(message, repeated, tag = "3")]
    histograms: Vec<ProstHistogram>,
    #[prost(message, repeated, tag = "4")]
    exemplars: Vec<ExemplarOf2>,
    #[prost(message, optional, tag = "5")]
    metadata: Option<MetadataOf2>,
    #[prost(int64, tag = "6")]
    created_timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct SampleOf2 {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
    #[prost(int64, tag = "3")]
    start_timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ExemplarOf2 {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(int64, tag = "3")]
    timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct MetadataOf2 {
    #[prost(int32, tag = "1")]
    metric_type: i32,
    #[prost(uint32, tag = "3")]
    help_ref: u32,
    #[prost(uint32, tag = "4")]
    unit_ref: u32,
}

/// What both decoders say of a series.
#[derive(Debug, Default, PartialEq)]
struct Said2 {
    labels: Vec<(Vec<u8>, Vec<u8>)>,
    /// Time, bits of the value, start.
    samples: Vec<(i64, u64, i64)>,
    exemplars: Vec<SaidExemplar>,
    histograms: Vec<HistogramView>,
    /// Type, help, unit.
    metadata: Option<(&'static str, Vec<u8>, Vec<u8>)>,
    start_ms: i64,
}

/// References as texts, if all of them are there and in pairs.
fn texts(refs: &[u32], symbols: &[Vec<u8>]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let text = |reference: u32| symbols.get(reference as usize).cloned();
    let (pairs, rest) = refs.as_chunks::<2>();
    let pairs = pairs.iter().map(|[name, value]| Some((text(*name)?, text(*value)?)));
    pairs.collect::<Option<Vec<_>>>().filter(|_| rest.is_empty())
}

/// By the plainest reading of CONTRACTS.md 5.4.
fn by_prost_2(body: &[u8]) -> Option<Vec<Said2>> {
    let mut request = Request::decode(body).ok()?;
    if request.symbols.is_empty() {
        request.symbols.push(Vec::new());
    }
    let symbols = &request.symbols;
    if !symbols[0].is_empty() {
        return None;
    }
    let series = request.timeseries.iter().map(|series| {
        let created = series.created_timestamp;
        let or_created = |start| if start == 0 { created } else { start };
        let sample =
            |s: &SampleOf2| (s.timestamp, s.value.to_bits(), or_created(s.start_timestamp));
        let exemplar = |sent: &ExemplarOf2| {
            Some((texts(&sent.labels_refs, symbols)?, sent.timestamp, sent.value.to_bits()))
        };
        let metadata = match series.metadata {
            None => None,
            Some(sent) => {
                let number = u8::try_from(sent.metric_type).unwrap_or(0);
                let of = model::mutation::MetricType::ALL.get(usize::from(number));
                let text = |reference: u32| symbols.get(reference as usize).cloned();
                let name = of.copied().unwrap_or_default().as_str();
                Some((name, text(sent.help_ref)?, text(sent.unit_ref)?))
            }
        };
        Some(Said2 {
            labels: texts(&series.labels_refs, symbols)?,
            samples: series.samples.iter().map(sample).collect(),
            exemplars: series.exemplars.iter().map(exemplar).collect::<Option<_>>()?,
            histograms: series.histograms.iter().map(histogram_of).collect(),
            metadata,
            start_ms: created,
        })
    });
    series.collect()
}

fn by_walk_2(body: &[u8]) -> Result<Vec<Said2>, Error> {
    let bytes = SymbolTable::bytes(body, Limit(0))?;
    assert!(bytes <= 12 * body.len() as u64, "a symbol takes two bytes of the body at least");
    let table = SymbolTable::read(body)?;
    let mut walk = Walk::new(body, Version::Two);
    let mut said = Vec::new();
    loop {
        match walk.next_field() {
            Ok(None) | Err(Error::OtherVersion(_)) => return Ok(said),
            Err(error) => return Err(error),
            Ok(Some(Field::Metadata(_))) => panic!("2.0 has no metadata beside series"),
            Ok(Some(Field::Series(view))) => said.push(series_by_walk_2(body, &table, view)?),
        }
    }
}

fn series_by_walk_2(
    body: &[u8],
    table: &SymbolTable,
    view: SeriesView<'_>,
) -> Result<Said2, Error> {
    let symbols = table.over(body);
    let leading = view.leading_labels()?;
    // Samples of another series are there before.
    let mut columns = SampleColumns::default();
    columns.timestamps_ms.push(-1);
    columns.values.push(-1.0);
    let tail = view.read_samples(leading.len(), &mut columns)?;
    let mut gathered = Vec::new();
    view.gather_labels(&mut gathered)?;
    assert!(gathered.len() <= view.message().len());
    assert_eq!(tail.has_more_labels, gathered.len() > leading.len());
    let owned = |labels: RawLabels<'_>| {
        let pairs = labels.iter().map(|label| label.map(|(a, b)| (a.to_vec(), b.to_vec())));
        pairs.collect::<Result<Vec<_>, Error>>()
    };
    let labels = owned(RawLabels::new(&gathered, Some(symbols)))?;
    let (mut histograms, mut exemplars) = (Vec::new(), Vec::new());
    for extra in view.extras() {
        match extra? {
            Extra::Histogram(histogram) => histograms.push(*histogram),
            Extra::Exemplar(one) => {
                let labels = owned(one.labels(Some(symbols)))?;
                exemplars.push((labels, one.timestamp_ms, one.value.to_bits()));
            }
        }
    }
    assert_eq!(tail.has_histograms, !histograms.is_empty());
    assert_eq!(tail.has_exemplars, !exemplars.is_empty());
    let SampleColumns { timestamps_ms, values, start_timestamps_ms: starts } = columns;
    assert_eq!(timestamps_ms.len(), values.len());
    assert!(starts.is_empty() || starts.len() == values.len());
    let items = (values.len() - 1 + histograms.len() + exemplars.len()) as u64;
    assert_eq!(view.items(), Ok(items));
    assert!(2 * items <= view.message().len() as u64, "an item takes two bytes at least");
    let start = |at: usize| starts.get(at).copied().unwrap_or(0);
    let samples = (1..values.len()).map(|at| (timestamps_ms[at], values[at].to_bits(), start(at)));
    let told = |refs: MetadataRefs| {
        let view = refs.view(b"name", symbols)?;
        Ok::<_, Error>((view.metric_type.as_str(), view.help.to_vec(), view.unit.to_vec()))
    };
    Ok(Said2 {
        labels,
        samples: samples.collect(),
        exemplars,
        histograms,
        metadata: tail.metadata.map(told).transpose()?,
        start_ms: tail.start_timestamp_ms,
    })
}

/// References to one of a few symbols, now and then to none.
fn refs() -> impl Strategy<Value = Vec<u32>> {
    let one = prop_oneof![30 => 0_u32..6, 1 => any::<u32>()];
    let pairs = prop::collection::vec((one.clone(), one.clone()), 0..5);
    (pairs, prop::option::weighted(0.05, one)).prop_map(|(pairs, odd)| {
        pairs.into_iter().flat_map(|(name, value)| [name, value]).chain(odd).collect()
    })
}

fn series_2() -> impl Strategy<Value = SeriesOf2> {
    let start = || prop_oneof![2 => Just(0), 2 => Just(1_699_999_999_000_i64), 1 => any::<i64>()];
    let samples = (sample(), start()).prop_map(|(sample, start_timestamp)| SampleOf2 {
        value: sample.value,
        timestamp: sample.timestamp,
        start_timestamp,
    });
    let exemplars = (refs(), sample()).prop_map(|(labels_refs, sample)| ExemplarOf2 {
        labels_refs,
        value: sample.value,
        timestamp: sample.timestamp,
    });
    let metadata = (0_i32..9, 0_u32..6, 0_u32..6).prop_map(|(metric_type, help_ref, unit_ref)| {
        MetadataOf2 { metric_type, help_ref, unit_ref }
    });
    let parts = (
        refs(),
        prop::collection::vec(samples, 0..4),
        prop::collection::vec(histogram(), 0..2),
        prop::collection::vec(exemplars, 0..2),
        prop::option::of(metadata),
        start(),
    );
    parts.prop_map(|(labels_refs, samples, histograms, exemplars, metadata, created_timestamp)| {
        SeriesOf2 { labels_refs, samples, histograms, exemplars, metadata, created_timestamp }
    })
}

fn request_2() -> impl Strategy<Value = Request> {
    (prop::collection::vec(bytes(), 5..8), prop::collection::vec(series_2(), 0..4)).prop_map(
        |(mut symbols, timeseries)| {
            symbols[0].clear();
            Request { symbols, timeseries }
        },
    )
}

/// Labels and texts as a sender may have them.
fn label_set() -> impl Strategy<Value = LabelSet> {
    let pairs = prop::collection::btree_map("[a-zé]{1,4}", ".{1,5}", 0..4);
    pairs.prop_map(|pairs| LabelSet::from_pairs(pairs).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_walk_says_what_prost_says_of_any_request_of_version_2(request in request_2()) {
        let body = request.encode_to_vec();
        prop_assert_eq!(by_walk_2(&body).ok(), by_prost_2(&body));
    }

    #[test]
    fn the_walk_and_prost_agree_on_damaged_requests_of_version_2(
        request in request_2(),
        damage in damage(),
    ) {
        let body = damaged(request.encode_to_vec(), &damage);
        prop_assert_eq!(by_walk_2(&body).ok(), by_prost_2(&body), "{:?}", body);
    }

    #[test]
    fn the_walk_and_prost_agree_on_any_bytes_as_version_2(
        body in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        prop_assert_eq!(by_walk_2(&body).ok(), by_prost_2(&body), "{:?}", body);
    }

    #[test]
    fn what_is_encoded_as_version_2_comes_back(
        labels in label_set(),
        samples in prop::collection::vec((any::<i64>(), any::<f64>(), any::<i64>()), 0..4),
        own in label_set(),
        help in ".{0,5}",
        created_ms in prop_oneof![Just(0), any::<i64>()],
    ) {
        let pairs = |set: &LabelSet| -> Vec<_> {
            set.iter().map(|(a, b)| (a.as_bytes().to_vec(), b.as_bytes().to_vec())).collect()
        };
        let metadata = Metadata {
            metric: "".into(),
            metric_type: model::mutation::MetricType::Counter,
            help: help.as_str().into(),
            unit: "s".into(),
        };
        let exemplars = [Exemplar { timestamp_ms: -3, value: 0.5, labels: own.clone() }];
        let histograms = [HistogramSample {
            timestamp_ms: 7,
            histogram: Arc::new(Histogram::stale()),
            start_timestamp_ms: 9,
            revision: 0,
        }];
        let of = SeriesV2 {
            samples: &samples,
            histograms: &histograms,
            exemplars: &exemplars,
            metadata: Some(&metadata),
            created_ms,
        };
        let mut request = RequestV2::default();
        request.push(&labels, &of);
        request.push(&labels, &of);
        let said = by_walk_2(&request.finish()).unwrap();
        prop_assert_eq!(said.len(), 2);
        let or_created = |start| if start == 0 { created_ms } else { start };
        let wanted: Vec<_> = samples
            .iter()
            .map(|(time, value, start)| (*time, value.to_bits(), or_created(*start)))
            .collect();
        for said in said {
            prop_assert_eq!(&said.labels, &pairs(&labels));
            prop_assert_eq!(&said.samples, &wanted);
            prop_assert_eq!(&said.exemplars, &vec![(pairs(&own), -3, 0.5_f64.to_bits())]);
            prop_assert_eq!(said.histograms[0].start_timestamp_ms, 9);
            let told = ("counter", help.as_bytes().to_vec(), b"s".to_vec());
            prop_assert_eq!(said.metadata, Some(told));
        }
    }

    #[test]
    fn zstd_gives_the_bytes_back_or_an_error_and_never_more_than_the_limit(
        message in prop::collection::vec(any::<u8>(), 1..300),
        damage in damage(),
    ) {
        let body = zstd::bulk::compress(&message, 3).unwrap();
        let mut buffer = vec![0xaa; 7];
        let len = decompress(&body, Encoding::Zstd, Limit(300), &mut buffer).unwrap();
        prop_assert_eq!(&buffer[..len], &message[..]);

        let body = damaged(body, &damage);
        let mut buffer = Vec::new();
        let _ = decompress(&body, Encoding::Zstd, Limit(300), &mut buffer);
        prop_assert!(buffer.len() <= 300);
    }
}

#[test]
fn an_unpacked_list_of_references_and_one_in_pieces_say_the_same() {
    let whole = [0x0a, 4, 1, 2, 3, 0x80, 0x0a, 1, 4];
    let bare = [0x08, 1, 0x08, 2, 0x12, 0, 0x08, 3, 0x0a, 0, 0x08, 0x80, 0x0a, 0x08, 4];
    let of = |raw: &[u8]| crate::remote_write::ReferenceIter::new(raw).collect::<Vec<_>>();
    assert_eq!(of(&bare), [Ok(1), Ok(2), Ok(3), Ok(1280), Ok(4)]);
    assert_eq!(of(&whole).len(), 4);
    assert!(of(&whole)[3].is_err(), "a varint does not go on in the next piece");
}
