//! The binary `cumae`.

use std::process::ExitCode;

/// Of the released binary: a tenth less processor time than glibc's takes to write, at some more memory
/// (docs/BENCHMARKS.md). Threads of its own give back what has been free for ten seconds.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    node::run(std::env::args_os())
}
