//! Arithmetic as Prometheus does it: compensated sums, quantiles, minima that know NaN.

pub(crate) mod convert;
pub(crate) mod format;
pub(crate) mod kahan;
pub(crate) mod minmax;
pub(crate) mod quantile;
