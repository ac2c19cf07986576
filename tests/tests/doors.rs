//! Writes and connections meant to do harm: bombs, floods and storms, slow and
//! ambiguous connections. Not in one process with `hostile.rs`, whose tests look at the clock.

#![expect(clippy::unwrap_used, reason = "it is all test, its helpers too")]
#![expect(clippy::print_stdout, reason = "what was measured is shown")]

mod doors {
    mod abuse;
    mod bomb;
    mod inlets;
    mod noisy;
    mod overload;
    mod reader;
    mod remote_writes;
}
