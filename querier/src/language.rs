//! Queries and selectors among the parameters: parsed, bounded, refused in the known words.

use crate::call::Call;
use crate::error::Error;
use crate::params::Params;
use crate::querier::Querier;
use crate::run::{self, Desk};
use guard::QueryLimits;
use model::{Kind, Matcher};
use promql::{Expr, Features, ParseOptions};

const EMPTY_MATCHERS: &str = "match[] must contain at least one non-empty matcher";

/// A query as it was sent, and how it is to be read.
#[derive(Clone, Debug)]
pub(crate) struct QueryText {
    pub(crate) text: String,
    options: ParseOptions,
}

/// The parameter `query`, if it is not too long. Parsing it is work for another thread.
///
/// # Errors
/// [`Kind::Invalid`] if it is longer than the limit.
pub(crate) fn query_text(
    params: &Params,
    limits: &QueryLimits,
    features: Features,
) -> Result<QueryText, Error> {
    let text = params.get("query");
    let (len, max) = (text.len(), limits.max_text_bytes);
    if u64::try_from(len).is_ok_and(|len| max.is_exceeded_by(len)) {
        let max = max.0;
        let reason = format!("the query has {len} bytes, limit `query.max_text_bytes` is {max}");
        return Err(Error::param("query", reason));
    }
    let depth_max = usize::try_from(limits.max_depth.get()).unwrap_or(usize::MAX);
    let options = ParseOptions { depth_max, ..features.parse_options() };
    Ok(QueryText { text: text.to_owned(), options })
}

/// Parses a query.
///
/// # Errors
/// The text that says what is wrong with it and where.
pub(crate) fn parse(query: &QueryText) -> Result<Expr, String> {
    promql::parse(&query.text, query.options).map_err(|error| error.to_string())
}

/// The selectors of every `match[]`. Refusals begin with the parameter's name if `named` gives it.
/// A regex costs far more to compile than its length says, so this is work for another thread.
///
/// # Errors
/// [`Kind::Invalid`] if one is no selector, or matches the empty string with every matcher, or if
/// they are longer than a query may be.
pub(crate) async fn matcher_sets(
    querier: &Querier,
    call: &Call,
    named: Option<&'static str>,
) -> Result<Vec<Vec<Matcher>>, Error> {
    selectors_of(querier, call, "match[]", named).await
}

/// As [`matcher_sets`], of another parameter.
pub(crate) async fn selectors_of(
    querier: &Querier,
    call: &Call,
    key: &'static str,
    named: Option<&'static str>,
) -> Result<Vec<Vec<Matcher>>, Error> {
    let refuse = move |reason: String| match named {
        Some(key) => Error::param(key, reason),
        None => Error::new(Kind::Invalid, reason),
    };
    let texts: Vec<String> = call.params.all(key).map(str::to_owned).collect();
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    let limits = querier.limits_of(&call.context.tenant);
    let (len, max) = (texts.iter().map(String::len).sum::<usize>(), limits.max_text_bytes);
    if u64::try_from(len).is_ok_and(|len| max.is_exceeded_by(len)) {
        let max = max.0;
        let reason = format!("selectors of {len} bytes, limit `query.max_text_bytes` is {max}");
        return Err(refuse(reason));
    }
    let work = move |desk: &Desk| {
        let mut sets = Vec::with_capacity(texts.len());
        for text in &texts {
            desk.check()?;
            sets.push(selector(text).map_err(refuse)?);
        }
        Ok(sets)
    };
    let (sets, _) = run::run(querier, &call.context, run::timeout(limits, None), work).await?;
    Ok(sets)
}

fn selector(text: &str) -> Result<Vec<Matcher>, String> {
    let matchers = promql::parse_selector(text).map_err(|error| error.to_string())?;
    for matcher in &matchers {
        if !matcher.compile().map_err(|error| error.to_string())?.matches("") {
            return Ok(matchers);
        }
    }
    Err(EMPTY_MATCHERS.to_owned())
}

/// The matchers of every selector in a query.
pub(crate) fn selectors(expr: &Expr) -> Vec<Vec<Matcher>> {
    let mut found = Vec::new();
    let mut left = vec![expr];
    while let Some(expr) = left.pop() {
        match expr {
            Expr::Vector(node) => found.push(node.matchers.clone()),
            Expr::Matrix(node) => found.push(node.vector.matchers.clone()),
            Expr::Number(_) | Expr::String(_) => {}
            Expr::Subquery(node) => left.push(&node.expr),
            Expr::Call(node) => left.extend(&node.args),
            Expr::Aggregation(node) => {
                left.push(&node.expr);
                left.extend(node.param.as_deref());
            }
            Expr::Binary(node) => {
                left.push(&node.first);
                left.extend(node.links.iter().map(|link| &link.rhs));
            }
            Expr::Unary(node) => left.push(&node.expr),
            Expr::Paren(node) => left.push(&node.expr),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_the_language_that_are_off_are_refused() {
        let parsed = |features: &str| {
            let params = Params::parse(None, Some("query=limitk(1, a)")).unwrap();
            let features = Features::parse(features).unwrap();
            parse(&query_text(&params, &QueryLimits::default(), features).unwrap())
        };
        assert!(parsed("").is_err());
        assert!(parsed("promql-experimental-functions").is_ok());
    }

    #[test]
    fn a_query_nested_deeper_than_its_tenant_may_is_refused() {
        let limits = QueryLimits { max_depth: guard::Limit(3), ..QueryLimits::default() };
        let parsed = |text: &str| {
            let params = Params::parse(None, Some(&format!("query={text}"))).unwrap();
            parse(&query_text(&params, &limits, Features::default()).unwrap())
        };
        assert!(parsed("(((a)))").is_ok(), "at it");
        for past in ["((((a))))", "(((((a)))))"] {
            let refused = parsed(past).unwrap_err();
            let told = "query is nested deeper than 3 levels (query.max_depth)";
            assert!(refused.ends_with(told), "{refused}");
        }
    }
}
