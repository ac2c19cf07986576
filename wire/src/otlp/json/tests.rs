use super::*;
use crate::otlp::{Data, PointValue, Request, Temporality};

fn bytes(text: &str) -> Result<Vec<u8>, Error> {
    from_json(text.as_bytes(), &mut |_| true)
}

/// The first point of the first metric that is written as `metric`.
fn first_point(metric: &str, check: impl FnOnce(Data, crate::otlp::Point<'_>)) {
    let text = format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{metric}]}}]}}]}}"#);
    let bytes = bytes(&text).unwrap();
    let resource = Request::new(&bytes).resources().next().unwrap().unwrap();
    let scope = resource.scopes().next().unwrap().unwrap();
    let metric = scope.metrics().next().unwrap().unwrap();
    let point = metric.points().next().unwrap().unwrap();
    check(metric.data, point);
}

#[test]
fn integers_are_numbers_or_strings() {
    for number in ["7", "\"7\"", "7.0", "7e0"] {
        let sum = format!(
            r#"{{"sum":{{"aggregationTemporality":2,"isMonotonic":true,
                "dataPoints":[{{"timeUnixNano":{number},"asInt":{number}}}]}}}}"#
        );
        first_point(&sum, |data, point| {
            let temporality = Temporality::Cumulative;
            assert_eq!(data, Data::Sum { temporality, is_monotonic: true });
            assert_eq!(point.time_ns, 7);
            assert!(matches!(point.value, PointValue::Number(Some(7.0))), "{number}");
        });
    }
}

#[test]
fn the_extremes_of_64_bits_come_through() {
    let gauge = format!(
        r#"{{"gauge":{{"dataPoints":[{{"timeUnixNano":"{}","asInt":"{}"}}]}}}}"#,
        u64::MAX,
        i64::MIN
    );
    first_point(&gauge, |_, point| {
        assert_eq!(point.time_ns, u64::MAX);
        assert!(matches!(point.value, PointValue::Number(Some(-9.223_372_036_854_775_808e18))));
    });
}

#[test]
fn lists_of_numbers_and_negative_offsets_come_through() {
    let histogram = r#"{"exponentialHistogram":{"dataPoints":[{"scale":-3,"count":"5","sum":"NaN",
        "zeroCount":1,"positive":{"offset":-2,"bucketCounts":["3",1]}}]}}"#;
    first_point(histogram, |_, point| {
        let PointValue::Exponential { scale, sum, positive, zero_count, .. } = point.value else {
            panic!("{point:?}")
        };
        assert_eq!((scale, zero_count, positive.offset), (-3, 1, -2));
        assert!(sum.unwrap().is_nan());
        let counts: Result<Vec<u64>, Error> = positive.counts.collect();
        assert_eq!(counts.unwrap(), [3, 1]);
    });
}

#[test]
fn ids_of_traces_are_hexadecimal() {
    let gauge = r#"{"gauge":{"dataPoints":[{"asInt":1,"exemplars":[
        {"traceId":"0aFf","spanId":"","asDouble":0.5,"filteredAttributes":[]}]}]}}"#;
    first_point(gauge, |_, point| {
        let exemplar = point.exemplars().next().unwrap().unwrap();
        assert_eq!((exemplar.trace_id, exemplar.span_id), (&[0x0a, 0xff][..], &[][..]));
        assert_eq!(exemplar.value, Some(0.5));
    });
}

#[test]
fn unknown_keys_and_nulls_are_passed() {
    let text =
        r#"{"a":[{"b":null}],"resourceMetrics":[{"resource":null,"x":1,"scopeMetrics":[]}]}"#;
    let bytes = bytes(text).unwrap();
    assert_eq!(Request::new(&bytes).resources().count(), 1);
}

#[test]
fn values_of_any_type_are_the_text_that_labels_have() {
    for (value, want) in [
        (r#"{"stringValue":"a\u0041"}"#, "aA"),
        (r#"{"boolValue":true}"#, "true"),
        (r#"{"intValue":"-5"}"#, "-5"),
        (r#"{"doubleValue":0.5}"#, "0.5"),
        (r#"{"bytesValue":"Zm9vYg=="}"#, "Zm9vYg=="),
        (r#"{"arrayValue":{"values":[{"intValue":1},{"stringValue":"x"}]}}"#, r#"[1,"x"]"#),
        (
            r#"{"kvlistValue":{"values":[{"key":"b","value":{"boolValue":false}},{"key":"a"}]}}"#,
            r#"{"a":null,"b":false}"#,
        ),
        ("{}", ""),
    ] {
        let text = format!(
            r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"k","value":{value}}}]}}}}]}}"#
        );
        let bytes = bytes(&text).unwrap();
        let resource = Request::new(&bytes).resources().next().unwrap().unwrap();
        let attribute = resource.attributes().iter().next().unwrap().unwrap();
        assert_eq!(attribute.key, b"k");
        assert_eq!(attribute.value.text().unwrap(), want, "{value}");
    }
}

#[test]
fn what_is_no_such_json_is_refused_with_its_place() {
    for text in [
        "",
        "[]",
        "{",
        "1",
        r#"{"resourceMetrics":1}"#,
        r#"{"resourceMetrics":[1]}"#,
        r#"{"resourceMetrics":[]}}"#,
        r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":1}]}}]}"#,
        r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":[{"asInt":1.5}]}}]}]}]}"#,
        r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":[{"timeUnixNano":-1}]}}]}]}]}"#,
    ] {
        let error = bytes(text).unwrap_err();
        assert!(error.to_string().contains("column"), "{text}: {error}");
    }
}

#[test]
fn whoever_pays_is_asked_before_the_bytes_grow_far() {
    let item = r#"{"scopeMetrics":[]}"#;
    let text = format!(r#"{{"resourceMetrics":[{}]}}"#, vec![item; 100_000].join(","));
    let mut asked = 0;
    let refused = from_json(text.as_bytes(), &mut |bytes| {
        asked = bytes;
        bytes < 100_000
    });
    assert!(refused.is_err());
    assert!(asked < 300_000, "{asked}");
}

#[test]
fn a_text_that_nests_too_deep_is_refused_and_not_followed() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{{\"x\":{}1{}}}", open.repeat(1 << 20), close.repeat(1 << 20));
        // Unknown values are passed without recursion or refused: either way this thread lives.
        let _ = bytes(&deep);
    }
    let open = r#"{"arrayValue":{"values":["#;
    let value = format!("{}{}", open.repeat(10_000), "]}}".repeat(10_000));
    let text = format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"k","value":{value}}}]}}}}]}}"#
    );
    assert!(bytes(&text).is_err());
}

#[test]
fn base64_is_read_in_either_alphabet() {
    for (text, want) in [
        ("", Some("")),
        ("Zg==", Some("f")),
        ("Zm8", Some("fo")),
        ("Zm9v", Some("foo")),
        ("Z", None),
        ("!!", None),
    ] {
        assert_eq!(from_base64(text), want.map(|want| want.as_bytes().to_vec()), "{text}");
    }
    assert_eq!(from_base64("-_-_"), from_base64("+/+/"));
}
