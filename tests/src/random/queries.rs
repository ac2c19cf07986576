//! Queries made at random: a walk over the grammar, by types. Nearly all of them parse.

use super::data::UNTIL_MS;
use crate::random_series::Numbers;
use promql::signature::{Arity, SIGNATURES, Signature};
use promql::{EvalParams, ValueType};

/// A query and when it is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The text.
    pub text: String,
    /// When, and with which options.
    pub params: EvalParams,
}

/// Makes queries.
#[derive(Debug)]
pub struct Queries {
    numbers: Numbers,
    /// Whether what is made now is evaluated at several steps.
    is_many: bool,
}

const METRICS: &[&str] = &["a", "b", "c_total", "x"];
const MATCHERS: &[&str] = &[
    "job=\"j1\"",
    "instance!~\"i[12]\"",
    "job=~\"j0|j2\"",
    "zone=\"\"",
    "zone!=\"\"",
    "instance!=\"i0\"",
    "nope=~\".*\"",
];
const RANGES: &[&str] = &["40s", "1m", "2m", "2m", "5m", "5m", "7m", "15m"];
const RANGE_EXPRS: &[&str] = &[
    "(step() + 2m)",
    "(range() + 90s)",
    "max_of(step(), 3m)",
    "min_of(range() + 1m, 4m)",
    "(2m * 2 - 30s)",
    "(10m % 4m + 3m / 2)",
    "(2 ^ 8)",
];
const NUMBERS: &[&str] = &[
    "0", "1", "2", "3", "-1", "0.5", "0.25", "100", "-7.5", "Inf", "-Inf", "NaN", "1e308", "5m",
    "0x1f", "1_000",
];
const QUANTILES: &[&str] = &["0", "0.3", "0.5", "0.9", "0.99", "1", "-0.5", "1.5", "NaN"];
const LABELS: &[&str] = &["job", "instance", "zone", "le", "__name__", "new", "version"];
const TEXTS: &[&str] = &["$1", "${1}x", "j1", "", "$0-$1", "$$", "($2)", "$1x", "i1"];
const REGEXES: &[&str] = &["(.*)", "j(.)", "i[01](.*)", "(.)(.)", "", "nothing", "(?P<n>.)1"];

/// Comparisons, arithmetic, trims.
const OPERATORS: &[&str] = &[
    "+", "-", "*", "/", "%", "^", "atan2", "==", "!=", "<", "<=", ">", ">=", "== bool", "!= bool",
    "< bool", "<= bool", "> bool", ">= bool", "</", ">/",
];
const SET_OPERATORS: &[&str] = &["and", "or", "unless"];
const AGGREGATIONS: &[&str] = &[
    "sum",
    "avg",
    "min",
    "max",
    "count",
    "group",
    "stddev",
    "stdvar",
    "topk",
    "bottomk",
    "quantile",
    "count_values",
    "limitk",
    "limit_ratio",
];
const GROUPINGS: &[&str] = &[
    "",
    "",
    "by (job)",
    "by (instance, job)",
    "by (zone)",
    "by ()",
    "by (__name__)",
    "by (job, nope)",
    "without (job)",
    "without (instance, zone)",
    "without ()",
];

