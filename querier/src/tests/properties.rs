//! Properties: whatever comes in is read or refused, and what is written reads back.

use super::support::encode;
use crate::json;
use crate::label_name::unescape;
use crate::params::Params;
use crate::render::{Annotations, Data, QueryAnswer, success};
use crate::time_param::{parse_duration, parse_time};
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use model::{Column, LabelSet, SeriesColumns};
use promql::Value;
use proptest::prelude::*;
use serde_json::Value as Json;

/// A label name as a client escapes it into a path (CONTRACTS.md 3.6).
fn escape(name: &str) -> String {
    let plain = |(index, c): (usize, char)| {
        c.is_ascii_alphabetic() || c == '_' || (c.is_ascii_digit() && index > 0)
    };
    if name.char_indices().all(plain) && !name.starts_with("U__") {
        return name.to_owned();
    }
    let mut escaped = "U__".to_owned();
    for (index, c) in name.char_indices() {
        match c {
            '_' => escaped.push_str("__"),
            c if c == ':' || plain((index, c)) => escaped.push(c),
            c => escaped.push_str(&format!("_{:x}_", u32::from(c))),
        }
    }
    escaped
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn an_escaped_label_name_is_read_as_the_name(name in ".{1,12}") {
        prop_assert_eq!(unescape(&escape(&name)), name);
    }

    #[test]
    fn no_text_breaks_a_reader(text in "[0-9a-zA-Z:.+TZ_ é-]{0,40}", bytes: Vec<u8>) {
        let _ = parse_duration(&text);
        let _ = unescape(&text);
        let _ = Params::parse(Some(&bytes), Some(&text));
        if let Ok(time) = parse_time(&text) {
            prop_assert!(time.0 > i64::MIN);
        }
    }

    #[test]
    fn an_encoded_form_reads_back(pairs: Vec<(String, String)>) {
        let texts: Vec<(&str, &str)> =
            pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let params = Params::parse(Some(encode(&texts).as_bytes()), None).unwrap();
        for (key, value) in texts {
            prop_assert!(params.all(key).any(|have| have == value));
        }
    }

    #[test]
    fn whole_milliseconds_of_our_time_read_back(ms in -62_000_000_000_000_i64..253_000_000_000_000) {
        let mut text = Vec::new();
        crate::number::push_timestamp(&mut text, ms);
        let text = String::from_utf8(text).unwrap();
        prop_assert_eq!(parse_time(&text).unwrap().0, ms);
    }

    #[test]
    fn a_matrix_reads_back(
        series in prop::collection::vec((".{0,8}", prop::collection::vec((-9_999_999_999_999_i64..9_999_999_999_999, any::<f64>()), 0..700)), 0..4),
    ) {
        let columns = |samples: &Vec<(i64, f64)>| Column {
            timestamps_ms: samples.iter().map(|sample| sample.0).collect(),
            values: samples.iter().map(|sample| sample.1).collect(),
            ..Column::default()
        };
        let matrix = series.iter().map(|(label, samples)| SeriesColumns {
            labels: LabelSet::from_pairs([("l", label.as_str())]).unwrap(),
            floats: columns(samples),
            ..SeriesColumns::default()
        });
        let data = Data::Query(Box::new(QueryAnswer {
            value: Value::Matrix(matrix.collect()),
            stats: None,
            trace: None,
            purse: None,
        }));
        let body = success(data, &Annotations::default()).into_body().collect();
        let body = body.now_or_never().unwrap().unwrap().to_bytes();
        let json: Json = serde_json::from_slice(&body).unwrap();
        let result = json["data"]["result"].as_array().unwrap();
        prop_assert_eq!(result.len(), series.len());
        for (got, (label, samples)) in result.iter().zip(&series) {
            prop_assert_eq!(got["metric"]["l"].as_str().unwrap_or(""), label);
            let values = got["values"].as_array().unwrap();
            prop_assert_eq!(values.len(), samples.len());
            for (pair, (ms, value)) in values.iter().zip(samples) {
                let mut seconds = Vec::new();
                crate::number::push_timestamp(&mut seconds, *ms);
                let seconds: f64 = String::from_utf8(seconds).unwrap().parse().unwrap();
                prop_assert_eq!(pair[0].as_f64().unwrap(), seconds);
                let read: f64 = pair[1].as_str().unwrap().parse().unwrap();
                prop_assert!(read == *value || read.is_nan() && value.is_nan());
            }
        }
    }

    #[test]
    fn any_string_reads_back(text: String) {
        let mut out = Vec::new();
        json::push_string(&mut out, &text);
        prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
    }
}
