//! What a sender is answered: `ExportMetricsServiceResponse`, or `google.rpc.Status`, in its form.

use super::Form;
use crate::protobuf::write::{push_bytes, push_number};
use model::Kind;

/// The longest text in an answer, in bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// Everything was taken.
#[must_use]
pub fn empty_answer(form: Form) -> Vec<u8> {
    match form {
        Form::Protobuf => Vec::new(),
        Form::Json => b"{}".to_vec(),
    }
}

/// Everything but so many points was taken, and why they were not.
#[must_use]
pub fn partial_answer(form: Form, rejected: u64, message: &str) -> Vec<u8> {
    let message = cut(message);
    match form {
        Form::Protobuf => {
            let (mut partial, mut answer) = (Vec::new(), Vec::new());
            push_number(1, rejected, &mut partial);
            push_bytes(2, message.as_bytes(), &mut partial);
            push_bytes(1, &partial, &mut answer);
            answer
        }
        Form::Json => serde_json::json!({
            // 64-bit integers are strings in protobuf's JSON.
            "partialSuccess": {"rejectedDataPoints": rejected.to_string(), "errorMessage": message}
        })
        .to_string()
        .into_bytes(),
    }
}

/// Nothing was taken, and why.
#[must_use]
pub fn error_answer(form: Form, kind: Kind, message: &str) -> Vec<u8> {
    let (code, message) = (code(kind), cut(message));
    match form {
        Form::Protobuf => {
            let mut answer = Vec::new();
            push_number(1, code, &mut answer);
            push_bytes(2, message.as_bytes(), &mut answer);
            answer
        }
        Form::Json => {
            serde_json::json!({"code": code, "message": message}).to_string().into_bytes()
        }
    }
}

/// The number of `google.rpc.Code`.
fn code(kind: Kind) -> u64 {
    match kind {
        Kind::Invalid | Kind::Unsupported => 3,
        Kind::Timeout => 4,
        Kind::NotFound => 5,
        Kind::Denied => 7,
        Kind::Limited | Kind::TooLarge => 8,
        Kind::Unexecutable => 9,
        Kind::Canceled => 1,
        Kind::Unauthenticated => 16,
        Kind::Unavailable | Kind::Corrupt | Kind::Internal => 14,
    }
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_the_form_of_the_request() {
        assert_eq!(empty_answer(Form::Protobuf), b"");
        assert_eq!(empty_answer(Form::Json), b"{}");
        let json = partial_answer(Form::Json, 1, "why");
        let want = r#"{"partialSuccess":{"errorMessage":"why","rejectedDataPoints":"1"}}"#;
        assert_eq!(std::str::from_utf8(&json).unwrap(), want);
        assert_eq!(partial_answer(Form::Protobuf, 1, "why"), b"\x0a\x07\x08\x01\x12\x03why");
        assert_eq!(error_answer(Form::Protobuf, Kind::Invalid, "bad"), b"\x08\x03\x12\x03bad");
        let json = error_answer(Form::Json, Kind::Unavailable, "later");
        assert_eq!(std::str::from_utf8(&json).unwrap(), r#"{"code":14,"message":"later"}"#);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let answer = error_answer(Form::Json, Kind::Invalid, &"é".repeat(1 << 20));
        assert!(answer.len() < TEXT_BYTES_MAX + 100);
        assert!(std::str::from_utf8(&answer).is_ok());
    }
}
