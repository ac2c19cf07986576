//! JSON, written straight into a buffer: strings, label sets, lists of strings.
//!
//! Not here: what an answer consists of (`render.rs`).

use crate::number;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use model::LabelSet;
use std::io::Write;

/// An answer that is this JSON, without the envelope of the query API.
pub(crate) fn response(json: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(json));
    let media_type = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}

/// Appends a JSON string.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut done = 0;
    for (index, byte) in bytes.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[done..index]);
        done = index + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            // Writing into memory does not fail.
            other => drop(write!(out, "\\u{other:04x}")),
        }
    }
    out.extend_from_slice(&bytes[done..]);
    out.push(b'"');
}

/// Appends a label set as an object, names in byte order.
pub(crate) fn push_labels(out: &mut Vec<u8>, labels: &LabelSet) {
    out.push(b'{');
    for (index, (name, value)) in labels.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_string(out, name);
        out.push(b':');
        push_string(out, value);
    }
    out.push(b'}');
}

/// Appends a list of strings.
pub(crate) fn push_strings<T: AsRef<str>>(out: &mut Vec<u8>, texts: &[T]) {
    out.push(b'[');
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_string(out, text.as_ref());
    }
    out.push(b']');
}

/// Appends `[seconds,"value"]`, the value in the vector form.
pub(crate) fn push_sample(out: &mut Vec<u8>, timestamp_ms: i64, value: f64) {
    out.push(b'[');
    number::push_timestamp(out, timestamp_ms);
    out.extend_from_slice(b",\"");
    number::push_sample(out, value);
    out.extend_from_slice(b"\"]");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_reads_back_as_it_was() {
        let mut all: String = (0..0x300).filter_map(char::from_u32).collect();
        all.push_str("\u{2028}\u{2029}😀\u{10ffff}");
        for text in ["", "plain", "a\"b\\c", "\n\r\t\u{0}\u{1f}\u{7f}", &all] {
            let mut out = Vec::new();
            push_string(&mut out, text);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn labels_and_lists_are_never_null() {
        let mut out = Vec::new();
        push_labels(&mut out, &LabelSet::default());
        push_strings::<&str>(&mut out, &[]);
        push_labels(&mut out, &LabelSet::from_pairs([("b", "2"), ("a", "1")]).unwrap());
        push_strings(&mut out, &["x", "y"]);
        assert_eq!(String::from_utf8(out).unwrap(), r#"{}[]{"a":"1","b":"2"}["x","y"]"#);
    }
}
