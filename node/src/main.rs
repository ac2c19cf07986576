//! The binary `cumae`.

fn main() {}
