//! How many samples per second a tenant may write: one token bucket each. The time comes in.
//!
//! A bucket holds at most its burst and fills at its rate. A request goes ahead when the bucket
//! holds what it asks for, or is full: so a request larger than the burst is slowed down, never
//! refused for ever. What it asks for beyond is owed.
//!
//! # Invariants
//! - A refused request takes nothing.
//! - A full bucket is as good as none, so those of tenants that went away are dropped.

use crate::error::Error;
use crate::limits::Limits;
use model::TenantId;
use parking_lot::Mutex;
use std::collections::HashMap;

/// The token bucket of one tenant.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    tokens: f64,
    filled_at_ns: u64,
}

impl TokenBucket {
    /// A full bucket.
    #[must_use]
    pub fn full(burst: f64, now_ns: u64) -> Self {
        Self { tokens: burst, filled_at_ns: now_ns }
    }

    /// Takes `count` tokens, or says in how many nanoseconds they would be there.
    ///
    /// # Errors
    /// The nanoseconds to wait.
    pub fn take(&mut self, count: f64, rate: f64, burst: f64, now_ns: u64) -> Result<(), u64> {
        self.fill(rate, burst, now_ns);
        let wanted = count.min(burst);
        if self.tokens < wanted {
            return Err(whole_ns((wanted - self.tokens) / rate));
        }
        self.tokens -= count;
        Ok(())
    }

    fn fill(&mut self, rate: f64, burst: f64, now_ns: u64) {
        let passed_ns = now_ns.saturating_sub(self.filled_at_ns);
        self.tokens = (self.tokens + as_f64(passed_ns) * 1e-9 * rate).min(burst);
        self.filled_at_ns = self.filled_at_ns.max(now_ns);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate is not exact to 2^-53")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float cast saturates, and what was waited for is positive"
)]
fn whole_ns(seconds: f64) -> u64 {
    (seconds * 1e9).ceil() as u64
}

/// How many tenants may begin: so many per second, after ten seconds' worth of them at once.
#[derive(Debug)]
pub struct Beginnings {
    per_second: u64,
    // Held for one look; no lock is taken under it.
    bucket: Mutex<TokenBucket>,
}

/// A full bucket has so many seconds' worth.
const BEGINNINGS_SECONDS: u64 = 10;

impl Beginnings {
    /// A full bucket; 0 is no limit.
    #[must_use]
    pub fn new(per_second: u64) -> Self {
        let burst = as_f64(per_second.saturating_mul(BEGINNINGS_SECONDS));
        Self { per_second, bucket: Mutex::new(TokenBucket::full(burst, 0)) }
    }

    /// Whether one more may begin. It takes its place when it does: who sends nothing that is kept
    /// takes nobody's.
    ///
    /// # Errors
    /// [`Error::NewTenants`].
    pub fn admit(&self, tenant: &TenantId, now_ns: u64) -> Result<(), Error> {
        let limit = self.per_second;
        if limit == 0 {
            return Ok(());
        }
        let burst = as_f64(limit.saturating_mul(BEGINNINGS_SECONDS));
        let mut bucket = self.bucket.lock();
        bucket.fill(as_f64(limit), burst, now_ns);
        let mut looked_at = *bucket;
        drop(bucket);
        let taken = looked_at.take(1.0, as_f64(limit), burst, now_ns);
        taken.map_err(|wait_ns| Error::NewTenants {
            tenant: tenant.clone(),
            limit,
            retry_after_ms: wait_ns.div_ceil(1_000_000),
        })
    }

    /// One more has begun. Of those that were let in at the same time some may be too many: they are
    /// owed.
    pub fn begun(&self) {
        self.bucket.lock().tokens -= 1.0;
    }
}

/// The buckets of all tenants.
#[derive(Debug, Default)]
pub struct RateLimiter {
    // Guards the buckets; held for one look-up, no lock is taken under it.
    buckets: Mutex<Buckets>,
}

#[derive(Debug, Default)]
struct Buckets {
    by_tenant: HashMap<TenantId, TokenBucket>,
    /// How many buckets there may be before the full ones are dropped.
    sweep_at: usize,
}

const SWEEP_MIN: usize = 1024;

impl RateLimiter {
    /// Charges the tenant for `samples` samples; 0 asks whether one sample would go through.
    ///
    /// # Errors
    /// [`Error::RateLimited`], and then nothing was charged.
    pub fn charge(
        &self,
        tenant: &TenantId,
        limits: &Limits,
        samples: u64,
        now_ns: u64,
    ) -> Result<(), Error> {
        if limits.ingestion_rate.0 == 0 {
            return Ok(());
        }
        let (rate, burst) = (as_f64(limits.ingestion_rate.0), as_f64(limits.burst()));
        let mut buckets = self.buckets.lock();
        let bucket = match buckets.by_tenant.get_mut(tenant) {
            Some(bucket) => bucket,
            None => {
                buckets.sweep(now_ns);
                let full = TokenBucket::full(burst, now_ns);
                buckets.by_tenant.entry(tenant.clone()).or_insert(full)
            }
        };
        let taken = match samples {
            0 => bucket.clone().take(1.0, rate, burst, now_ns),
            _ => bucket.take(as_f64(samples), rate, burst, now_ns),
        };
        taken.map_err(|wait_ns| Error::RateLimited {
            tenant: tenant.clone(),
            limit: limits.ingestion_rate.0,
            burst: limits.burst(),
            retry_after_ms: wait_ns.div_ceil(1_000_000),
        })
    }
}

