//! The vectors of CONTRACTS.md section 12, and bytes that are none.

use super::*;
use crate::protobuf::write::{push_bytes, push_number};
use model::{Column, Kind, LabelSet, Matcher, SeriesColumns, TimestampMs};
use proptest::prelude::*;

const BYTES_MAX: usize = 1 << 20;

fn hex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

fn packed(message: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(message).unwrap()
}

fn up() -> SeriesColumns {
    let mut floats = Column::default();
    for (seconds, value) in [(0, 1.0), (15, 2.0), (30, 2.5)] {
        floats.push(1_700_000_000_000 + 1_000 * seconds, value);
    }
    let labels = LabelSet::from_pairs([("__name__", "up")]).unwrap();
    SeriesColumns { labels, floats, ..SeriesColumns::default() }
}

#[test]
fn the_contracts_read_request_is_read() {
    let body = hex("248c0a1e0880d095ffbc3110e0a499ffbc311a0e12085f5f6e616d655f5f1a02757012020100");
    let query = ReadQuery {
        start: TimestampMs(1_700_000_000_000),
        end: TimestampMs(1_700_000_060_000),
        matchers: vec![Matcher::equal("__name__", "up")],
    };
    let request =
        ReadRequest { queries: vec![query], response_type: ResponseType::StreamedXorChunks };
    assert_eq!(decode(&body, BYTES_MAX), Ok(request));
}

#[test]
fn the_contracts_xor_chunk_is_made() {
    let chunks: Vec<Chunk> = Chunks::of(up()).collect();
    let expected = Chunk {
        min_ms: 1_700_000_000_000,
        max_ms: 1_700_000_030_000,
        encoding: Encoding::Xor,
        data: hex("000380a0abfef9623ff00000000000009875c25fff6d06"),
    };
    assert_eq!(chunks, [expected]);
}

#[test]
fn the_contracts_stream_frame_is_made() {
    let (mut frames, mut out) = (SeriesFrames::new(0, up()), Vec::new());
    while frames.push_next(&mut out) {}
    let expected = "3d9ff36b6d0a3b0a0e0a085f5f6e616d655f5f1202757012290880d095ffbc3110b0ba97ffbc31\
                    18012217000380a0abfef9623ff00000000000009875c25fff6d06";
    assert_eq!(out, hex(expected));
}

#[test]
fn a_series_of_no_sample_has_no_frame() {
    let mut out = Vec::new();
    assert!(!SeriesFrames::new(0, SeriesColumns::default()).push_next(&mut out));
    assert!(out.is_empty());
}

#[test]
fn frames_of_a_long_series_are_bounded_and_name_their_query() {
    let mut series = up();
    for index in 0..200_000_i64 {
        // Every bit of a value changes.
        let bits = index.cast_unsigned().wrapping_mul(0x9E37_79B9_7F4A_7C15);
        series.floats.push(1_800_000_000_000 + index * 1_001, f64::from_bits(bits));
    }
    let (mut frames, mut out, mut count) = (SeriesFrames::new(7, series), Vec::new(), 0);
    while frames.push_next(&mut out) {
        assert!(out.len() <= 1 << 20);
        // The last field is the number of the query.
        assert!(out.ends_with(&[0x10, 7]));
        out.clear();
        count += 1;
    }
    assert!(count > 10, "{count}");
}

#[test]
fn the_first_form_that_is_known_is_chosen_and_none_means_samples() {
    let of = |types: &[u64], is_packed: bool| {
        let mut message = Vec::new();
        if is_packed {
            push_bytes(
                2,
                &types.iter().map(|n| n.to_le_bytes()[0]).collect::<Vec<_>>(),
                &mut message,
            );
        } else {
            types.iter().for_each(|number| push_number(2, *number, &mut message));
        }
        decode(&packed(&message), BYTES_MAX).map(|request| request.response_type)
    };
    for is_packed in [false, true] {
        assert_eq!(of(&[], is_packed), Ok(ResponseType::Samples));
        assert_eq!(of(&[0, 1], is_packed), Ok(ResponseType::Samples));
        assert_eq!(of(&[1, 0], is_packed), Ok(ResponseType::StreamedXorChunks));
        assert_eq!(of(&[7, 1], is_packed), Ok(ResponseType::StreamedXorChunks));
        let error = of(&[7, 8], is_packed).unwrap_err();
        assert_eq!(error, Error::ResponseTypes(vec![7, 8]));
        assert_eq!(error.kind(), Kind::Invalid);
    }
}

#[test]
fn a_request_that_declares_more_than_may_come_is_refused_unread() {
    // A varint of 4 GiB less one, and nothing behind it.
    let error = decode(&[0xff, 0xff, 0xff, 0xff, 0x0f], BYTES_MAX).unwrap_err();
    assert_eq!(error.kind(), Kind::TooLarge);
    let error = decode(&vec![0; BYTES_MAX + 1], BYTES_MAX).unwrap_err();
    assert_eq!(error.kind(), Kind::TooLarge);
    // Within the limit, but more than its bytes could hold.
    let error = decode(&[0xff, 0xff, 0x03, 0x00], BYTES_MAX).unwrap_err();
    assert!(matches!(error, Error::Snappy(_)), "{error}");
}

#[test]
fn a_thousand_queries_are_read_and_one_more_is_refused() {
    let message = [0x0a, 0x00].repeat(1_000);
    assert_eq!(decode(&packed(&message), BYTES_MAX).unwrap().queries.len(), 1_000);
    let message = [0x0a, 0x00].repeat(1_001);
    assert_eq!(decode(&packed(&message), BYTES_MAX), Err(Error::TooManyQueries));
}

#[test]
fn what_a_matcher_may_not_be_is_refused() {
    let of = |matcher: &[u8]| {
        let (mut query, mut message) = (Vec::new(), Vec::new());
        push_bytes(3, matcher, &mut query);
        push_bytes(1, &query, &mut message);
        decode(&packed(&message), BYTES_MAX)
    };
    assert_eq!(of(&[0x08, 4]), Err(Error::MatcherType(4)));
    assert_eq!(of(&[0x12, 1, 0xff]), Err(Error::NotText));
    assert_eq!(of(&[0x1a, 1, 0xff]), Err(Error::NotText));
    assert!(of(&[0x08, 3, 0x12, 1, b'a', 0x1a, 1, b'b']).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_give_a_request_or_an_error(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&body, BYTES_MAX);
        let _ = decode(&packed(&body), BYTES_MAX);
    }

    #[test]
    fn a_request_with_changed_bytes_is_a_request_or_an_error(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut message = hex("0a1e0880d095ffbc3110e0a499ffbc311a0e12085f5f6e616d655f5f1a02757012020100");
        for (at, byte) in changes {
            let at = at.index(message.len());
            message[at] = byte;
        }
        let _ = decode(&packed(&message), BYTES_MAX);
        message.truncate(cut.index(message.len()));
        let _ = decode(&packed(&message), BYTES_MAX);
    }
}
