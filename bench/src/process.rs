//! What the kernel says of another process, and time.

use std::time::{Duration, Instant};

/// CPU time and memory of a process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// User and system time since it started, in seconds.
    pub cpu_seconds: f64,
    /// Anonymous resident memory in bytes: what the process holds and no file backs.
    pub anonymous_bytes: u64,
}

/// What the kernel says of the process `pid`; `None` if it is gone.
#[must_use]
pub fn usage(pid: u32) -> Option<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name, in parentheses, may hold blanks: count the fields behind it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11).map(str::parse::<u32>);
    let ticks = f64::from(fields.next()?.ok()?) + f64::from(fields.next()?.ok()?);
    let per_second = u32::try_from(rustix::param::clock_ticks_per_second()).ok()?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(Usage { cpu_seconds: ticks / f64::from(per_second), anonymous_bytes: kib * 1024 })
}

/// The moment, for measuring.
#[expect(clippy::disallowed_methods, reason = "other processes live in real time")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// Milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "other processes live in real time")]
#[must_use]
pub fn wall_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}

/// Waits until `span` has passed: nothing tells us when another process has finished its
/// background work, so a measurement says how long it gave it.
pub fn settle(span: Duration) {
    let end = now() + span;
    while let Some(rest) = end.checked_duration_since(now()).filter(|rest| !rest.is_zero()) {
        std::thread::park_timeout(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_takes_time_and_memory() {
        let before = usage(std::process::id()).unwrap();
        let mut held = Vec::new();
        while usage(std::process::id()).unwrap().cpu_seconds < before.cpu_seconds + 0.02 {
            held.resize(held.len() + (1 << 20), 1_u8);
        }
        let after = usage(std::process::id()).unwrap();
        assert!(after.anonymous_bytes > before.anonymous_bytes, "{before:?} {after:?}");
        assert!(held.iter().all(|byte| *byte == 1));
    }
}
