//! The binary `cumae`.

use mimalloc::MiMalloc;
use std::process::ExitCode;

/// Gives freed memory back to the system whichever thread freed it; the system's own allocator
/// keeps what a refused query took, once for each thread that worked on it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    node::run(std::env::args_os())
}
