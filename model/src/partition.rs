//! Partitions: the unit of placement. A metric's data of one day lives together.

use crate::label::Text;
use crate::series::{SeriesId, hash_part};
use crate::tenant::TenantId;
use crate::time::DayBucket;
use xxhash_rust::xxh3::Xxh3;

/// A place on the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Which partition a sample belongs to.
///
/// `depth` is 0 for nearly every metric; a metric that is too big for one partition grows it, and
/// `shard` is then the top `depth` bits of the series' fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey {
    /// Whose.
    pub tenant: TenantId,
    /// The metric's name.
    pub metric: Text,
    /// The UTC day.
    pub day: DayBucket,
    /// How many bits of the fingerprint cut the metric, 0 to 16.
    pub depth: u8,
    /// Those bits; 0 while `depth` is 0.
    pub shard: u16,
}

impl PartitionKey {
    /// The partition of a metric's day at depth 0.
    #[must_use]
    pub fn whole(tenant: TenantId, metric: impl Into<Text>, day: DayBucket) -> Self {
        Self { tenant, metric: metric.into(), day, depth: 0, shard: 0 }
    }

    /// Where it lies on the ring: xxh3-64 over the parts, each with its length in front.
    #[must_use]
    pub fn token(&self) -> Token {
        token_of(&self.tenant, &self.metric, self.day, self.depth, self.shard)
    }
}

/// The token of a partition, without making its key.
#[must_use]
pub fn token_of(tenant: &TenantId, metric: &str, day: DayBucket, depth: u8, shard: u16) -> Token {
    let mut hasher = Xxh3::new();
    hash_part(&mut hasher, tenant.as_str().as_bytes());
    hash_part(&mut hasher, metric.as_bytes());
    hash_part(&mut hasher, &day.0.to_le_bytes());
    hash_part(&mut hasher, &[depth]);
    hash_part(&mut hasher, &shard.to_le_bytes());
    Token(hasher.digest())
}

/// The shard of a series at `depth`: the top bits of its fingerprint.
#[must_use]
pub fn shard_of(series: SeriesId, depth: u8) -> u16 {
    let top = (series.0 >> 48).to_le_bytes();
    let top = u16::from_le_bytes([top[0], top[1]]);
    top.checked_shr(16 - u32::from(depth.min(16))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_the_key_moves_the_token() {
        let tenant = TenantId::parse("a").unwrap();
        let key = PartitionKey::whole(tenant, "up", DayBucket(1));
        let others = [
            PartitionKey { tenant: TenantId::parse("b").unwrap(), ..key.clone() },
            PartitionKey { metric: "down".into(), ..key.clone() },
            PartitionKey { day: DayBucket(2), ..key.clone() },
            PartitionKey { depth: 1, ..key.clone() },
            PartitionKey { shard: 1, ..key.clone() },
        ];
        for other in others {
            assert_ne!(other.token(), key.token(), "{other:?}");
        }
    }

    #[test]
    fn a_shard_is_the_top_bits_of_the_fingerprint() {
        let series = SeriesId(0xabcd_0000_0000_0001);
        assert_eq!(shard_of(series, 0), 0);
        assert_eq!(shard_of(series, 4), 0xa);
        assert_eq!(shard_of(series, 16), 0xabcd);
    }
}
