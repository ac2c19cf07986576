//! Threads that keep a store going. What one of them panics over is a fault of ours, and without it the process
//! would go on and only look sound: samples that are never flushed, a lease that nobody renews. So it ends the
//! process: what was acknowledged is in the commit log, and whoever watches the process is told.

use crate::error::Error;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};

/// Starts a thread whose panic ends the process.
pub(crate) fn spawn(
    name: &'static str,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    let guarded = move || {
        // Nothing is used after a panic, so no half-done state is seen.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            tracing::error!(
                thread = name,
                "a thread panicked, the process ends: {}",
                text(&*panic)
            );
            std::process::abort();
        }
    };
    let started = Builder::new().name(name.to_owned()).spawn(guarded);
    started.map_err(|source| Error::Thread { name, source })
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let of_format = panic.downcast_ref::<String>().map(String::as_str);
    of_format.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Command, Stdio};

    const PANICS: &str = "CUMAE_TEST_A_THREAD_PANICS";
    const SIGABRT: i32 = 6;

    #[test]
    fn a_panic_ends_the_process_and_work_that_is_done_does_not() {
        if std::env::var_os(PANICS).is_some() {
            let thread = spawn("cumae-test", || panic!("planted")).unwrap();
            drop(thread.join());
            return;
        }
        spawn("cumae-test", || {}).unwrap().join().unwrap();
        let name = "background::tests::a_panic_ends_the_process_and_work_that_is_done_does_not";
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", name]).env(PANICS, "1").stdout(Stdio::null()).stderr(Stdio::null());
        assert_eq!(child.status().unwrap().signal(), Some(SIGABRT));
    }
}
