//! The parts that come from outside of the deciders: the clock and chance.

use cluster::ownership::BootMs;
use ingester::cassandra::member::{BootClock, Chance};
use model::{Clock, TimestampMs};
use std::io;
use std::time::{Duration, Instant, SystemTime};

/// The machine's clocks.
#[derive(Debug)]
pub(crate) struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Begins to count.
    #[expect(clippy::disallowed_methods, reason = "this is where time comes from")]
    #[must_use]
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is where time comes from")]
    fn now(&self) -> TimestampMs {
        // A clock set before 1970 is zero, and one that left i64 stands still.
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        TimestampMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic_ns(&self) -> u64 {
        let elapsed: Duration = self.start.elapsed();
        u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
    }

    fn thread_ns(&self) -> u64 {
        let worked = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let [seconds, ns] =
            [worked.tv_sec, worked.tv_nsec].map(|of| u64::try_from(of).unwrap_or(0));
        seconds.saturating_mul(1_000_000_000).saturating_add(ns)
    }
}

/// The machine's clock that goes on while the machine, or the process, sleeps.
#[derive(Debug)]
pub(crate) struct SleeplessClock;

impl BootClock for SleeplessClock {
    fn now(&self) -> BootMs {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
        BootMs(seconds.saturating_mul(1_000).saturating_add(nanoseconds / 1_000_000))
    }
}

/// Chance of the operating system.
#[derive(Debug)]
pub(crate) struct SystemChance;

impl Chance for SystemChance {
    #[expect(clippy::panic, reason = "two processes of one name lose samples; it drew before")]
    fn draw(&self) -> u128 {
        match random_bytes() {
            Ok(bytes) => u128::from_ne_bytes(bytes),
            Err(error) => panic!("no random bits from the operating system: {error}"),
        }
    }
}

/// 64 random bits of the operating system.
///
/// # Errors
/// If the operating system has none.
pub(crate) fn random_u64() -> io::Result<u64> {
    random_bytes().map(u64::from_ne_bytes)
}

/// Random bytes of the operating system.
///
/// # Errors
/// If the operating system has none.
pub(crate) fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        let rest = bytes.get_mut(filled..).unwrap_or_default();
        filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(bytes)
}
