//! What an operator can set about taking writes in.

use guard::LimitTable;

/// Settings of the distributor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long replicas have to answer a write, in milliseconds. Default 10,000. Senders give up
    /// after 30 s, so an answer has to come well before.
    pub write_timeout_ms: u64,
    /// How long a sender has to send its body, in milliseconds. Default 20,000.
    pub body_timeout_ms: u64,
    /// Bytes of bodies, as sent and decoded, of all requests that are under way. Default 512 MiB.
    /// At the limit new requests get 503.
    pub inflight_bytes_max: u64,
    /// Tenants that may begin per second, after ten seconds' worth of them at once; 0 is no limit.
    /// Default 100. More get 429.
    pub new_tenants_per_second: u64,
    /// Tenants of which something is in memory. Default 100,000. One more gets 503.
    pub tenants_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            write_timeout_ms: 10_000,
            body_timeout_ms: 20_000,
            inflight_bytes_max: 512 << 20,
            new_tenants_per_second: 100,
            tenants_max: 100_000,
        }
    }
}

/// A setting that cannot be, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct Fault {
    /// The key.
    pub key: &'static str,
    /// What is wrong with its value.
    pub reason: String,
}

/// Senders wait this long for an answer.
const SENDER_TIMEOUT_MS: u64 = 30_000;
/// Below this not even one small request fits.
const INFLIGHT_BYTES_MIN: u64 = 1 << 20;

impl Config {
    /// Every setting that cannot be; empty when all is well.
    #[must_use]
    pub fn validate(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut check = |key, bad: bool, reason: &str| {
            if bad {
                faults.push(Fault { key, reason: reason.to_owned() });
            }
        };
        let timeout = |ms: u64| !(1..SENDER_TIMEOUT_MS).contains(&ms);
        let between = "has to lie between 1 ms and 30 s, which is when senders give up";
        check("write_timeout", timeout(self.write_timeout_ms), between);
        check("body_timeout", timeout(self.body_timeout_ms), between);
        let small = self.inflight_bytes_max < INFLIGHT_BYTES_MIN;
        check("inflight_bytes_max", small, "has to be at least 1 MiB");
        faults
    }
}

/// A decoded body is held so many times: the message, its columns and the mutation made of them.
const HELD_TIMES: u64 = 3;

/// Those whose limits allow bodies for which there would never be memory, when one request may have
/// `bytes_max`; a sentence for each.
pub(crate) fn never_fit(limits: &LimitTable, bytes_max: u64) -> Vec<String> {
    let of_tenants = limits.overrides().map(|(tenant, own)| (tenant.as_str(), own));
    std::iter::once(("default", limits.default_limits()))
        .chain(of_tenants)
        .filter(|(_, own)| own.max_decoded_bytes.get().saturating_mul(HELD_TIMES) > bytes_max)
        .map(|(whose, own)| {
            format!(
                "max_decoded_bytes of {whose} is {}, but a write of more than {} may never find memory \
                 (write.memory): it is refused with 413",
                own.max_decoded_bytes.0,
                bytes_max / HELD_TIMES
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use guard::{Limit, Limits};
    use model::TenantId;

    #[test]
    fn limits_that_allow_what_never_fits_are_told_at_the_border() {
        let of = |bytes| Limits { max_decoded_bytes: Limit(bytes), ..Limits::default() };
        let table = LimitTable::new(of(100))
            .with(TenantId::parse("large").unwrap(), of(101))
            .with(TenantId::parse("endless").unwrap(), of(0));
        let mut told = never_fit(&table, 300);
        told.sort();
        let [endless, large] = &told[..] else { panic!("{told:?}") };
        assert!(endless.contains("of endless is 0") && large.contains("of large is 101"));
        assert_eq!(never_fit(&table, 299).len(), 3);
    }

    #[test]
    fn the_defaults_have_no_fault() {
        assert_eq!(Config::default().validate(), vec![]);
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let config = Config {
            write_timeout_ms: 0,
            body_timeout_ms: 30_000,
            inflight_bytes_max: 1,
            ..Config::default()
        };
        let keys: Vec<_> = config.validate().into_iter().map(|fault| fault.key).collect();
        assert_eq!(keys, ["write_timeout", "body_timeout", "inflight_bytes_max"]);
    }
}
