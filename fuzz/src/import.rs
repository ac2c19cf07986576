//! Lines of the three formats that are imported, and gzip that is decompressed as it comes.

use wire::gzip::Inflater;
use wire::import::line_protocol::Precision;
use wire::import::{LineBounds, exposition, json_lines, line_protocol};

/// Reads each line as one of every format.
pub fn lines(data: &[u8]) {
    for line in data.split(|byte| *byte == b'\n') {
        let _ = exposition::parse(line, 0, LineBounds::NONE);
        if let Ok(row) = json_lines::parse(line, LineBounds::NONE) {
            assert!(2 * row.samples.len() <= line.len(), "a value and its time take bytes");
        }
        let Some(precision) = Precision::parse("ns") else { return };
        if let Ok(Some(points)) = line_protocol::parse(line, precision, 0, LineBounds::NONE) {
            assert!(points.fields.len() <= line.len());
            assert!(points.tags.iter().all(|(name, value)| !name.is_empty() && !value.is_empty()));
        }
    }
}

/// Decompresses step by step.
pub fn gzip(data: &[u8]) {
    let (mut inflater, mut rest, mut out) = (Inflater::default(), data, Vec::new());
    while !rest.is_empty() {
        out.clear();
        let Ok(taken) = inflater.step(rest, &mut out) else { return };
        assert!(taken > 0 && out.len() <= 512 << 10, "{taken} became {}", out.len());
        rest = &rest[taken..];
    }
    let _ = inflater.finish(&mut out);
}
