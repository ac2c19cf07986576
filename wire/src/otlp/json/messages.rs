//! Which key of which message is which field, and how its value is written.

/// A key of a message.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: &'static str,
    pub(super) number: u8,
    pub(super) kind: Kind,
}

/// The keys of a message, where messages name each other.
#[derive(Debug)]
pub(super) struct Rules(pub(super) &'static [Rule]);

/// How a value is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text,
    /// Bytes in hexadecimal, as OTLP wants them of traces and spans.
    Hex,
    /// Bytes in base64, as protobuf's JSON has all others.
    Base64,
    Bool,
    Double,
    /// Eight bytes, unsigned.
    Fixed64,
    /// Eight bytes, signed.
    SignedFixed64,
    /// A varint, unsigned.
    Unsigned,
    /// A varint, signed.
    Signed,
    /// A 32-bit varint, small for either sign.
    Zigzag,
    Message(&'static Rules),
    Messages(&'static Rules),
    /// Numbers behind one another.
    Packed(&'static Kind),
}

impl Kind {
    /// Whether a number of this kind takes eight bytes.
    pub(super) fn is_fixed(self) -> bool {
        matches!(self, Self::Double | Self::Fixed64 | Self::SignedFixed64)
    }
}

const fn rule(name: &'static str, number: u8, kind: Kind) -> Rule {
    Rule { name, number, kind }
}

pub(super) const REQUEST: &[Rule] =
    &[rule("resourceMetrics", 1, Kind::Messages(&RESOURCE_METRICS))];

static RESOURCE_METRICS: Rules = Rules(&[
    rule("resource", 1, Kind::Message(&RESOURCE)),
    rule("scopeMetrics", 2, Kind::Messages(&SCOPE_METRICS)),
    rule("schemaUrl", 3, Kind::Text),
]);

static RESOURCE: Rules = Rules(&[rule("attributes", 1, Kind::Messages(&KEY_VALUE))]);

static SCOPE_METRICS: Rules = Rules(&[
    rule("scope", 1, Kind::Message(&SCOPE)),
    rule("metrics", 2, Kind::Messages(&METRIC)),
    rule("schemaUrl", 3, Kind::Text),
]);

static SCOPE: Rules = Rules(&[
    rule("name", 1, Kind::Text),
    rule("version", 2, Kind::Text),
    rule("attributes", 3, Kind::Messages(&KEY_VALUE)),
]);

static METRIC: Rules = Rules(&[
    rule("name", 1, Kind::Text),
    rule("description", 2, Kind::Text),
    rule("unit", 3, Kind::Text),
    rule("gauge", 5, Kind::Message(&GAUGE)),
    rule("sum", 7, Kind::Message(&SUM)),
    rule("histogram", 9, Kind::Message(&HISTOGRAM)),
    rule("exponentialHistogram", 10, Kind::Message(&EXPONENTIAL_HISTOGRAM)),
    rule("summary", 11, Kind::Message(&SUMMARY)),
]);

static GAUGE: Rules = Rules(&[rule("dataPoints", 1, Kind::Messages(&NUMBER_POINT))]);

static SUM: Rules = Rules(&[
    rule("dataPoints", 1, Kind::Messages(&NUMBER_POINT)),
    rule("aggregationTemporality", 2, Kind::Unsigned),
    rule("isMonotonic", 3, Kind::Bool),
]);

static HISTOGRAM: Rules = Rules(&[
    rule("dataPoints", 1, Kind::Messages(&HISTOGRAM_POINT)),
    rule("aggregationTemporality", 2, Kind::Unsigned),
]);

static EXPONENTIAL_HISTOGRAM: Rules = Rules(&[
    rule("dataPoints", 1, Kind::Messages(&EXPONENTIAL_POINT)),
    rule("aggregationTemporality", 2, Kind::Unsigned),
]);

static SUMMARY: Rules = Rules(&[rule("dataPoints", 1, Kind::Messages(&SUMMARY_POINT))]);

static NUMBER_POINT: Rules = Rules(&[
    rule("attributes", 7, Kind::Messages(&KEY_VALUE)),
    rule("startTimeUnixNano", 2, Kind::Fixed64),
    rule("timeUnixNano", 3, Kind::Fixed64),
    rule("asDouble", 4, Kind::Double),
    rule("asInt", 6, Kind::SignedFixed64),
    rule("exemplars", 5, Kind::Messages(&EXEMPLAR)),
    rule("flags", 8, Kind::Unsigned),
]);

static HISTOGRAM_POINT: Rules = Rules(&[
    rule("attributes", 9, Kind::Messages(&KEY_VALUE)),
    rule("startTimeUnixNano", 2, Kind::Fixed64),
    rule("timeUnixNano", 3, Kind::Fixed64),
    rule("count", 4, Kind::Fixed64),
    rule("sum", 5, Kind::Double),
    rule("bucketCounts", 6, Kind::Packed(&Kind::Fixed64)),
    rule("explicitBounds", 7, Kind::Packed(&Kind::Double)),
    rule("exemplars", 8, Kind::Messages(&EXEMPLAR)),
    rule("flags", 10, Kind::Unsigned),
]);

static EXPONENTIAL_POINT: Rules = Rules(&[
    rule("attributes", 1, Kind::Messages(&KEY_VALUE)),
    rule("startTimeUnixNano", 2, Kind::Fixed64),
    rule("timeUnixNano", 3, Kind::Fixed64),
    rule("count", 4, Kind::Fixed64),
    rule("sum", 5, Kind::Double),
    rule("scale", 6, Kind::Zigzag),
    rule("zeroCount", 7, Kind::Fixed64),
    rule("positive", 8, Kind::Message(&BUCKETS)),
    rule("negative", 9, Kind::Message(&BUCKETS)),
    rule("flags", 10, Kind::Unsigned),
    rule("exemplars", 11, Kind::Messages(&EXEMPLAR)),
    rule("zeroThreshold", 14, Kind::Double),
]);

static BUCKETS: Rules = Rules(&[
    rule("offset", 1, Kind::Zigzag),
    rule("bucketCounts", 2, Kind::Packed(&Kind::Unsigned)),
]);

static SUMMARY_POINT: Rules = Rules(&[
    rule("attributes", 7, Kind::Messages(&KEY_VALUE)),
    rule("startTimeUnixNano", 2, Kind::Fixed64),
    rule("timeUnixNano", 3, Kind::Fixed64),
    rule("count", 4, Kind::Fixed64),
    rule("sum", 5, Kind::Double),
    rule("quantileValues", 6, Kind::Messages(&QUANTILE)),
    rule("flags", 8, Kind::Unsigned),
]);

static QUANTILE: Rules =
    Rules(&[rule("quantile", 1, Kind::Double), rule("value", 2, Kind::Double)]);

static EXEMPLAR: Rules = Rules(&[
    rule("filteredAttributes", 7, Kind::Messages(&KEY_VALUE)),
    rule("timeUnixNano", 2, Kind::Fixed64),
    rule("asDouble", 3, Kind::Double),
    rule("asInt", 6, Kind::SignedFixed64),
    rule("spanId", 4, Kind::Hex),
    rule("traceId", 5, Kind::Hex),
]);

static KEY_VALUE: Rules =
    Rules(&[rule("key", 1, Kind::Text), rule("value", 2, Kind::Message(&ANY_VALUE))]);

static ANY_VALUE: Rules = Rules(&[
    rule("stringValue", 1, Kind::Text),
    rule("boolValue", 2, Kind::Bool),
    rule("intValue", 3, Kind::Signed),
    rule("doubleValue", 4, Kind::Double),
    rule("arrayValue", 5, Kind::Message(&ARRAY)),
    rule("kvlistValue", 6, Kind::Message(&KVLIST)),
    rule("bytesValue", 7, Kind::Base64),
]);

static ARRAY: Rules = Rules(&[rule("values", 1, Kind::Messages(&ANY_VALUE))]);

static KVLIST: Rules = Rules(&[rule("values", 1, Kind::Messages(&KEY_VALUE))]);
