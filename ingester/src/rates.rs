//! How many samples of each tenant come: counted in windows, told of the last whole one.
//!
//! Not here: limits (`guard`).

use model::TenantId;
use model::read::ACTIVITY_WINDOW_MS;
use parking_lot::Mutex;
use std::collections::HashMap;

/// Above this many tenants those are forgotten that have been silent.
const TENANTS_MIN: usize = 1_024;

/// The counts of all tenants.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    // Guards the counts. A leaf.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    tenants: HashMap<TenantId, Counts>,
    sweep_at: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// The number of the window that is being counted.
    window: u64,
    current: u64,
    /// The count of the window before.
    last: u64,
}

impl Counts {
    fn advance(&mut self, window: u64) {
        if window > self.window {
            self.last = if window == self.window + 1 { self.current } else { 0 };
            (self.window, self.current) = (window, 0);
        }
    }
}

impl Rates {
    /// Samples that have been kept.
    pub(crate) fn add(&self, tenant: &TenantId, samples: u64, now_ns: u64) {
        let window = window(now_ns);
        let mut known = self.known.lock();
        if let Some(counts) = known.tenants.get_mut(tenant) {
            counts.advance(window);
            counts.current += samples;
            return;
        }
        if known.tenants.len() >= known.sweep_at.max(TENANTS_MIN) {
            known.tenants.retain(|_, counts| counts.window + 1 >= window);
            known.sweep_at = 2 * known.tenants.len();
        }
        known.tenants.insert(tenant.clone(), Counts { window, current: samples, last: 0 });
    }

    /// How many came in the last whole window.
    pub(crate) fn samples(&self, tenant: &TenantId, now_ns: u64) -> u64 {
        let mut counts = self.known.lock().tenants.get(tenant).copied().unwrap_or_default();
        counts.advance(window(now_ns));
        counts.last
    }
}

fn window(now_ns: u64) -> u64 {
    now_ns / (ACTIVITY_WINDOW_MS * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW_NS: u64 = ACTIVITY_WINDOW_MS * 1_000_000;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    #[test]
    fn the_last_whole_window_is_told_and_no_other_tenants() {
        let rates = Rates::default();
        rates.add(&tenant("a"), 3, 0);
        rates.add(&tenant("a"), 4, WINDOW_NS - 1);
        rates.add(&tenant("b"), 100, 0);
        assert_eq!(rates.samples(&tenant("a"), WINDOW_NS - 1), 0, "it is not whole yet");
        assert_eq!(rates.samples(&tenant("a"), WINDOW_NS), 7);
        rates.add(&tenant("a"), 1, 2 * WINDOW_NS - 1);
        assert_eq!(rates.samples(&tenant("a"), 2 * WINDOW_NS), 1);
        assert_eq!(rates.samples(&tenant("a"), 3 * WINDOW_NS), 0, "silence is no rate");
        assert_eq!(rates.samples(&tenant("c"), 3 * WINDOW_NS), 0);
    }

    #[test]
    fn tenants_that_have_been_silent_are_forgotten() {
        let rates = Rates::default();
        for number in 0..TENANTS_MIN {
            rates.add(&tenant(&number.to_string()), 1, 0);
        }
        rates.add(&tenant("new"), 1, 5 * WINDOW_NS);
        assert_eq!(rates.known.lock().tenants.len(), 1);
    }
}
