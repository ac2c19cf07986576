//! Bombs B1 to B7 of remote write, as 2.0 and in zstd.
