//! Any bytes as lines of any format.

use super::exposition::Line;
use super::line_protocol::Precision;
use super::*;
use proptest::prelude::*;

/// Text of the characters that mean something in these formats.
fn soup() -> impl Strategy<Value = String> {
    "[ab_:{}=,\"\\\\ #0-9eEiu.+\\-é\t\\[\\]]{0,60}"
}

fn read_all(line: &[u8]) {
    let _ = exposition::parse(line, 0, LineBounds::NONE);
    let _ = json_lines::parse(line, LineBounds::NONE);
    if let Ok(Some(points)) =
        line_protocol::parse(line, Precision::parse("ms").unwrap(), 0, LineBounds::NONE)
    {
        for (field, _) in &points.fields {
            assert!(points.labels(&points.name(field)).all(|(name, _)| !name.is_empty()));
        }
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn escaped(text: &str) -> String {
    text.replace(',', "\\,").replace('=', "\\=").replace(' ', "\\ ")
}

proptest! {
    #[test]
    fn any_bytes_are_a_line_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        read_all(&bytes);
    }

    #[test]
    fn any_soup_of_separators_is_a_line_or_an_error(text in soup()) {
        read_all(text.as_bytes());
    }

    #[test]
    fn a_series_in_text_is_read_as_it_was_written(
        name in "[^\0-\u{1f}]{1,6}", label in "[a-z_]{1,6}", value in any::<String>(),
        number in any::<f64>().prop_filter("equal to itself", |n| !n.is_nan()), time in any::<i64>(),
    ) {
        let value = value.replace('\r', "");
        let line = format!("{{{},{label}={}}} {number} {time}", quoted(&name), quoted(&value));
        let Ok(Line::Sample(row)) = exposition::parse(line.as_bytes(), 0, LineBounds::NONE) else {
            return Err(TestCaseError::fail(line));
        };
        prop_assert_eq!(&row.labels[0].1, &name);
        prop_assert_eq!(&row.labels[1].1, &value);
        prop_assert_eq!(row.samples, [(time, number)]);
    }

    #[test]
    fn a_line_of_json_is_read_as_it_was_written(
        value in any::<String>(),
        samples in proptest::collection::vec((any::<i64>(), -1e300..1e300), 0..5),
    ) {
        let (times, values): (Vec<i64>, Vec<f64>) = samples.iter().copied().unzip();
        let line = serde_json::json!({"metric": {"l": value}, "values": values, "timestamps": times});
        let row = json_lines::parse(line.to_string().as_bytes(), LineBounds::NONE).unwrap();
        prop_assert_eq!(&row.labels[0].1, &value);
        prop_assert_eq!(row.samples, samples);
    }

    #[test]
    fn a_line_of_influxdb_is_read_as_it_was_written(
        measurement in "[a-z ,é]{1,6}", tag in "[a-z =,é]{1,6}", field in "[a-z =,é]{1,6}",
        number in any::<i64>(), time in any::<i32>(),
    ) {
        let line = format!(
            "{},t={} {}={number}i {time}", escaped(&measurement), escaped(&tag), escaped(&field)
        );
        let precision = Precision::parse("s").unwrap();
        // A comment or blanks in front mean something else.
        prop_assume!(!measurement.starts_with(' '));
        let points = line_protocol::parse(line.as_bytes(), precision, 0, LineBounds::NONE).unwrap().unwrap();
        prop_assert_eq!(&points.tags[0].1, &tag);
        prop_assert_eq!(&points.measurement, &measurement);
        prop_assert_eq!(&points.fields, &[(field.into(), number as f64)]);
        prop_assert_eq!(points.timestamp_ms, i64::from(time) * 1000);
    }
}
