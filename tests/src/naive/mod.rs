//! A second implementation of PromQL, to hold the engine against: step by step, no windows that
//! slide, no sharing, nothing fast. It shares the parser's tree and `model` with the engine, and
//! not one helper.
//!
//! A node of the tree evaluates to a whole matrix over the steps it is asked for, because that is
//! how Prometheus defines what is an error: two series of one name at *any* step, not at each. What
//! happens at a step is written for that step alone.
//!
//! # Invariants
//! - Values, annotations and errors are those of Prometheus 3.14.0; what it leaves open (the order
//!   of series that are equal in what they are ordered by) is the order of labels here.
//!
//! Not here: comparing with an engine (`random/judge.rs`), queries and data (`random`).

mod aggregate;
mod binary;
mod buckets;
mod call;
mod data;
mod dates;
mod eval;
mod histogram;
mod histogram_rate;
mod info;
mod instant;
mod labels;
mod notes;
mod numbers;
mod over_time;
mod quote;
mod rank;
mod rate;
mod select;
mod smooth;
mod subject;
mod value;

pub use data::Data;
pub use histogram::Hist;
pub use subject::NaiveSubject;

use promql::{EvalParams, Evaluation, Expr, ValueType};
use value::Failure;

/// Evaluates a query over the series of `data`.
///
/// # Errors
/// Upstream's text.
pub fn evaluate(
    data: &Data,
    text: &str,
    expr: &Expr,
    params: &EvalParams,
) -> Result<Evaluation, String> {
    let name = match expr.value_type() {
        ValueType::Matrix => "range vector",
        ValueType::String => "string",
        ValueType::Scalar | ValueType::Vector => "",
    };
    if !name.is_empty() && params.step_ms != 0 {
        return Err(format!(
            "invalid expression type \"{name}\" for range query, must be Scalar or instant Vector"
        ));
    }
    let naive = eval::Naive::new(data, text, params);
    naive.answer(expr).map_err(|Failure(text)| text)
}
