//! Queries made at random over the metrics `a` and `b`: whatever the grammar allows, put together.

use crate::random_series::Numbers;

const SELECTORS: &[&str] = &[
    "a",
    "b",
    "a{job=\"j1\"}",
    "b{instance!~\"i[12]\"}",
    "{__name__=~\"a|b\", job=\"j0\"}",
    "a offset 45s",
    "a @ 900",
    "b @ end() offset 2m",
    "nothing",
];
const OF_WINDOWS: &[&str] = &[
    "rate",
    "increase",
    "delta",
    "idelta",
    "avg_over_time",
    "sum_over_time",
    "max_over_time",
    "count_over_time",
    "last_over_time",
    "changes",
    "resets",
    "deriv",
    "present_over_time",
    "absent_over_time",
    "stddev_over_time",
];
const OF_VECTORS: &[&str] =
    &["abs", "sgn", "ceil", "absent", "timestamp", "sqrt", "-", "hour", "clamp_max"];
const AGGREGATIONS: &[&str] =
    &["sum", "avg", "min", "max", "count", "group", "stdvar", "quantile", "count_values"];
const GROUPINGS: &[&str] =
    &["", "by (job)", "by (instance, job)", "without (job)", "by (__name__)", "by ()"];
const OPERATORS: &[&str] =
    &["+", "-", "*", "/", "%", "==", "!=", "<", ">=", "> bool", "and", "or", "unless", "atan2"];
const MATCHINGS: &[&str] = &[
    "",
    "on (job, instance)",
    "ignoring (instance)",
    "on (job) group_left",
    "on (instance) group_right (job)",
    "on ()",
];

fn one_of<'a>(numbers: &mut Numbers, list: &[&'a str]) -> &'a str {
    let len = u32::try_from(list.len()).unwrap_or(1);
    list.get(numbers.below(len) as usize).copied().unwrap_or_default()
}

/// An instant vector, at most `depth` operations deep. It may fail to parse or to be evaluated.
#[must_use]
pub fn vector(numbers: &mut Numbers, depth: u32) -> String {
    if depth == 0 {
        return one_of(numbers, SELECTORS).into();
    }
    match numbers.below(10) {
        0 => one_of(numbers, SELECTORS).into(),
        1 | 2 => {
            let range = one_of(numbers, &["40s", "2m", "7m"]);
            let selector = one_of(numbers, &["a", "b", "{job=\"j2\"}"]);
            format!("{}({selector}[{range}])", one_of(numbers, OF_WINDOWS))
        }
        3 => {
            let range = one_of(numbers, &["1m:20s", "3m:", "5m:45s"]);
            let function = one_of(numbers, OF_WINDOWS);
            format!("{function}(({})[{range}])", vector(numbers, depth - 1))
        }
        4 | 5 => {
            let (op, grouping) = (one_of(numbers, AGGREGATIONS), one_of(numbers, GROUPINGS));
            let param = match op {
                "quantile" => "0.3, ",
                "count_values" => "\"v\", ",
                _ => "",
            };
            format!("{op} {grouping} ({param}{})", vector(numbers, depth - 1))
        }
        6 => match one_of(numbers, OF_VECTORS) {
            "clamp_max" => format!("clamp_max({}, 99)", vector(numbers, depth - 1)),
            function => format!("{function}({})", vector(numbers, depth - 1)),
        },
        7 => {
            let of = vector(numbers, depth - 1);
            format!("label_replace({of}, \"instance\", \"i${{1}}\", \"job\", \"j([01])\")")
        }
        8 => format!("({}) {} 100", vector(numbers, depth - 1), one_of(numbers, OPERATORS)),
        _ => {
            let (op, matching) = (one_of(numbers, OPERATORS), one_of(numbers, MATCHINGS));
            let left = vector(numbers, depth - 1);
            format!("({left}) {op} {matching} ({})", vector(numbers, depth - 1))
        }
    }
}