/// A bucket that nobody touched for so long is dropped: it is full by then, or owes less than any
/// limit notices.
const IDLE_NS: u64 = 600 * 1_000_000_000;

impl Buckets {
    fn sweep(&mut self, now_ns: u64) {
        if self.by_tenant.len() < self.sweep_at.max(SWEEP_MIN) {
            return;
        }
        self.by_tenant.retain(|_, bucket| now_ns.saturating_sub(bucket.filled_at_ns) < IDLE_NS);
        self.sweep_at = self.by_tenant.len() * 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limit;
    use model::Kind;

    const SECOND_NS: u64 = 1_000_000_000;

    fn id(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    fn limits(rate: u64, burst: u64) -> Limits {
        Limits { ingestion_rate: Limit(rate), ingestion_burst: burst, ..Limits::default() }
    }

    #[test]
    fn a_burst_goes_through_and_then_the_rate_holds() {
        let limiter = RateLimiter::default();
        let limits = limits(10, 20);
        let charge = |samples, now| limiter.charge(&id("a"), &limits, samples, now);

        assert_eq!(charge(20, 0), Ok(()));
        assert_eq!(charge(1, 0).unwrap_err().retry_after_ms(), Some(100));
        assert_eq!(charge(10, SECOND_NS), Ok(()));
        assert_eq!(charge(10, SECOND_NS).unwrap_err().kind(), Kind::Limited);
    }

    #[test]
    fn a_refused_request_takes_nothing() {
        let limiter = RateLimiter::default();
        let limits = limits(10, 20);
        limiter.charge(&id("a"), &limits, 15, 0).unwrap();
        limiter.charge(&id("a"), &limits, 6, 0).unwrap_err();
        assert_eq!(limiter.charge(&id("a"), &limits, 5, 0), Ok(()));
    }

    #[test]
    fn a_request_larger_than_the_burst_is_slowed_down_and_not_refused_for_ever() {
        let limiter = RateLimiter::default();
        let limits = limits(10, 20);
        assert_eq!(limiter.charge(&id("a"), &limits, 50, 0), Ok(()));
        // It owes 30; with the burst on top the next one waits 5 seconds.
        let error = limiter.charge(&id("a"), &limits, 50, 0).unwrap_err();
        assert_eq!(error.retry_after_ms(), Some(5000));
        assert_eq!(limiter.charge(&id("a"), &limits, 50, 5 * SECOND_NS), Ok(()));
    }

    #[test]
    fn asking_charges_nothing() {
        let limiter = RateLimiter::default();
        let limits = limits(1, 1);
        for _ in 0..3 {
            assert_eq!(limiter.charge(&id("a"), &limits, 0, 0), Ok(()));
        }
        limiter.charge(&id("a"), &limits, 1, 0).unwrap();
        assert!(limiter.charge(&id("a"), &limits, 0, 0).is_err());
    }

    #[test]
    fn one_tenant_does_not_spend_what_is_anothers() {
        let limiter = RateLimiter::default();
        let limits = limits(1, 1);
        limiter.charge(&id("a"), &limits, 1, 0).unwrap();
        assert_eq!(limiter.charge(&id("b"), &limits, 1, 0), Ok(()));
    }

    #[test]
    fn the_error_names_limit_key_and_tenant() {
        let limiter = RateLimiter::default();
        let limits = limits(1, 1);
        limiter.charge(&id("a"), &limits, 1, 0).unwrap();
        let text = limiter.charge(&id("a"), &limits, 1, 0).unwrap_err().to_string();
        assert_eq!(
            text,
            "tenant a is over its limit of 1 samples per second with a burst of 1 (ingestion_rate, ingestion_burst)"
        );
    }

    #[test]
    fn buckets_of_tenants_that_went_away_are_dropped() {
        let limiter = RateLimiter::default();
        for number in 0..5000_u64 {
            let now = number * SECOND_NS;
            limiter.charge(&id(&format!("t{number}")), &limits(1, 1), 1, now).unwrap();
        }
        let held = limiter.buckets.lock().by_tenant.len();
        assert!(held <= 2 * SWEEP_MIN, "{held}");
    }

    #[test]
    fn without_a_rate_nothing_is_kept() {
        let limiter = RateLimiter::default();
        limiter.charge(&id("a"), &limits(0, 0), u64::MAX, 0).unwrap();
        assert!(limiter.buckets.lock().by_tenant.is_empty());
    }

    #[test]
    fn ten_seconds_worth_of_tenants_begin_at_once_and_then_so_many_a_second() {
        let beginnings = Beginnings::new(2);
        let admitted = |now_ns: u64| {
            let admit = |_: &u64| {
                let is_in = (0..9).all(|_| beginnings.admit(&id("a"), now_ns).is_ok());
                is_in.then(|| beginnings.begun()).is_some()
            };
            (0..100_u64).filter(admit).count()
        };
        assert_eq!(admitted(0), 20);
        let refused = beginnings.admit(&id("b"), 0).unwrap_err();
        assert_eq!((refused.kind(), refused.retry_after_ms()), (Kind::Unavailable, Some(500)));
        assert_eq!(admitted(SECOND_NS), 2);
        assert_eq!(admitted(100 * SECOND_NS), 20);
        let none = Beginnings::new(0);
        assert!((0..100).all(|_| none.admit(&id("a"), 0).is_ok()));
    }
}
