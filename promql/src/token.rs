//! The tokens of the language, and how error messages name them.

use crate::ast::{AggregateOp, BinaryOp};
use crate::quote::quoted;

/// A piece of the query text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    /// Its first byte.
    pub(crate) start: u32,
    /// One past its last byte.
    pub(crate) end: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Eof,
    Comma,
    Colon,
    /// `=`
    Equal,
    /// `=~`
    EqualRegex,
    /// `!~`
    NotEqualRegex,
    At,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    String,
    Number,
    Duration,
    Identifier,
    /// An identifier with a colon in it.
    MetricIdentifier,
    Op(BinaryOp),
    Aggregate(AggregateOp),
    Keyword(Keyword),
    Word(Word),
}

/// Words with a meaning of their own; inside braces, and where only a name can stand, names too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    Anchored,
    Bool,
    By,
    Fill,
    FillLeft,
    FillRight,
    GroupLeft,
    GroupRight,
    Ignoring,
    Offset,
    On,
    Smoothed,
    Without,
}

/// Names of functions that mean something in durations or behind `@` as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Start,
    End,
    Step,
    Range,
    MaxOf,
    MinOf,
}

/// What the word `text` is, in any case; `None` if it is a name.
pub(crate) fn keyword(text: &str) -> Option<TokenKind> {
    use AggregateOp as A;
    use TokenKind::{Aggregate, Op};
    const LONGEST: usize = "count_values".len();
    if text.len() > LONGEST {
        return None;
    }
    Some(match text.to_ascii_lowercase().as_str() {
        "and" => Op(BinaryOp::And),
        "or" => Op(BinaryOp::Or),
        "unless" => Op(BinaryOp::Unless),
        "atan2" => Op(BinaryOp::Atan2),
        "sum" => Aggregate(A::Sum),
        "avg" => Aggregate(A::Avg),
        "count" => Aggregate(A::Count),
        "min" => Aggregate(A::Min),
        "max" => Aggregate(A::Max),
        "group" => Aggregate(A::Group),
        "stddev" => Aggregate(A::Stddev),
        "stdvar" => Aggregate(A::Stdvar),
        "topk" => Aggregate(A::Topk),
        "bottomk" => Aggregate(A::Bottomk),
        "count_values" => Aggregate(A::CountValues),
        "quantile" => Aggregate(A::Quantile),
        "limitk" => Aggregate(A::Limitk),
        "limit_ratio" => Aggregate(A::LimitRatio),
        "inf" | "nan" => TokenKind::Number,
        lower => return duration_word(lower).or_else(|| modifier(lower)),
    })
}

fn modifier(lower: &str) -> Option<TokenKind> {
    Some(match lower {
        "offset" => TokenKind::Keyword(Keyword::Offset),
        "smoothed" => TokenKind::Keyword(Keyword::Smoothed),
        "anchored" => TokenKind::Keyword(Keyword::Anchored),
        "by" => TokenKind::Keyword(Keyword::By),
        "without" => TokenKind::Keyword(Keyword::Without),
        "on" => TokenKind::Keyword(Keyword::On),
        "ignoring" => TokenKind::Keyword(Keyword::Ignoring),
        "group_left" => TokenKind::Keyword(Keyword::GroupLeft),
        "group_right" => TokenKind::Keyword(Keyword::GroupRight),
        "fill" => TokenKind::Keyword(Keyword::Fill),
        "fill_left" => TokenKind::Keyword(Keyword::FillLeft),
        "fill_right" => TokenKind::Keyword(Keyword::FillRight),
        "bool" => TokenKind::Keyword(Keyword::Bool),
        "start" => TokenKind::Word(Word::Start),
        "end" => TokenKind::Word(Word::End),
        _ => return None,
    })
}

/// The words that may stand in brackets, in lower case.
pub(crate) fn duration_word(lower: &str) -> Option<TokenKind> {
    Some(TokenKind::Word(match lower {
        "step" => Word::Step,
        "range" => Word::Range,
        "max_of" => Word::MaxOf,
        "min_of" => Word::MinOf,
        _ => return None,
    }))
}

impl TokenKind {
    /// Whether it can be a metric's name.
    pub(crate) fn is_metric_name(self) -> bool {
        match self {
            Self::Identifier | Self::MetricIdentifier | Self::Aggregate(_) | Self::Word(_) => true,
            Self::Op(op) => op.is_set(),
            Self::Keyword(word) => matches!(
                word,
                Keyword::By
                    | Keyword::Without
                    | Keyword::Offset
                    | Keyword::Anchored
                    | Keyword::Smoothed
                    | Keyword::Fill
                    | Keyword::FillLeft
                    | Keyword::FillRight
            ),
            _ => false,
        }
    }

    /// Whether it can be a label's name in a grouping.
    pub(crate) fn is_label_name(self) -> bool {
        match self {
            Self::Keyword(word) => word != Keyword::Without,
            _ => self.is_metric_name() || self == Self::Op(BinaryOp::Atan2),
        }
    }

    /// Whether an expression can start with it.
    pub(crate) fn starts_expr(self) -> bool {
        self.is_metric_name()
            || matches!(
                self,
                Self::LeftParen
                    | Self::LeftBrace
                    | Self::String
                    | Self::Number
                    | Self::Duration
                    | Self::Op(BinaryOp::Add | BinaryOp::Sub)
            )
    }

    /// The token as an error message names it; `text` is the token as written.
    pub(crate) fn describe(self, text: &str) -> String {
        match self {
            Self::Eof => "end of input".to_owned(),
            Self::Identifier => format!("identifier {}", quoted(text)),
            Self::MetricIdentifier => format!("metric identifier {}", quoted(text)),
            Self::String => format!("string {}", quoted_start(text)),
            Self::Number => format!("number {}", quoted_start(text)),
            Self::Duration => format!("duration {}", quoted_start(text)),
            Self::Keyword(_) => format!("<{text}>"),
            Self::Aggregate(_) => format!("<aggr:{text}>"),
            Self::Op(_) | Self::At | Self::EqualRegex | Self::NotEqualRegex => {
                format!("<op:{text}>")
            }
            _ => quoted_start(text),
        }
    }
}

/// The first ten characters in quotes, with dots if there are more.
fn quoted_start(text: &str) -> String {
    const SHOWN: usize = 10;
    if text.len() <= SHOWN {
        return quoted(text);
    }
    let end = text.char_indices().nth(SHOWN).map_or(text.len(), |(at, _)| at);
    format!("{}...", quoted(text.get(..end).unwrap_or(text)))
}
