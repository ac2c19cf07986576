//! The way through a request, against messages that prost makes; and any bytes at all.

use super::*;
use proptest::prelude::*;
use prost::Message;

/// The messages as OTLP defines them, as far as they are read.
mod messages {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Request {
        #[prost(message, repeated, tag = "1")]
        pub(super) resource_metrics: Vec<ResourceMetrics>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ResourceMetrics {
        #[prost(message, optional, tag = "1")]
        pub(super) resource: Option<Resource>,
        #[prost(message, repeated, tag = "2")]
        pub(super) scope_metrics: Vec<ScopeMetrics>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Resource {
        #[prost(message, repeated, tag = "1")]
        pub(super) attributes: Vec<KeyValue>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct KeyValue {
        #[prost(string, tag = "1")]
        pub(super) key: String,
        #[prost(message, optional, tag = "2")]
        pub(super) value: Option<AnyValue>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct AnyValue {
        #[prost(string, optional, tag = "1")]
        pub(super) string_value: Option<String>,
        #[prost(int64, optional, tag = "3")]
        pub(super) int_value: Option<i64>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ScopeMetrics {
        #[prost(message, repeated, tag = "2")]
        pub(super) metrics: Vec<Metric>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Metric {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(message, optional, tag = "7")]
        pub(super) sum: Option<Sum>,
        #[prost(message, optional, tag = "9")]
        pub(super) histogram: Option<Histogram>,
        #[prost(message, optional, tag = "10")]
        pub(super) exponential: Option<Exponential>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Sum {
        #[prost(message, repeated, tag = "1")]
        pub(super) points: Vec<NumberPoint>,
        #[prost(int32, tag = "2")]
        pub(super) temporality: i32,
        #[prost(bool, tag = "3")]
        pub(super) is_monotonic: bool,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Histogram {
        #[prost(message, repeated, tag = "1")]
        pub(super) points: Vec<HistogramPoint>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Exponential {
        #[prost(message, repeated, tag = "1")]
        pub(super) points: Vec<ExponentialPoint>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct NumberPoint {
        #[prost(message, repeated, tag = "7")]
        pub(super) attributes: Vec<KeyValue>,
        #[prost(fixed64, tag = "2")]
        pub(super) start_ns: u64,
        #[prost(fixed64, tag = "3")]
        pub(super) time_ns: u64,
        #[prost(double, optional, tag = "4")]
        pub(super) as_double: Option<f64>,
        #[prost(sfixed64, optional, tag = "6")]
        pub(super) as_int: Option<i64>,
        #[prost(uint32, tag = "8")]
        pub(super) flags: u32,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct HistogramPoint {
        #[prost(fixed64, tag = "3")]
        pub(super) time_ns: u64,
        #[prost(fixed64, tag = "4")]
        pub(super) count: u64,
        #[prost(double, optional, tag = "5")]
        pub(super) sum: Option<f64>,
        #[prost(fixed64, repeated, tag = "6")]
        pub(super) counts: Vec<u64>,
        #[prost(double, repeated, packed = "false", tag = "7")]
        pub(super) bounds: Vec<f64>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ExponentialPoint {
        #[prost(fixed64, tag = "3")]
        pub(super) time_ns: u64,
        #[prost(sint32, tag = "6")]
        pub(super) scale: i32,
        #[prost(message, optional, tag = "8")]
        pub(super) positive: Option<Buckets>,
        #[prost(double, tag = "14")]
        pub(super) zero_threshold: f64,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Buckets {
        #[prost(sint32, tag = "1")]
        pub(super) offset: i32,
        #[prost(uint64, repeated, tag = "2")]
        pub(super) counts: Vec<u64>,
    }
}

use messages as m;

fn attributes() -> impl Strategy<Value = Vec<m::KeyValue>> {
    let value = prop_oneof![
        "[a-zé\"]{0,5}".prop_map(|text| m::AnyValue { string_value: Some(text), int_value: None }),
        any::<i64>().prop_map(|n| m::AnyValue { string_value: None, int_value: Some(n) }),
    ];
    let pair = ("[a-z.é]{0,6}", proptest::option::of(value));
    proptest::collection::vec(pair.prop_map(|(key, value)| m::KeyValue { key, value }), 0..4)
}

fn sum() -> impl Strategy<Value = m::Sum> {
    let number = prop_oneof![
        any::<i64>().prop_map(|n| (None, Some(n))),
        (-1e9..1e9).prop_map(|n| (Some(n), None)),
        Just((None, None))
    ];
    let point = (attributes(), any::<u64>(), any::<u64>(), number, 0..3_u32).prop_map(
        |(attributes, start_ns, time_ns, (as_double, as_int), flags)| m::NumberPoint {
            attributes,
            start_ns,
            time_ns,
            as_double,
            as_int,
            flags,
        },
    );
    (proptest::collection::vec(point, 0..4), 0..3_i32, any::<bool>()).prop_map(
        |(points, temporality, is_monotonic)| m::Sum { points, temporality, is_monotonic },
    )
}

fn histogram() -> impl Strategy<Value = m::Histogram> {
    let lists = (
        proptest::collection::vec(any::<u64>(), 0..5),
        proptest::collection::vec(-1e9..1e9, 0..5),
        proptest::option::of(-1e9..1e9),
    );
    let point =
        (any::<u64>(), any::<u64>(), lists).prop_map(|(time_ns, count, (counts, bounds, sum))| {
            m::HistogramPoint { time_ns, count, sum, counts, bounds }
        });
    proptest::collection::vec(point, 0..3).prop_map(|points| m::Histogram { points })
}

fn exponential() -> impl Strategy<Value = m::Exponential> {
    let buckets = (any::<i32>(), proptest::collection::vec(any::<u64>(), 0..5))
        .prop_map(|(offset, counts)| m::Buckets { offset, counts });
    let point = (any::<u64>(), any::<i32>(), proptest::option::of(buckets), 0.0..1.0).prop_map(
        |(time_ns, scale, positive, zero_threshold)| m::ExponentialPoint {
            time_ns,
            scale,
            positive,
            zero_threshold,
        },
    );
    proptest::collection::vec(point, 0..3).prop_map(|points| m::Exponential { points })
}

fn request() -> impl Strategy<Value = m::Request> {
    let data = prop_oneof![
        sum().prop_map(|sum| (Some(sum), None, None)),
        histogram().prop_map(|histogram| (None, Some(histogram), None)),
        exponential().prop_map(|exponential| (None, None, Some(exponential))),
    ];
    let metric = ("[a-z.]{0,8}", data).prop_map(|(name, (sum, histogram, exponential))| {
        m::Metric { name, sum, histogram, exponential }
    });
    let scope =
        proptest::collection::vec(metric, 0..3).prop_map(|metrics| m::ScopeMetrics { metrics });
    let resource = (attributes(), proptest::collection::vec(scope, 0..3)).prop_map(
        |(attributes, scope_metrics)| m::ResourceMetrics {
            resource: Some(m::Resource { attributes }),
            scope_metrics,
        },
    );
    proptest::collection::vec(resource, 0..3)
        .prop_map(|resource_metrics| m::Request { resource_metrics })
}

/// What is read, spelled out, so that it can be compared with what was sent.
fn spelled(body: &[u8]) -> Result<String, Error> {
    let mut out = String::new();
    let mut say = |what: String| {
        out.push_str(&what);
        out.push('\n');
    };
    for resource in Request::new(body).resources() {
        let resource = resource?;
        say(format!("resource {}", pairs(resource.attributes())?));
        for scope in resource.scopes() {
            for metric in scope?.metrics() {
                let metric = metric?;
                say(format!("metric {} {:?}", String::from_utf8_lossy(metric.name), metric.data));
                for point in metric.points() {
                    let point = point?;
                    for exemplar in point.exemplars() {
                        let exemplar = exemplar?;
                        pairs(exemplar.attributes)?;
                    }
                    let value = spelled_value(&point.value)?;
                    let (start, time) = (point.start_ns, point.time_ns);
                    let stale = point.has_no_recorded_value;
                    say(format!("{} {start} {time} {stale} {value}", pairs(point.attributes)?));
                }
            }
        }
    }
    Ok(out)
}

fn pairs(attributes: Attributes<'_>) -> Result<String, Error> {
    let mut out = String::new();
    for attribute in attributes.iter() {
        let attribute = attribute?;
        let key = String::from_utf8_lossy(attribute.key);
        out.push_str(&format!("{key}={:?};", attribute.value.text().ok()));
    }
    Ok(out)
}

fn spelled_value(value: &PointValue<'_>) -> Result<String, Error> {
    let numbers = |numbers: &Numbers<'_>| numbers.clone().collect::<Result<Vec<u64>, Error>>();
    Ok(match value {
        PointValue::Number(number) => format!("{number:?}"),
        PointValue::Histogram { count, sum, bucket_counts, explicit_bounds } => {
            let (counts, bounds) = (numbers(bucket_counts)?, numbers(explicit_bounds)?);
            format!("{count} {sum:?} {counts:?} {bounds:?}")
        }
        PointValue::Exponential { scale, zero_threshold, positive, negative, .. } => {
            let (counts, others) = (numbers(&positive.counts)?, numbers(&negative.counts)?);
            format!("{scale} {zero_threshold} {} {counts:?} {others:?}", positive.offset)
        }
        PointValue::Summary { quantiles, .. } => {
            let quantiles: Result<Vec<(f64, f64)>, Error> = quantiles.quantiles().collect();
            format!("{:?}", quantiles?)
        }
    })
}

/// The same of what prost made.
fn expected(request: &m::Request) -> String {
    let mut out = String::new();
    for resource in &request.resource_metrics {
        let own = resource.resource.as_ref().map_or(&[][..], |own| &own.attributes);
        out.push_str(&format!("resource {}\n", expected_pairs(own)));
        for metric in resource.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
            expected_metric(metric, &mut out);
        }
    }
    out
}

fn expected_metric(metric: &m::Metric, out: &mut String) {
    let temporality = |number: i32| match number {
        1 => Temporality::Delta,
        2 => Temporality::Cumulative,
        _ => Temporality::Unspecified,
    };
    let name = &metric.name;
    if let Some(sum) = &metric.sum {
        let (temporality, is_monotonic) = (temporality(sum.temporality), sum.is_monotonic);
        out.push_str(&format!("metric {name} {:?}\n", Data::Sum { temporality, is_monotonic }));
        for point in &sum.points {
            let number = point.as_int.map(|n| n as f64).or(point.as_double);
            let (start, time, stale) = (point.start_ns, point.time_ns, point.flags & 1 == 1);
            let pairs = expected_pairs(&point.attributes);
            out.push_str(&format!("{pairs} {start} {time} {stale} {number:?}\n"));
        }
    }
    if let Some(histogram) = &metric.histogram {
        let data = Data::Histogram(Temporality::Unspecified);
        out.push_str(&format!("metric {name} {data:?}\n"));
        for point in &histogram.points {
            let bounds: Vec<u64> = point.bounds.iter().map(|bound| bound.to_bits()).collect();
            let m::HistogramPoint { time_ns, count, sum, counts, .. } = point;
            out.push_str(&format!(" 0 {time_ns} false {count} {sum:?} {counts:?} {bounds:?}\n"));
        }
    }
    if let Some(exponential) = &metric.exponential {
        let data = Data::ExponentialHistogram(Temporality::Unspecified);
        out.push_str(&format!("metric {name} {data:?}\n"));
        for point in &exponential.points {
            let m::Buckets { offset, counts } = point.positive.clone().unwrap_or_default();
            let m::ExponentialPoint { time_ns, scale, zero_threshold, .. } = point;
            let text = format!("{scale} {zero_threshold} {offset} {counts:?} []");
            out.push_str(&format!(" 0 {time_ns} false {text}\n"));
        }
    }
}

fn expected_pairs(attributes: &[m::KeyValue]) -> String {
    let one = |attribute: &m::KeyValue| {
        let value = attribute.value.clone().unwrap_or_default();
        let text = match (value.string_value, value.int_value) {
            (Some(text), _) => text,
            (None, Some(number)) => number.to_string(),
            (None, None) => String::new(),
        };
        format!("{}={:?};", attribute.key, Some(text))
    };
    attributes.iter().map(one).collect()
}

proptest! {
    #[test]
    fn what_another_encoder_writes_is_read_as_it_was_meant(request in request()) {
        prop_assert_eq!(spelled(&request.encode_to_vec()).unwrap(), expected(&request));
    }

    #[test]
    fn changed_bytes_are_an_answer_or_an_error(
        request in request(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut body = request.encode_to_vec();
        for (at, byte) in changes {
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] = byte;
            }
        }
        let _ = spelled(&body);
        let _ = spelled(&body[..cut.index(body.len() + 1)]);
    }

    #[test]
    fn any_bytes_are_an_answer_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = spelled(&bytes);
        let _ = from_json(&bytes, &mut |_| true);
    }

    #[test]
    fn any_text_that_looks_like_a_request_is_an_answer_or_an_error(
        text in "(\\{|\\}|\\[|\\]|,|:|\"resourceMetrics\"|\"scopeMetrics\"|\"metrics\"|\"sum\"|\"dataPoints\"|\"asInt\"|\"attributes\"|\"value\"|\"arrayValue\"|\"values\"|1|-1|1e400|null|\"x\"){0,60}"
    ) {
        if let Ok(bytes) = from_json(text.as_bytes(), &mut |_| true) {
            prop_assert!(spelled(&bytes).is_ok(), "what was made of JSON is a message");
            prop_assert!(bytes.len() <= 5 * text.len() + 16);
        }
    }
}
