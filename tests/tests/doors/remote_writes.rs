//! B1 to B6 of the design at the door of remote write, 1.0 and 2.0, in each of its packings.

use super::bomb::{Bomb, Headers, field, go_off};
use bench::remote_write::{HEADERS, HEADERS_V2, compress};

const ZSTD: Headers = &[("Content-Encoding", "zstd")];

fn bomb(name: &'static str, headers: Headers, body: Vec<u8>, status: u16) -> Bomb {
    Bomb { name, path: "/api/v1/push", headers, body, status }
}

fn label(name: &[u8], value: &[u8]) -> Vec<u8> {
    field(1, &[field(1, name), field(2, value)].concat())
}

#[test]
fn b1_b3_b5_b6_bodies_that_claim_or_hold_too_much_take_no_memory_and_no_time() {
    // A snappy header of 2.52 GiB before 42 bytes of nothing.
    let claims = [&[0xb2, 0xa9, 0x8c, 0x83, 0x0a][..], &[0; 42]].concat();
    let series = |content: &[u8]| compress(&field(1, content));
    let named = label(b"__name__", b"m");
    let sample = field(2, &[&[0x09][..], &1.0_f64.to_le_bytes(), &[0x10, 0x01]].concat());
    let of_labels =
        |labels: Vec<Vec<u8>>| series(&[named.clone(), labels.concat(), sample.clone()].concat());
    let names: Vec<String> = (0..10_000).map(|number| format!("l{number}")).collect();
    // A span of a thousand million buckets, and a million spans.
    let wide = field(
        4,
        &[field(11, &[0x08, 0x00, 0x10, 0x80, 0x94, 0xeb, 0xdc, 0x03]), vec![0x78, 0x01]].concat(),
    );
    let spans = field(4, &[field(11, &[]).repeat(1_000_000), vec![0x78, 0x01]].concat());
    let million = 1_000_000;
    let rows = [
        ("a header of 2.5 GiB", claims, 413),
        ("sixteen million empty series", compress(&[0x0a, 0x00].repeat(16 * million)), 413),
        ("ten million empty samples", series(&[0x12, 0x00].repeat(10 * million)), 413),
        ("ten million empty labels", series(&[0x0a, 0x00].repeat(10 * million)), 204),
        ("nested groups", compress(&[0x7b].repeat(10 * million)), 400),
        ("a varint without an end", compress(&[0xff].repeat(million)), 400),
        ("a length past the end", compress(&[0x0a, 0xff, 0xff, 0xff, 0x7f, 0x00]), 400),
        ("a span of 10^9 buckets", series(&[named.clone(), wide].concat()), 400),
        ("a million spans", series(&[named.clone(), spans].concat()), 400),
        ("a name of 1 MiB", of_labels(vec![label(&vec![b'n'; 1 << 20], b"v")]), 400),
        ("a value of 16 MiB", of_labels(vec![label(b"n", &vec![b'v'; 16 << 20])]), 400),
        (
            "10,000 labels",
            of_labels(names.iter().map(|name| label(name.as_bytes(), b"v")).collect()),
            400,
        ),
        ("a value that is no text", of_labels(vec![label(b"n", b"\xff\xfe")]), 400),
        ("a NUL in a value", of_labels(vec![label(b"n", b"a\0b")]), 204),
        ("a name twice", of_labels(vec![named.clone()]), 400),
        ("a body over its limit", vec![0; (32 << 20) + 1], 413),
    ];
    go_off(rows.map(|(name, body, status)| bomb(name, &HEADERS, body, status)).into());
}

/// A request of version 2 of these symbols and one series of these references, sent at 1 ms.
fn version2(symbols: &[&[u8]], references: &[u8]) -> Vec<u8> {
    let symbols: Vec<u8> = symbols.iter().flat_map(|symbol| field(4, symbol)).collect();
    let sample = field(2, &[&[0x09][..], &1.0_f64.to_le_bytes(), &[0x10, 0x01]].concat());
    [symbols, field(5, &[field(1, references), sample].concat())].concat()
}

#[test]
fn b3_b4_b5_symbols_and_references_that_lead_nowhere_or_everywhere_are_refused() {
    let three: [&[u8]; 3] = [b"", b"__name__", b"m"];
    let five: [&[u8]; 5] = [b"", b"__name__", b"m", b"b", b"a"];
    let giant = vec![b'x'; 16 << 20];
    let with_giant: [&[u8]; 4] = [b"", b"__name__", b"m", &giant];
    let endless = [&version2(&three, &[1, 2])[..], &[0x2a, 0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
    // The first good, the second out of the table of the first one's request.
    let of_another = [version2(&three, &[1, 2]), field(5, &field(1, &[1, 2, 3, 4]))].concat();
    let buckets = field(3, &[field(12, &vec![0; 1 << 20]), vec![0x78, 0x01]].concat());
    let histogram = field(5, &[field(1, &[1, 2]), buckets].concat());
    let table: Vec<u8> = three.iter().flat_map(|symbol| field(4, symbol)).collect();
    let rows = [
        ("a reference past the table", version2(&three, &[1, 2, 3, 4]), 400),
        ("a reference of 64 bits", version2(&three, &[&[1][..], &[0xff; 9], &[1]].concat()), 400),
        ("an odd count of references", version2(&three, &[1, 2, 1]), 400),
        ("references of another request", of_another, 400),
        ("a table that does not begin with nothing", version2(&[b"a", b"b"], &[0, 1]), 400),
        ("no table", version2(&[], &[1, 2]), 400),
        ("no metric name", version2(&five, &[3, 4]), 400),
        ("a name twice", version2(&five, &[1, 2, 3, 4, 3, 2]), 400),
        ("names out of order", version2(&five, &[3, 4, 4, 2, 1, 2]), 204),
        ("a name of 16 MiB a million times", version2(&with_giant, &[3].repeat(1 << 20)), 400),
        ("ten million symbols", [0x22, 0x00].repeat(10_000_000), 413),
        ("sixteen million empty series", [0x2a, 0x00].repeat(16_000_000), 413),
        ("a million buckets", [table, histogram].concat(), 400),
        ("a length past the end", endless, 400),
        ("a field of version 1", field(1, b""), 400),
    ];
    go_off(
        rows.map(|(name, body, status)| bomb(name, &HEADERS_V2, compress(&body), status)).into(),
    );
}

#[test]
fn b1_b2_remote_writes_packed_to_become_too_much_are_refused_soon_and_cheaply() {
    let zeros = vec![0; 512 << 20];
    let zstd = zstd::bulk::compress(&zeros, 1).unwrap();
    let stream = zstd::stream::encode_all(&zeros[..], 1).unwrap();
    let snappy = snap::raw::Encoder::new().compress_vec(&zeros).unwrap();
    drop(zeros);
    // A frame that declares 5 bytes and a window of 2 GiB, and has its bytes as they are.
    let window = [
        &[0x28, 0xb5, 0x2f, 0xfd, 0xc0, 21 << 3, 5, 0, 0, 0, 0, 0, 0, 0][..],
        &[41, 0, 0],
        b"hello",
    ]
    .concat();
    go_off(vec![
        bomb("zstd that says it grows to 512 MiB", ZSTD, zstd, 413),
        bomb("zstd that does not say so", ZSTD, stream, 400),
        bomb("zstd with a window of 2 GiB", ZSTD, window, 400),
        bomb("snappy of 512 MiB", &HEADERS, snappy, 413),
        bomb("snappy that claims 4 GiB", &HEADERS, vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0], 413),
    ]);
}
