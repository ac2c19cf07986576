//! Remote read: a request as it comes, and the message in it.

use wire::remote_read::{ReadRequest, decode};

/// As much as may come.
const BYTES_MAX: usize = 1 << 20;

/// A body is read or refused; what is asked is no longer than what came.
pub fn body(data: &[u8]) {
    let _ = decode(data, BYTES_MAX);
    if let Ok(request) = decode(&packed(data), BYTES_MAX) {
        assert!(texts(&request) <= data.len(), "texts out of nothing");
    }
}

fn texts(request: &ReadRequest) -> usize {
    let matchers = request.queries.iter().flat_map(|query| &query.matchers);
    matchers.map(|matcher| matcher.name.len() + matcher.value.len()).sum()
}

/// A snappy block of the bytes as they are.
fn packed(message: &[u8]) -> Vec<u8> {
    let (mut out, mut len) = (Vec::new(), message.len());
    while len >= 0x80 {
        out.push(len.to_le_bytes()[0] | 0x80);
        len >>= 7;
    }
    out.push(len.to_le_bytes()[0]);
    for part in message.chunks(1 << 16) {
        out.push(61 << 2);
        out.extend_from_slice(&(part.len() - 1).to_le_bytes()[..2]);
        out.extend_from_slice(part);
    }
    out
}