impl Queries {
    /// Starts from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { numbers: Numbers::new(seed.wrapping_add(1_000_003)), is_many: false }
    }

    fn below(&mut self, bound: u32) -> u32 {
        self.numbers.below(bound)
    }

    fn one_in(&mut self, many: u32) -> bool {
        self.below(many) == 0
    }

    fn of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        let len = u32::try_from(list.len()).unwrap_or(1);
        list[self.below(len) as usize]
    }

    /// The next query.
    pub fn question(&mut self) -> Question {
        let depth = 1 + self.below(3);
        let is_range = self.one_in(2);
        self.is_many = is_range;
        let text = match self.below(40) {
            0 => self.scalar(depth),
            1 => self.range_vector(depth, false),
            2 => "\"a text\"".into(),
            _ => self.vector(depth),
        };
        let is_range_vector = text.ends_with(']') || text.contains("] ");
        let start_ms = i64::from(self.below(4_200)) * 1000 - 300_000;
        let mut params = EvalParams::instant(start_ms);
        if is_range && !is_range_vector && !text.starts_with('"') {
            let step_ms = i64::from([7_000, 60_000, 137_000, 600_000][self.below(4) as usize]);
            let more_ms = i64::from(self.below(9)) * step_ms + i64::from(self.below(2)) * 1_500;
            params = EvalParams::range(start_ms, start_ms + more_ms, step_ms);
        }
        params.delayed_name_removal = self.one_in(2);
        params.lookback_ms = if self.one_in(3) { 60_000 } else { 300_000 };
        params.subquery_step_ms = if self.one_in(2) { 60_000 } else { 45_000 };
        Question { text, params }
    }

    fn modifiers(&mut self) -> String {
        let at = match self.below(12) {
            0 => format!(" @ {}", self.below(u32::try_from(UNTIL_MS / 1000).unwrap_or(0))),
            1 => " @ start()".into(),
            2 => " @ end()".into(),
            3 => " @ 1800.25".into(),
            _ => String::new(),
        };
        let offset = match self.below(10) {
            0 => " offset 45s",
            1 => " offset -1m",
            2 => " offset (1m + 30s)",
            3 => " offset (-step() - 10s)",
            _ => "",
        };
        if self.one_in(2) { format!("{at}{offset}") } else { format!("{offset}{at}") }
    }

    /// A selector without modifiers.
    fn selector(&mut self) -> String {
        let metric = self.of(METRICS);
        match self.below(8) {
            0 => format!("{metric}{{{}}}", self.of(MATCHERS)),
            1 => format!("{metric}{{{}, {}}}", self.of(MATCHERS), self.of(MATCHERS)),
            2 => format!("{{__name__=~\"{metric}|b\", {}}}", self.of(MATCHERS)),
            3 if self.one_in(3) => "nothing{job=\"j1\"}".into(),
            4 if self.one_in(3) => "h_bucket".into(),
            5 if self.one_in(3) => format!("{{\"{metric}\", job=\"j2\"}}"),
            _ => metric.into(),
        }
    }

    fn range(&mut self) -> &'static str {
        if self.one_in(8) { self.of(RANGE_EXPRS) } else { self.of(RANGES) }
    }

    /// A range vector; `is_extended`: whether it may be anchored or smoothed.
    fn range_vector(&mut self, depth: u32, is_extended: bool) -> String {
        let modifiers = self.modifiers();
        if depth > 1 && self.one_in(3) {
            let step = match self.below(6) {
                0 => "",
                1 => "45s",
                2 => "(step() + 50s)",
                3 => "1m",
                _ => "30s",
            };
            let is_many = std::mem::replace(&mut self.is_many, true);
            let inner = self.vector(depth - 1);
            self.is_many = is_many;
            return format!("({inner})[{}:{step}]{modifiers}", self.range());
        }
        let edges = match self.below(4) {
            0 if is_extended || self.one_in(9) => " anchored",
            1 if is_extended || self.one_in(9) => " smoothed",
            _ => "",
        };
        format!("{}[{}]{edges}{modifiers}", self.selector(), self.range())
    }

    fn scalar(&mut self, depth: u32) -> String {
        if depth == 0 || self.one_in(2) {
            return self.of(NUMBERS).into();
        }
        match self.below(12) {
            0 => "time()".into(),
            1 => format!("scalar({})", self.vector(depth - 1)),
            2 => format!("scalar(sum({}))", self.vector(depth - 1)),
            3 => "pi()".into(),
            4 => format!("{}()", self.of(&["start", "end", "step", "range"])),
            5 | 6 => {
                let function = self.of(&["min_of", "max_of"]);
                format!("{function}({}, {})", self.scalar(depth - 1), self.scalar(depth - 1))
            }
            7 => format!("-({})", self.scalar(depth - 1)),
            _ => {
                let op = match self.of(OPERATORS) {
                    comparison @ ("==" | "!=" | "<" | "<=" | ">" | ">=") => {
                        format!("{comparison} bool")
                    }
                    "</" | ">/" if !self.one_in(5) => "+".into(),
                    op => op.into(),
                };
                format!("({} {op} {})", self.scalar(depth - 1), self.scalar(depth - 1))
            }
        }
    }

    /// An instant vector, at most `depth` operations deep.
    fn vector(&mut self, depth: u32) -> String {
        if depth == 0 {
            return self.instant_selector();
        }
        match self.below(24) {
            0 | 1 => self.instant_selector(),
            2..=9 => self.call(depth),
            10..=14 => self.aggregation(depth),
            15 => format!("{}({})", self.of(&["-", "+"]), self.vector(depth - 1)),
            16 => {
                let (op, scalar) = (self.of(OPERATORS), self.scalar(depth - 1));
                format!("({}) {op} {scalar}", self.vector(depth - 1))
            }
            17 => {
                let (op, scalar) = (self.of(OPERATORS), self.scalar(depth - 1));
                format!("{scalar} {op} ({})", self.vector(depth - 1))
            }
            18 | 19 => {
                let (op, matching) = (self.of(SET_OPERATORS), self.set_matching());
                let left = self.vector(depth - 1);
                format!("({left}) {op} {matching} ({})", self.vector(depth - 1))
            }
            20 => format!("({})", self.vector(depth - 1)),
            _ => self.matched(depth),
        }
    }

    fn instant_selector(&mut self) -> String {
        let smoothed = if self.one_in(10) { " smoothed" } else { "" };
        format!("{}{smoothed}{}", self.selector(), self.modifiers())
    }

    fn set_matching(&mut self) -> &'static str {
        self.of(&["", "on (job)", "ignoring (instance)", "on ()", "ignoring (zone, job)"])
    }

    fn matched(&mut self, depth: u32) -> String {
        let op = self.of(OPERATORS);
        let fill = match self.below(12) {
            0 => format!("fill ({})", self.of(NUMBERS)),
            1 => format!("fill_left ({})", self.of(NUMBERS)),
            2 => format!("fill_right ({})", self.of(NUMBERS)),
            3 => format!("fill_left (1) fill_right ({})", self.of(NUMBERS)),
            _ => String::new(),
        };
        let (left, right) = match self.below(4) {
            // Something that is likely to match, and what may fail to.
            0 => (self.vector(depth - 1), self.vector(depth - 1)),
            1 => (self.vector(depth - 1), format!("sum by (job) ({})", self.vector(depth - 1))),
            2 => (format!("max by (job) ({})", self.vector(depth - 1)), self.vector(depth - 1)),
            _ => (self.of(METRICS).into(), self.of(METRICS).into()),
        };
        let is_left_one = left.starts_with("max by (job)");
        let is_right_one = right.starts_with("sum by (job)");
        let group = match (is_left_one, is_right_one) {
            (_, true) => {
                self.of(&["on (job) group_left ()", "on (job) group_left (zone)", "on (job)"])
            }
            (true, _) => self.of(&[
                "on (job) group_right ()",
                "on (job) group_right (zone)",
                "ignoring (zone)",
            ]),
            _ => self.of(&[
                "",
                "on (job, instance)",
                "ignoring (zone)",
                "on (job, instance) group_left (zone)",
                "on (job, instance) group_right ()",
                "ignoring (zone) group_right (zone)",
                "on ()",
            ]),
        };
        format!("({left}) {op} {group} {fill} ({right})")
    }

    fn aggregation(&mut self, depth: u32) -> String {
        let (op, grouping) = (self.of(AGGREGATIONS), self.of(GROUPINGS));
        let param = match op {
            "topk" | "bottomk" | "limitk" => {
                if self.one_in(6) {
                    self.scalar(depth - 1) + ", "
                } else {
                    format!("{}, ", self.below(5))
                }
            }
            "quantile" if self.one_in(4) => self.scalar(depth - 1) + ", ",
            "quantile" => format!("{}, ", self.of(QUANTILES)),
            "limit_ratio" => {
                format!("{}, ", self.of(&["0.5", "-0.5", "0.2", "0", "1", "-1", "2", "-3"]))
            }
            "count_values" => format!("\"{}\", ", self.of(LABELS)),
            _ => String::new(),
        };
        let of = match op {
            "topk" | "bottomk" | "limitk" if self.is_many => self.in_order(depth),
            _ => self.vector(depth - 1),
        };
        match self.one_in(2) {
            true => format!("{op} {grouping} ({param}{of})"),
            false => format!("{op}({param}{of}) {grouping}"),
        }
    }

    /// A vector whose series have an order over several steps too: upstream leaves that of most open,
    /// and so who is first among equals.
    fn in_order(&mut self, depth: u32) -> String {
        match self.below(if depth > 1 { 6 } else { 2 }) {
            0 => self.instant_selector(),
            1 => {
                let function = self.of(&["rate", "max_over_time", "last_over_time", "delta"]);
                format!("{function}({}[{}])", self.selector(), self.range())
            }
            2 => format!("-({})", self.in_order(depth - 1)),
            3 => format!(
                "label_replace({}, \"new\", \"$1\", \"job\", \"(.*)\")",
                self.in_order(depth - 1)
            ),
            _ => {
                let op = self.of(&["sum", "max", "count", "group", "stddev"]);
                format!("{op} {} ({})", self.of(GROUPINGS), self.in_order(depth - 1))
            }
        }
    }

    fn call(&mut self, depth: u32) -> String {
        let len = u32::try_from(SIGNATURES.len()).unwrap_or(1);
        let signature = &SIGNATURES[self.below(len) as usize];
        match signature.name {
            name if signature.returns == ValueType::Scalar => match signature.args {
                [] => format!("vector({name}())"),
                [ValueType::Vector] => format!("vector({name}({}))", self.vector(depth - 1)),
                _ => format!(
                    "vector({name}({}, {}))",
                    self.scalar(depth - 1),
                    self.scalar(depth - 1)
                ),
            },
            "label_replace" => format!(
                "label_replace({}, \"{}\", \"{}\", \"{}\", \"{}\")",
                self.vector(depth - 1),
                self.of(LABELS),
                self.of(TEXTS),
                self.of(LABELS),
                self.of(REGEXES)
            ),
            "info" => {
                let selector = self.of(&[
                    "",
                    "",
                    ", {version=~\".+\"}",
                    ", {__name__=\"build_info\"}",
                    ", {__name__=~\".*_info\", revision!=\"v1\"}",
                    ", {__name__!=\"target_info\"}",
                    ", {nope=\"x\"}",
                ]);
                format!("info({}{selector})", self.vector(depth - 1))
            }
            "histogram_quantile" | "histogram_fraction" | "histogram_quantiles" => {
                self.of_buckets(signature.name, depth)
            }
            _ => self.plain_call(signature, depth),
        }
    }

    fn of_buckets(&mut self, name: &str, depth: u32) -> String {
        let buckets = match self.below(4) {
            0 => "h_bucket{job!=\"j2\"}".into(),
            1 => format!("rate(h_bucket[{}])", self.range()),
            2 => "sum by (le) (h_bucket{job=\"j0\"})".into(),
            _ => self.vector(depth - 1),
        };
        let (q, r) = (self.of(QUANTILES), self.of(QUANTILES));
        match name {
            "histogram_quantile" => format!("{name}({q}, {buckets})"),
            "histogram_fraction" => {
                format!("{name}({}, {}, {buckets})", self.of(NUMBERS), self.of(NUMBERS))
            }
            _ => format!("{name}({buckets}, \"{}\", {q}, {r})", self.of(&["q", "quantile"])),
        }
    }

    /// A call whose arguments are what their types say.
    fn plain_call(&mut self, signature: &Signature, depth: u32) -> String {
        let name = signature.name;
        let most = match signature.arity {
            Arity::Exact | Arity::LastOptional => signature.args.len(),
            Arity::UpTo(_) | Arity::AnyNumber => signature.args.len() + 1,
        };
        let least = signature.args_min();
        let more = self.below(u32::try_from(most - least + 1).unwrap_or(1)) as usize;
        let is_extended = matches!(name, "rate" | "increase" | "delta" | "changes" | "resets");
        let mut args = Vec::new();
        for index in 0..least + more {
            let of_type = signature.args.get(index).or(signature.args.last());
            args.push(match of_type {
                Some(ValueType::Matrix) => self.range_vector(depth, is_extended),
                Some(ValueType::Scalar) => self.argument(name, depth),
                Some(ValueType::String) => format!("\"{}\"", self.of(LABELS)),
                _ => self.vector(depth - 1),
            });
        }
        format!("{name}({})", args.join(", "))
    }

    fn argument(&mut self, name: &str, depth: u32) -> String {
        match name {
            "quantile_over_time" if !self.one_in(4) => self.of(QUANTILES).into(),
            "double_exponential_smoothing" if !self.one_in(10) => {
                self.of(&["0.1", "0.5", "0.9"]).into()
            }
            _ => self.scalar(depth - 1),
        }
    }
}
