//! Tests across crates: architecture, conformance, crashes, real processes.
