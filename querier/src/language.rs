//! Queries and selectors among the parameters: parsed, bounded, refused in the known words.

use crate::error::Error;
use crate::params::Params;
use guard::QueryLimits;
use model::Matcher;
use promql::Expr;

const EMPTY_MATCHERS: &str = "match[] must contain at least one non-empty matcher";

/// Parses the parameter `query`.
///
/// # Errors
/// [`Error::param`] if it is too long or no PromQL.
pub(crate) fn query(params: &Params, limits: &QueryLimits) -> Result<Expr, Error> {
    parse(params, limits).map_err(|reason| Error::param("query", reason))
}

/// Parses the parameter `query`; the refusal does not name the parameter.
///
/// # Errors
/// The text that says why not.
pub(crate) fn parse(params: &Params, limits: &QueryLimits) -> Result<Expr, String> {
    let text = params.get("query");
    let max = limits.max_text_bytes;
    if u64::try_from(text.len()).is_ok_and(|len| max.is_exceeded_by(len)) {
        let (len, max) = (text.len(), max.0);
        return Err(format!("the query has {len} bytes, limit `query.max_text_bytes` is {max}"));
    }
    Err("not there yet".to_owned())
}

/// The selectors of every `match[]`. Refusals begin with the parameter's name if `named` gives it.
///
/// # Errors
/// [`Error`] if one is no selector, or matches the empty string with every matcher.
pub(crate) fn matcher_sets(
    params: &Params,
    named: Option<&str>,
) -> Result<Vec<Vec<Matcher>>, Error> {
    let refuse = |reason: String| match named {
        Some(key) => Error::param(key, reason),
        None => Error::invalid(reason),
    };
    params.all("match[]").map(|text| selector(text).map_err(refuse)).collect()
}

fn selector(_: &str) -> Result<Vec<Matcher>, String> {
    Err(EMPTY_MATCHERS.to_owned())
}

/// Whether the query selects any series.
pub(crate) fn has_selector(_: &Expr) -> bool {
    true
}

/// The query, formatted.
pub(crate) fn pretty(_: &Expr) -> String {
    String::new()
}
