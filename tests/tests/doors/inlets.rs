//! B2, B3, B5 and B6 of the design at the doors that take other forms than remote write 1.0 in
//! snappy: OTLP, imports, and other packings.

use super::bomb::{Bomb, Headers, field, go_off, gzipped};

const OTLP: &str = "/otlp/v1/metrics";
const TEXT: &str = "/api/v1/import/prometheus";
const LINES: &str = "/api/v1/import";
const INFLUX: &str = "/write";

const PROTOBUF: Headers = &[("Content-Type", "application/x-protobuf")];
const JSON: Headers = &[("Content-Type", "application/json")];
const PROTOBUF_GZIP: Headers =
    &[("Content-Type", "application/x-protobuf"), ("Content-Encoding", "gzip")];
const JSON_GZIP: Headers = &[("Content-Type", "application/json"), ("Content-Encoding", "gzip")];
const TWICE: Headers =
    &[("Content-Type", "application/x-protobuf"), ("Content-Encoding", "gzip, gzip")];
const GZIP: Headers = &[("Content-Encoding", "gzip")];

/// A request of one resource with these attributes and a gauge of these points.
fn gauge(attributes: &[u8], points: &[u8]) -> Vec<u8> {
    let metric = [field(1, b"m"), field(5, points)].concat();
    let scope = field(2, &field(2, &metric));
    field(1, &[field(1, attributes), scope].concat())
}

fn attribute(number: u8, key: &str, value: &[u8]) -> Vec<u8> {
    field(number, &[field(1, key.as_bytes()), field(2, value)].concat())
}

fn text_attribute(number: u8, key: &str, value: &[u8]) -> Vec<u8> {
    attribute(number, key, &field(1, value))
}

/// A value without an end: lists in lists.
fn json_of_metric(data: &str) -> Vec<u8> {
    format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"h",{data}"#)
        .into_bytes()
}

const JSON_END: &str = "}]}]}]}";

#[test]
fn b2_b3_b5_b6_otlp_protobuf_that_claims_or_becomes_too_much_is_refused_soon_and_cheaply() {
    let bomb = |name, headers, body, status| Bomb { name, path: OTLP, headers, body, status };
    let value = [&[0x21][..], &1.0_f64.to_le_bytes()].concat();
    let point = field(1, &value);
    let with_value = |more: &[u8]| field(1, &[more, &value].concat());
    let many: Vec<u8> =
        (0..1_000_000_u32).flat_map(|n| text_attribute(7, &n.to_string(), b"x")).collect();
    let of_resource: Vec<u8> =
        (0..1_000_000_u32).flat_map(|n| text_attribute(1, &n.to_string(), b"x")).collect();
    let named = text_attribute(1, "service.name", b"a");
    let zeros = attribute(7, "k", &field(5, &field(1, &field(1, &vec![0; 30 << 20]))));
    let members: Vec<u8> =
        (0..1_500_000_u32).flat_map(|n| text_attribute(1, &n.to_string(), b"")).collect();
    let exemplar = field(5, &[&[0x19][..], &1.0_f64.to_le_bytes()].concat());
    let name = text_attribute(1, "service.name", &[b'x'; 2000]);
    let wide = field(8, &[&[0x08, 0x00][..], &field(2, &[1].repeat(16 << 20))].concat());
    let counted = [wide, [&[0x21][..], &1_u64.to_le_bytes()].concat()].concat();
    let data = field(10, &[field(1, &counted), vec![0x10, 0x02]].concat());
    let exponential = field(2, &field(2, &[field(1, b"e"), data].concat()));
    go_off(vec![
        bomb("gzip that grows to 512 MiB", PROTOBUF_GZIP, gzipped(0, 512), 413),
        bomb("gzip in gzip", PROTOBUF_GZIP, gzipped(0x1f, 1), 400),
        bomb("gzip that is declared twice", TWICE, gzipped(0, 512), 415),
        bomb("members of gzip without an end", PROTOBUF_GZIP, gzipped(0, 0).repeat(1 << 20), 400),
        bomb("32 MiB of gzip that is none", PROTOBUF_GZIP, vec![0x1f; 32 << 20], 400),
        bomb("ten million empty resources", PROTOBUF, [0x0a, 0].repeat(10_000_000), 200),
        bomb("a length past the end", PROTOBUF, vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f], 400),
        bomb("groups in groups", PROTOBUF, vec![0x1b; 1 << 20], 400),
        bomb("a varint without an end", PROTOBUF, vec![0xff; 1 << 20], 400),
        bomb("a million attributes of a point", PROTOBUF, gauge(&[], &with_value(&many)), 200),
        bomb(
            "a million attributes of a resource",
            PROTOBUF,
            gauge(&[named.clone(), of_resource].concat(), &point),
            200,
        ),
        bomb("a long job times a million", PROTOBUF, gauge(&name, &point.repeat(1_000_000)), 413),
        bomb("a million points", PROTOBUF, gauge(&named, &point.repeat(1_000_000)), 413),
        bomb(
            "a text that is written six times as long",
            PROTOBUF,
            gauge(&[], &with_value(&zeros)),
            200,
        ),
        bomb(
            "a map of many members",
            PROTOBUF,
            gauge(&[], &with_value(&attribute(7, "k", &field(6, &members)))),
            200,
        ),
        bomb(
            "two million exemplars",
            PROTOBUF,
            gauge(&named, &with_value(&exemplar.repeat(2_000_000))),
            200,
        ),
        bomb("sixteen million buckets", PROTOBUF, field(1, &exponential), 200),
        bomb("a body over its limit", PROTOBUF, vec![0; (32 << 20) + 1], 413),
    ]);
}

