//! Recursive descent over the tokens: the grammar of the language and its syntax errors.
//!
//! Parsing stops at the first error. Which one is first, where it stands and what it expects
//! follow upstream's grammar: an error inside of an aggregation says so, brackets and braces name
//! what they wanted, everything else is just unexpected.
//!
//! # Invariants
//! - [`Parser::nest`] guards every recursion, so the stack is bounded. The functions on the way
//!   from one level to the next are kept apart by `inline(never)`: merged into one frame, their
//!   temporaries would add up.
//! - [`Parser::height`] is the height of the tree parsed last; none grows beyond
//!   [`crate::DEPTH_MAX`].
//!
//! Not here: types (`check.rs`).

mod duration;
mod expr;
#[cfg(test)]
mod hostile_tests;
pub(crate) mod metric;
mod modifier;
mod operand;
pub(crate) mod selector;
#[cfg(test)]
mod tests;

use crate::ast::Expr;
use crate::check;
use crate::error::{Fault, ParseError};
use crate::lexer::Lexer;
use crate::quote::unquote;
use crate::span::Span;
use crate::token::{Token, TokenKind};
use crate::{DEPTH_MAX, LENGTH_MAX};
use model::{METRIC_NAME, Matcher, Text};
use selector::Regexes;

/// Which parts of the language are switched on. The default is Prometheus' own: no experiments,
/// arithmetic in durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseOptions {
    /// Functions and aggregations that are marked experimental; off by default.
    pub experimental_functions: bool,
    /// `anchored` and `smoothed`; off by default.
    pub extended_range_selectors: bool,
    /// `fill`, `fill_left`, `fill_right`; off by default.
    pub binop_fill_modifiers: bool,
    /// Arithmetic, `step()` and `range()` in durations; on by default.
    pub duration_expressions: bool,
    /// How many levels brackets, calls and signs may nest; more than [`DEPTH_MAX`] is that many.
    pub depth_max: usize,
}

impl Default for ParseOptions {
    fn default() -> Self {
        Self { duration_expressions: true, ..Self::NONE }
    }
}

impl ParseOptions {
    /// Everything on.
    pub const ALL: Self = Self {
        experimental_functions: true,
        extended_range_selectors: true,
        binop_fill_modifiers: true,
        duration_expressions: true,
        depth_max: DEPTH_MAX,
    };
    /// Everything off.
    pub const NONE: Self = Self {
        experimental_functions: false,
        extended_range_selectors: false,
        binop_fill_modifiers: false,
        duration_expressions: false,
        depth_max: DEPTH_MAX,
    };
}

/// Parses and checks a query.
///
/// # Errors
/// [`ParseError`]: the first thing that is wrong, in upstream's words; or a text longer than
/// [`LENGTH_MAX`] bytes or nested deeper than the options allow.
pub fn parse(text: &str, options: ParseOptions) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(text, options)?;
    if parser.peek()?.kind == TokenKind::Eof {
        return Err(ParseError::new(text, Span::default(), "no expression found in input"));
    }
    let mut expr = parser.expr()?;
    parser.expect_end()?;
    check::check(&mut expr, text, &parser.regexes)?;
    Ok(expr)
}

/// Parses a series selector, as the `match[]` parameters of the HTTP API hold it. It may be one
/// that matches everything (`{}`): whoever does not want that has to look.
///
/// # Errors
/// As [`parse`].
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    let mut parser = Parser::new(text, ParseOptions::default())?;
    let selector = parser.vector_selector()?;
    parser.expect_end()?;
    Ok(selector.matchers)
}

pub(crate) struct Parser<'t> {
    text: &'t str,
    lexer: Lexer<'t>,
    /// The next token, if it has been looked at.
    ahead: Option<Token>,
    /// Where the last token taken ends.
    last_end: u32,
    options: ParseOptions,
    depth: usize,
    height: usize,
    aggregations_open: usize,
    regexes: Regexes,
    /// [`METRIC_NAME`], shared by all selectors.
    metric_name: Text,
}

