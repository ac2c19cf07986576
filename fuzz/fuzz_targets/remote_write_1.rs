#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::remote_write::walk(data, wire::remote_write::Version::One));