#[test]
fn b2_b3_b5_b6_otlp_json_that_claims_or_becomes_too_much_is_refused_soon_and_cheaply() {
    let bomb = |name, headers, body, status| Bomb { name, path: OTLP, headers, body, status };
    let open = r#"{"arrayValue":{"values":["#;
    let deep = format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"k","value":{}1"#,
        open.repeat(500_000)
    );
    let counts = format!(
        r#""histogram":{{"aggregationTemporality":2,"dataPoints":[{{"bucketCounts":[1{}]}}]}}{JSON_END}"#,
        ",1".repeat(12 << 20)
    );
    let attributes: Vec<String> =
        (0..700_000_u32).map(|n| format!(r#"{{"key":"{n}","value":{{"intValue":1}}}}"#)).collect();
    let many = format!(
        r#""gauge":{{"dataPoints":[{{"attributes":[{}],"asInt":1}}]}}{JSON_END}"#,
        attributes.join(",")
    );
    go_off(vec![
        bomb("gzip that grows to 512 MiB", JSON_GZIP, gzipped(b' ', 512), 413),
        bomb("a value without an end", JSON, deep.into_bytes(), 400),
        bomb("brackets", JSON, vec![b'['; 20 << 20], 400),
        bomb("a text without an end", JSON, vec![b'"'; 20 << 20], 400),
        bomb(
            "unknown keys without an end",
            JSON,
            format!(r#"{{{}"a":1}}"#, r#""a":[[]],"#.repeat(2 << 20)).into_bytes(),
            200,
        ),
        bomb("buckets that grow by four", JSON, json_of_metric(&counts), 413),
        bomb("700,000 attributes of a point", JSON, json_of_metric(&many), 200),
    ]);
}

#[test]
fn b2_b3_b6_imports_whose_lines_claim_or_become_too_much_are_refused_soon_and_cheaply() {
    let bomb = |name, path, headers, body, status| Bomb { name, path, headers, body, status };
    let tags = format!("m,t={} {}", "x".repeat(1 << 20), vec!["f=1"; 1 << 20].join(","));
    let fields = format!("m {}", vec!["f=1"; 7 << 20].join(","));
    let many_tags = format!("m{} f=1", ",a=b".repeat(7 << 20));
    let labels = format!("m{{{}}} 1", "a=\"b\",".repeat(4 << 20));
    let values = format!(r#"{{"metric":{{"__name__":"m"}},"values":[{}1"#, "1,".repeat(10 << 20));
    let whole = format!(
        r#"{{"metric":{{"__name__":"m"}},"values":[{}1],"timestamps":[{}1]}}"#,
        "1,".repeat(7 << 20),
        "1,".repeat(7 << 20)
    );
    let members = format!(r#"{{"metric":{{{}"a":""}}}}"#, r#""a":"","#.repeat(3 << 20));
    let values_deep = format!(r#"{{"x":{}"#, "[".repeat(20 << 20));
    go_off(vec![
        bomb("one endless line", TEXT, GZIP, gzipped(b'x', 256), 413),
        bomb("one endless line that is not packed", TEXT, &[], vec![b'x'; 40 << 20], 413),
        bomb("members without an end", TEXT, GZIP, gzipped(0, 0).repeat(1 << 20), 400),
        bomb("nothing but line feeds", TEXT, GZIP, gzipped(b'\n', 16), 204),
        bomb("four million labels", TEXT, &[], labels.into_bytes(), 400),
        bomb("one endless line of InfluxDB's", INFLUX, GZIP, gzipped(b'a', 256), 413),
        bomb("a long tag times a million", INFLUX, &[], tags.into_bytes(), 400),
        bomb("seven million fields", INFLUX, &[], fields.into_bytes(), 400),
        bomb("seven million tags", INFLUX, &[], many_tags.into_bytes(), 400),
        bomb("quotes that never close", INFLUX, &[], vec![b'"'; 20 << 20], 400),
        bomb("values without an end", LINES, &[], values.into_bytes(), 400),
        bomb("seven million samples in a line", LINES, &[], whole.into_bytes(), 400),
        bomb("three million members", LINES, &[], members.into_bytes(), 400),
        bomb("a list in lists", LINES, &[], values_deep.into_bytes(), 400),
        bomb("brackets", LINES, &[], vec![b'['; 20 << 20], 400),
        bomb("one endless line of JSON", LINES, GZIP, gzipped(b'{', 256), 413),
    ]);
}
