//! Why a request may not go ahead.

use crate::identity::TENANTS_MAX;
use model::tenant::BadTenantId;
use model::{Kind, TenantId, Text};

/// Why a request may not go ahead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message names its fields")]
pub enum Error {
    /// Several tenants, and the request does not say which one it means.
    #[error("no org id")]
    NoOrgId,
    /// The tenant does not exist or is not the caller's: one text for both.
    #[error("access to this tenant is denied")]
    Denied,
    /// `a|b` where one tenant is meant.
    #[error("multiple org IDs present")]
    MultipleOrgIds,
    /// More tenants than are read at once.
    #[error("{0} org IDs present, at most {TENANTS_MAX} are read at once")]
    TooManyOrgIds(usize),
    /// The header stands there more than once: nobody can say which one was meant.
    #[error("header X-Scope-OrgID occurs more than once")]
    RepeatedHeader,
    /// Not the name of a tenant.
    #[error("bad X-Scope-OrgID: {0}")]
    BadTenantId(#[from] BadTenantId),
    /// Not even text.
    #[error("bad X-Scope-OrgID: not ASCII text")]
    NotText,
    /// A request is larger than the tenant may send.
    #[error("tenant {tenant} is over its limit of {limit} {counted} in one request ({key})")]
    RequestTooLarge { tenant: TenantId, counted: &'static str, limit: u64, key: &'static str },
    /// The tenant sends too much in too short a time.
    #[error(
        "tenant {tenant} is over its limit of {limit} samples per second with a burst of {burst} (ingestion_rate, ingestion_burst)"
    )]
    RateLimited { tenant: TenantId, limit: u64, burst: u64, retry_after_ms: u64 },
    /// Too many tenants begin in too short a time.
    #[error(
        "tenant {tenant} is new here, and no more than {limit} begin per second (write.new_tenants_per_second)"
    )]
    NewTenants { tenant: TenantId, limit: u64, retry_after_ms: u64 },
    /// There are as many tenants as there may be.
    #[error("tenant {tenant} is new here, and there are {limit} already (write.max_tenants)")]
    TooManyTenants { tenant: TenantId, limit: u64 },
    /// The tenant has as many open series as it may.
    #[error(
        "tenant {tenant} is over its limit of {limit} open series (max_series), new series of metric {metric} are refused"
    )]
    SeriesLimit { tenant: TenantId, metric: Text, limit: u64 },
    /// A metric has as many open series as it may.
    #[error(
        "tenant {tenant} is over its limit of {limit} open series of metric {metric} (max_series_per_metric)"
    )]
    MetricSeriesLimit { tenant: TenantId, metric: Text, limit: u64 },
}

impl Error {
    /// What the error asks of its caller.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::NoOrgId => Kind::Unauthenticated,
            Self::Denied => Kind::Denied,
            Self::MultipleOrgIds
            | Self::TooManyOrgIds(_)
            | Self::RepeatedHeader
            | Self::BadTenantId(_)
            | Self::NotText
            | Self::SeriesLimit { .. }
            | Self::MetricSeriesLimit { .. } => Kind::Invalid,
            // Senders let go of what meets a 429; these have done nothing wrong.
            Self::TooManyTenants { .. } | Self::NewTenants { .. } => Kind::Unavailable,
            Self::RequestTooLarge { .. } => Kind::TooLarge,
            Self::RateLimited { .. } => Kind::Limited,
        }
    }

    /// After how many milliseconds a retry could go through, where that is known.
    #[must_use]
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after_ms, .. } | Self::NewTenants { retry_after_ms, .. } => {
                Some(*retry_after_ms)
            }
            _ => None,
        }
    }
}
