//! What bombs are made of, and how much memory one takes.

use std::fs;
use std::io::Write as _;
use tests::process::Cumae;

/// A field with a length, for messages that no encoder would write.
pub(super) fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::bytes::encode(number.into(), &content.to_vec(), &mut bytes);
    bytes
}

/// So many mebibytes of one byte, in gzip.
pub(super) fn gzipped(byte: u8, mib: usize) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    (0..mib).for_each(|_| encoder.write_all(&vec![byte; 1 << 20]).unwrap());
    encoder.finish().unwrap()
}

/// The bytes that a process had resident at most while `act` ran, beyond those before.
pub(super) fn rise<T>(cumae: &Cumae, act: impl FnOnce() -> T) -> (T, u64) {
    // 5 resets the peak.
    fs::write(format!("/proc/{}/clear_refs", cumae.pid()), "5").unwrap();
    let before = peak(cumae);
    let done = act();
    (done, peak(cumae).saturating_sub(before))
}

fn peak(cumae: &Cumae) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", cumae.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