type Parsed<T> = Result<T, Fault>;

impl<'t> Parser<'t> {
    fn new(text: &'t str, options: ParseOptions) -> Parsed<Self> {
        if text.len() > LENGTH_MAX {
            let message = format!("query is longer than {LENGTH_MAX} bytes");
            return Err(Box::new(ParseError::new(text, Span::default(), message)));
        }
        Ok(Self {
            text,
            lexer: Lexer::new(text),
            ahead: None,
            last_end: 0,
            options,
            depth: 0,
            height: 0,
            aggregations_open: 0,
            regexes: Regexes::default(),
            metric_name: METRIC_NAME.into(),
        })
    }

    fn peek(&mut self) -> Parsed<Token> {
        if let Some(token) = self.ahead {
            return Ok(token);
        }
        let token = self.lexer.next_token()?;
        self.ahead = Some(token);
        Ok(token)
    }

    fn next(&mut self) -> Parsed<Token> {
        let token = self.peek()?;
        self.ahead = None;
        self.last_end = token.end;
        Ok(token)
    }

    /// Takes the next token if it is a `kind`.
    fn accept(&mut self, kind: TokenKind) -> Parsed<Option<Token>> {
        let token = self.peek()?;
        if token.kind != kind {
            return Ok(None);
        }
        self.next().map(Some)
    }

    /// Takes the next token, which has to be a `kind`.
    fn expect(&mut self, kind: TokenKind) -> Parsed<Token> {
        match self.accept(kind)? {
            Some(token) => Ok(token),
            None => self.unexpected(),
        }
    }

    fn expect_end(&mut self) -> Parsed<()> {
        self.expect(TokenKind::Eof).map(|_| ())
    }

    fn token_text(&self, token: Token) -> &'t str {
        let span = Span::new(token.start, token.end);
        text_at(self.text, span)
    }

    /// The bytes a string token stands for.
    fn string_bytes(&self, token: Token) -> Vec<u8> {
        unquote(self.token_text(token))
    }

    fn fault<T>(&self, span: Span, message: impl Into<String>) -> Parsed<T> {
        Err(Box::new(ParseError::new(self.text, span, message)))
    }

    /// The next token is not what can stand here.
    fn unexpected<T>(&mut self) -> Parsed<T> {
        let context = if self.aggregations_open > 0 { " in aggregation" } else { "" };
        self.unexpected_in(context)
    }

    /// As [`Parser::unexpected`], with ` in …, expected …` behind it.
    fn unexpected_in<T>(&mut self, context: &str) -> Parsed<T> {
        let token = self.peek()?;
        let what = token.kind.describe(self.token_text(token));
        self.fault(Span::new(token.start, token.end), format!("unexpected {what}{context}"))
    }

    /// Runs `inner` one level deeper.
    fn nest<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= self.depth_max() {
            return self.too_deep();
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    /// Notes that the tree parsed last now lies below one more node.
    fn grow(&mut self, height_below: usize) -> Parsed<()> {
        self.height = height_below + 1;
        if self.height > self.depth_max() { self.too_deep() } else { Ok(()) }
    }

    fn depth_max(&self) -> usize {
        self.options.depth_max.min(DEPTH_MAX)
    }

    fn too_deep<T>(&mut self) -> Parsed<T> {
        let token = self.peek()?;
        let levels = self.depth_max();
        let message = format!("query is nested deeper than {levels} levels (query.max_depth)");
        self.fault(Span::new(token.start, token.end), message)
    }
}

/// The part of `text` at `span`.
pub(crate) fn text_at(text: &str, span: Span) -> &str {
    let start = usize::try_from(span.start).unwrap_or(usize::MAX);
    let end = usize::try_from(span.end).unwrap_or(usize::MAX);
    text.get(start..end).unwrap_or("")
}

impl Token {
    fn span(self) -> Span {
        Span::new(self.start, self.end)
    }
}
