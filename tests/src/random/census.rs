//! What queries are made of, counted.

use promql::ast::{
    AggregateOp, At, BinaryOp, Cardinality, Edges, Expr, Link, Sign, VectorSelector,
};
use promql::duration::Duration;
use promql::signature::SIGNATURES;
use std::collections::BTreeMap;

/// How often each part of the language came up.
#[derive(Clone, Debug, Default)]
pub struct Census {
    counts: BTreeMap<String, u32>,
}

const AGGREGATIONS: [AggregateOp; 14] = [
    AggregateOp::Avg,
    AggregateOp::Bottomk,
    AggregateOp::Count,
    AggregateOp::CountValues,
    AggregateOp::Group,
    AggregateOp::Limitk,
    AggregateOp::LimitRatio,
    AggregateOp::Max,
    AggregateOp::Min,
    AggregateOp::Quantile,
    AggregateOp::Stddev,
    AggregateOp::Stdvar,
    AggregateOp::Sum,
    AggregateOp::Topk,
];

const OPERATORS: [BinaryOp; 18] = [
    BinaryOp::Or,
    BinaryOp::And,
    BinaryOp::Unless,
    BinaryOp::Equal,
    BinaryOp::NotEqual,
    BinaryOp::Less,
    BinaryOp::LessEqual,
    BinaryOp::Greater,
    BinaryOp::GreaterEqual,
    BinaryOp::TrimUpper,
    BinaryOp::TrimLower,
    BinaryOp::Add,
    BinaryOp::Sub,
    BinaryOp::Mul,
    BinaryOp::Div,
    BinaryOp::Mod,
    BinaryOp::Atan2,
    BinaryOp::Pow,
];

const MODIFIERS: &[&str] = &[
    "by",
    "without",
    "bool",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "fill_left",
    "fill_right",
    "offset",
    "offset (…)",
    "@ time",
    "@ start()",
    "@ end()",
    "anchored",
    "smoothed",
    "[range]",
    "[(range)]",
    "[range:]",
    "[range:step]",
    "unary -",
    "unary +",
];

impl Census {
    /// Every part of the language, none of which came up.
    #[must_use]
    pub fn new() -> Self {
        let functions = SIGNATURES.iter().map(|signature| format!("{}()", signature.name));
        let aggregations = AGGREGATIONS.iter().map(|op| op.as_str().to_string());
        let operators = OPERATORS.iter().map(|op| op.as_str().to_string());
        let modifiers = MODIFIERS.iter().map(ToString::to_string);
        let all = functions.chain(aggregations).chain(operators).chain(modifiers);
        Self { counts: all.map(|name| (name, 0)).collect() }
    }

    fn add(&mut self, name: impl Into<String>) {
        *self.counts.entry(name.into()).or_default() += 1;
    }

    /// The counts by name.
    #[must_use]
    pub fn counts(&self) -> &BTreeMap<String, u32> {
        &self.counts
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Self) {
        for (name, count) in &other.counts {
            *self.counts.entry(name.clone()).or_default() += count;
        }
    }

    /// Counts the parts of a query.
    pub fn count(&mut self, expr: &Expr) {
        match expr {
            Expr::Number(_) | Expr::String(_) => {}
            Expr::Vector(node) => self.selector(node),
            Expr::Matrix(node) => {
                let is_fixed = matches!(node.range, Duration::Fixed(_));
                self.add(if is_fixed { "[range]" } else { "[(range)]" });
                self.selector(&node.vector);
            }
            Expr::Subquery(node) => {
                self.add(if node.step.is_some() { "[range:step]" } else { "[range:]" });
                self.modifiers(node.at, &node.offset);
                self.count(&node.expr);
            }
            Expr::Call(node) => {
                self.add(format!("{}()", node.function.name));
                node.args.iter().for_each(|arg| self.count(arg));
            }
            Expr::Aggregation(node) => {
                self.add(node.op.as_str());
                if node.without {
                    self.add("without");
                } else if !node.grouping.is_empty() {
                    self.add("by");
                }
                self.count(&node.expr);
                node.param.iter().for_each(|param| self.count(param));
            }
            Expr::Binary(node) => {
                self.count(&node.first);
                node.links.iter().for_each(|link| self.link(link));
            }
            Expr::Unary(node) => {
                self.add(if node.sign == Sign::Plus { "unary +" } else { "unary -" });
                self.count(&node.expr);
            }
            Expr::Paren(node) => self.count(&node.expr),
        }
    }

    fn selector(&mut self, node: &VectorSelector) {
        match node.edges {
            Edges::Plain => {}
            Edges::Anchored => self.add("anchored"),
            Edges::Smoothed => self.add("smoothed"),
        }
        self.modifiers(node.at, &node.offset);
    }

    fn modifiers(&mut self, at: Option<At>, offset: &Duration) {
        match at {
            None => {}
            Some(At::Time(_)) => self.add("@ time"),
            Some(At::Start) => self.add("@ start()"),
            Some(At::End) => self.add("@ end()"),
        }
        match offset {
            Duration::Fixed(0) => {}
            Duration::Fixed(_) => self.add("offset"),
            Duration::Expr(_) => self.add("offset (…)"),
        }
    }

    fn link(&mut self, link: &Link) {
        self.add(link.op.as_str());
        if link.return_bool {
            self.add("bool");
        }
        if let Some(matching) = &link.matching {
            if matching.on {
                self.add("on");
            } else if !matching.labels.is_empty() {
                self.add("ignoring");
            }
            match matching.cardinality {
                Cardinality::ManyToOne => self.add("group_left"),
                Cardinality::OneToMany => self.add("group_right"),
                _ => {}
            }
            if matching.fill_left.is_some() {
                self.add("fill_left");
            }
            if matching.fill_right.is_some() {
                self.add("fill_right");
            }
        }
        self.count(&link.rhs);
    }
}
