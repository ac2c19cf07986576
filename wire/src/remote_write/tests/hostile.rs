//! Bytes that nobody would send in good faith.

use super::*;

#[test]
fn a_histogram_with_too_many_places_is_a_fault_of_its_own_and_takes_bounded_memory() {
    let places = BUCKETS_MAX + 1;
    for sent in [
        ProstHistogram { positive_deltas: vec![0; places], ..ProstHistogram::default() },
        ProstHistogram { negative_counts: vec![0.0; places], ..ProstHistogram::default() },
        ProstHistogram { custom_values: vec![0.0; places], ..ProstHistogram::default() },
        ProstHistogram { negative_spans: vec![ProstSpan::default(); places], ..Default::default() },
    ] {
        let view = HistogramView::read(&sent.encode_to_vec()).unwrap();
        assert_eq!(view.histogram, Err(BadHistogram("too many buckets")));
    }
    let fits = ProstHistogram { positive_deltas: vec![0; BUCKETS_MAX], ..Default::default() };
    let view = HistogramView::read(&fits.encode_to_vec()).unwrap();
    assert_eq!(view.histogram.unwrap().buckets(), BUCKETS_MAX);
}

#[test]
fn a_length_beyond_the_limit_is_refused_before_memory_is_taken() {
    let mut buffer = Vec::new();
    for (header, limit) in
        [(&[0x80, 0x80, 0x80, 0x80, 0x0a][..], 32 << 20), (&[0x80, 0x80, 0x40], 1000)]
    {
        let body = [header, &[0; 1000]].concat();
        let error = decompress(&body, Encoding::Snappy, Limit(limit), &mut buffer).unwrap_err();
        assert_eq!(error.kind(), model::Kind::TooLarge);
        assert_eq!(buffer.capacity(), 0);
    }
}

#[test]
fn a_length_that_the_bytes_cannot_fill_is_refused_before_memory_is_taken() {
    let mut buffer = Vec::new();
    let body = [&[0x80, 0x80, 0x80, 0x0a][..], &[0; 42]].concat();
    let error = decompress(&body, Encoding::Snappy, Limit(0), &mut buffer).unwrap_err();
    assert!(matches!(error, Error::Snappy(_)), "{error}");
    assert_eq!(buffer.capacity(), 0);
}

#[test]
fn the_densest_honest_block_is_within_the_bound() {
    let message = vec![7; 30 << 20];
    let body = snap::raw::Encoder::new().compress_vec(&message).unwrap();
    assert_eq!(decoded_len(&body, Encoding::Snappy, Limit(0)).unwrap(), message.len());
}

#[test]
fn groups_nest_to_a_depth_and_no_deeper_and_never_overflow_the_stack() {
    let nested = |depth: usize| [vec![0x7b; depth], vec![0x7c; depth]].concat();
    assert!(by_walk(&nested(90)).is_ok());
    assert!(by_walk(&nested(1_000_000)).is_err());
    assert!(by_walk(&[0x7c]).is_err());
}

#[test]
fn a_varint_has_64_bits_and_no_more() {
    let field_15 = |tenth: u8| [&[0x78][..], &[0xff; 9], &[tenth]].concat();
    for (body, is_good) in [
        (field_15(0x01), true),
        (field_15(0x02), false),
        (field_15(0x81), false),
        ([&[0x78][..], &[0xff; 20]].concat(), false),
        (vec![0x78, 0x80], false),
    ] {
        assert_eq!(by_walk(&body).is_ok(), is_good, "{body:?}");
        assert_eq!(by_prost(&body).is_some(), is_good, "{body:?}");
    }
}
