//! Answers as tables and as CSV.

use super::answer::{Answer, Row};
use crate::told::{Colour, Style};
use model::TimestampMs;
use std::collections::BTreeSet;

/// A line for each series of an instant; of a range a heading for each series and its samples below.
pub(super) fn table(answer: &Answer, style: Style) -> String {
    if answer.rows.is_empty() {
        return "no series\n".to_owned();
    }
    if answer.is_matrix {
        return answer.rows.iter().map(|row| matrix(row, style)).collect();
    }
    let names: Vec<String> = answer.rows.iter().map(Row::name).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let lines = answer.rows.iter().zip(&names).map(|(row, name)| {
        let value = row.samples.first().map_or("", |sample| &sample.text);
        // A scalar has no name.
        match name.as_str() {
            "{}" if answer.rows.len() == 1 => format!("{value}\n"),
            name => format!("{name:<width$}  {}\n", style.paint(Colour::Good, value)),
        }
    });
    lines.collect()
}

fn matrix(row: &Row, style: Style) -> String {
    let mut out = format!("{}\n", style.paint(Colour::Good, &row.name()));
    for sample in &row.samples {
        let time = style.paint(Colour::Dim, &rfc3339(sample.time_ms));
        out.push_str(&format!("  {time}  {}\n", sample.text));
    }
    out
}

/// A line for each sample, a column for each label that occurs; then `timestamp` in seconds, `value`.
pub(super) fn csv(answer: &Answer) -> String {
    let all = answer.rows.iter().flat_map(|row| row.labels.iter().map(|(name, _)| name.as_str()));
    let names: BTreeSet<&str> = all.collect();
    let head = names.iter().copied().chain(["timestamp", "value"]);
    let mut out = line(head);
    for row in &answer.rows {
        let value = |name: &&str| {
            let found = row.labels.iter().find(|(have, _)| have == name);
            found.map_or("", |(_, value)| value.as_str())
        };
        let labels: Vec<&str> = names.iter().map(value).collect();
        for sample in &row.samples {
            let (sign, ms) =
                (if sample.time_ms < 0 { "-" } else { "" }, sample.time_ms.unsigned_abs());
            let time = format!("{sign}{}.{:03}", ms / 1_000, ms % 1_000);
            out.push_str(&line(labels.iter().copied().chain([time.as_str(), &sample.text])));
        }
    }
    out
}

/// A line by RFC 4180; lines end as files here do.
fn line<'a>(fields: impl Iterator<Item = &'a str>) -> String {
    let quoted = |field: &str| match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    };
    format!("{}\n", fields.map(quoted).collect::<Vec<_>>().join(","))
}

/// A time of UTC, to the second, or to the millisecond where there are some.
pub(super) fn rfc3339(time_ms: i64) -> String {
    let whole = querier::rfc3339(TimestampMs(time_ms));
    match time_ms.rem_euclid(1_000) {
        0 => whole,
        millis => format!("{}.{millis:03}Z", whole.trim_end_matches('Z')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn vector() -> Answer {
        Answer::read(&json!({"resultType": "vector", "result": [
            {"metric": {"a": "x,\"y", "__name__": "up"}, "value": [1.5, "1"]},
            {"metric": {"b": "z"}, "histogram": [2, {"count": "3"}]},
        ]}))
        .unwrap()
    }

    #[test]
    fn a_table_has_a_line_for_each_series_of_an_instant_and_for_each_sample_of_a_range() {
        let expected = "up{a=\"x,\\\"y\"}  1\n{b=\"z\"}        {\"count\":\"3\"}\n";
        assert_eq!(table(&vector(), Style::PLAIN), expected);
        let matrix = json!({"resultType": "matrix", "result": [
            {"metric": {"__name__": "up"}, "values": [[0, "1"], [1760000000.25, "NaN"]]},
        ]});
        let expected = "up\n  1970-01-01T00:00:00Z  1\n  2025-10-09T08:53:20.250Z  NaN\n";
        assert_eq!(table(&Answer::read(&matrix).unwrap(), Style::PLAIN), expected);
        let scalar = json!({"resultType": "scalar", "result": [1, "7"]});
        assert_eq!(table(&Answer::read(&scalar).unwrap(), Style::PLAIN), "7\n");
        assert_eq!(table(&Answer::default(), Style::PLAIN), "no series\n");
    }

    #[test]
    fn csv_has_a_column_for_each_label_and_quotes_what_needs_it() {
        let expected = "__name__,a,b,timestamp,value\n\
                        up,\"x,\"\"y\",,1.500,1\n\
                        ,,z,2.000,\"{\"\"count\"\":\"\"3\"\"}\"\n";
        assert_eq!(csv(&vector()), expected);
    }

    #[test]
    fn what_is_no_answer_is_none() {
        for data in [json!({}), json!({"resultType": "vector", "result": [{}]}), json!([1])] {
            assert!(Answer::read(&data).is_none(), "{data}");
        }
    }
}
