//! The binary `cumae`.

use std::process::ExitCode;

fn main() -> ExitCode {
    node::run(std::env::args_os())
}
