//! Series selectors: a name, matchers in braces, or both.

use super::{Parsed, Parser};
use crate::ast::BinaryOp;
use crate::ast::{Edges, RawMatcher, VectorSelector};
use crate::duration::Duration;
use crate::span::Span;
use crate::token::{Token, TokenKind};
use model::regex::AnchoredRegex;
use model::{METRIC_NAME, MatchOp, Matcher, Text};
use std::collections::HashMap;

/// How many different regexes one query may hold, lists of literals not counted: each has to be
/// compiled, and the worst take milliseconds.
const REGEXES_MAX: usize = 250;

/// A regex that matches no value at all.
const NEVER: &str = "[^\\x00-\\x{10FFFF}]";
/// A regex that matches every value.
const ALWAYS: &str = ".*";

impl Parser<'_> {
    /// A selector, of which nothing has been read.
    #[inline(never)]
    pub(super) fn vector_selector(&mut self) -> Parsed<VectorSelector> {
        let token = self.peek()?;
        if token.kind == TokenKind::LeftBrace {
            let mut selector = empty(token.span());
            self.braces(&mut selector)?;
            return Ok(selector);
        }
        if !token.kind.is_metric_name() {
            return self.unexpected();
        }
        self.next()?;
        self.named_selector(token)
    }

    /// A selector whose name has been read.
    #[inline(never)]
    pub(super) fn named_selector(&mut self, name: Token) -> Parsed<VectorSelector> {
        let mut selector = empty(name.span());
        if self.peek()?.kind == TokenKind::LeftBrace {
            self.braces(&mut selector)?;
        }
        let text: Text = self.token_text(name).into();
        selector.matchers.push(Matcher::equal(self.metric_name.clone(), text.clone()));
        selector.name = Some(text);
        Ok(selector)
    }

    fn braces(&mut self, selector: &mut VectorSelector) -> Parsed<()> {
        self.next()?;
        loop {
            if let Some(close) = self.accept(TokenKind::RightBrace)? {
                selector.span.end = close.end;
                return Ok(());
            }
            self.label_matcher(selector)?;
            match self.peek()?.kind {
                TokenKind::Comma => drop(self.next()?),
                TokenKind::RightBrace => {}
                _ => return self.unexpected_in(" in label matching, expected \",\" or \"}\""),
            }
        }
    }

    fn label_matcher(&mut self, selector: &mut VectorSelector) -> Parsed<()> {
        let name = self.peek()?;
        let name_bytes = match name.kind {
            TokenKind::Identifier => self.token_text(name).as_bytes().to_vec(),
            TokenKind::String => self.string_bytes(name),
            _ => return self.unexpected_in(" in label matching, expected identifier or \"}\""),
        };
        self.next()?;
        let op = match self.peek()?.kind {
            TokenKind::Equal => MatchOp::Equal,
            TokenKind::Op(BinaryOp::NotEqual) => MatchOp::NotEqual,
            TokenKind::EqualRegex => MatchOp::Regex,
            TokenKind::NotEqualRegex => MatchOp::NotRegex,
            _ if name.kind == TokenKind::String => {
                let metric = METRIC_NAME.as_bytes().to_vec();
                return self.push_matcher(
                    selector,
                    metric,
                    MatchOp::Equal,
                    name_bytes,
                    name.span(),
                );
            }
            _ => return self.unexpected_in(" in label matching, expected label matching operator"),
        };
        self.next()?;
        let Some(value) = self.accept(TokenKind::String)? else {
            return self.unexpected_in(" in label matching, expected string");
        };
        let value_bytes = self.string_bytes(value);
        let span = name.span().to(value.span());
        self.push_matcher(selector, name_bytes, op, value_bytes, span)
    }

    fn push_matcher(
        &mut self,
        selector: &mut VectorSelector,
        name: Vec<u8>,
        op: MatchOp,
        value: Vec<u8>,
        span: Span,
    ) -> Parsed<()> {
        let matcher = match (std::str::from_utf8(&name), std::str::from_utf8(&value)) {
            (Ok(name), Ok(value)) => Matcher::new(name, op, value),
            (name_text, value_text) => {
                // No series has a label whose name or value is not UTF-8; nor one without a name.
                let name_text = name_text.unwrap_or("");
                let matcher = match (op, value_text) {
                    (_, Ok(value)) => Matcher::new(name_text, op, value),
                    (MatchOp::Equal, _) => Matcher::new(name_text, MatchOp::Regex, NEVER),
                    (MatchOp::NotEqual, _) => Matcher::new(name_text, MatchOp::Regex, ALWAYS),
                    _ => {
                        let shown = String::from_utf8_lossy(&value);
                        let message = format!("error parsing regexp: invalid UTF-8: `{shown}`");
                        return self.fault(span, message);
                    }
                };
                let index = selector.matchers.len();
                selector.raw_matchers.push(RawMatcher { index, op, name, value });
                matcher
            }
        };
        self.check_regex(&matcher, span)?;
        selector.matchers.push(matcher);
        Ok(())
    }

    fn check_regex(&mut self, matcher: &Matcher, span: Span) -> Parsed<()> {
        match self.regexes.add(matcher) {
            Ok(()) => Ok(()),
            Err(message) => self.fault(span, message),
        }
    }
}

/// The regexes of a query. Each text is compiled once, to see whether it can be, and not kept.
#[derive(Debug, Default)]
pub(crate) struct Regexes {
    /// Whether a regex matches the empty value.
    match_empty: HashMap<Text, bool>,
    /// How many are more than a list of literals.
    compiled: usize,
}

impl Regexes {
    fn add(&mut self, matcher: &Matcher) -> Result<(), String> {
        let is_regex = matches!(matcher.op, MatchOp::Regex | MatchOp::NotRegex);
        if !is_regex || self.match_empty.contains_key(&matcher.value) {
            return Ok(());
        }
        let regex = AnchoredRegex::new(&matcher.value).map_err(|error| error.to_string())?;
        self.compiled += usize::from(regex.literals().is_none());
        if self.compiled > REGEXES_MAX {
            return Err(format!("query has more than {REGEXES_MAX} regular expressions"));
        }
        self.match_empty.insert(matcher.value.clone(), regex.is_match(""));
        Ok(())
    }

    /// Whether a series without the label matches. The matcher is one of the query's.
    pub(crate) fn matches_empty(&self, matcher: &Matcher) -> bool {
        let regex = || self.match_empty.get(&matcher.value).copied().unwrap_or(true);
        match matcher.op {
            MatchOp::Equal => matcher.value.is_empty(),
            MatchOp::NotEqual => !matcher.value.is_empty(),
            MatchOp::Regex => regex(),
            MatchOp::NotRegex => !regex(),
        }
    }
}

fn empty(span: Span) -> VectorSelector {
    VectorSelector {
        name: None,
        matchers: Vec::new(),
        raw_matchers: Vec::new(),
        offset: Duration::ZERO,
        at: None,
        edges: Edges::Plain,
        span,
    }
}
