//! What an evaluation has used, for those who are not it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Memory that several evaluations share.
pub trait Memory: Send + Sync + fmt::Debug {
    /// Takes so many bytes. False, and nothing is taken, if they are not there.
    fn reserve(&self, bytes: u64) -> bool;
    /// Gives bytes back that were taken.
    fn release(&self, bytes: u64);
}

/// Measures one evaluation, on all its threads.
#[derive(Debug, Default)]
pub struct Meter {
    memory: Option<Arc<dyn Memory>>,
    samples_peak: AtomicU64,
}

impl Meter {
    /// A meter of an evaluation that takes the memory of its columns from there.
    #[must_use]
    pub fn new(memory: Option<Arc<dyn Memory>>) -> Self {
        Self { memory, samples_peak: AtomicU64::new(0) }
    }

    /// The most samples that were in memory at once, counted as Prometheus counts them. What is
    /// worked through in parts counts part by part.
    #[must_use]
    pub fn samples_peak(&self) -> u64 {
        self.samples_peak.load(Ordering::Relaxed)
    }

    pub(crate) fn see_samples(&self, samples: u64) {
        self.samples_peak.fetch_max(samples, Ordering::Relaxed);
    }

    pub(crate) fn reserve(&self, bytes: u64) -> bool {
        self.memory.as_ref().is_none_or(|memory| memory.reserve(bytes))
    }

    pub(crate) fn release(&self, bytes: u64) {
        if let Some(memory) = self.memory.as_ref().filter(|_| bytes > 0) {
            memory.release(bytes);
        }
    }
}
