//! Cuts a query text into tokens, on demand.
//!
//! What a word means depends on where it stands, so the lexer keeps track of brackets: inside of
//! braces every word is a name; inside of `[]` only numbers, durations and `step range min_of
//! max_of` are known, and from the first number on a colon too; `fill` is a keyword only before
//! `(`. The rules, and the words of the errors, are upstream's.
//!
//! # Invariants
//! - Every byte is looked at a bounded number of times.
//! - After an error the lexer is not used again.

mod scan;

use crate::ast::BinaryOp;
use crate::error::{Fault, ParseError};
use crate::quote::quoted_char;
use crate::span::Span;
use crate::token::{Keyword, Token, TokenKind, duration_word, keyword};

#[derive(Debug)]
pub(crate) struct Lexer<'t> {
    text: &'t str,
    /// The next character to look at.
    at: usize,
    /// Where the current token starts, and where an error is reported.
    start: usize,
    parens_open: usize,
    in_braces: bool,
    in_brackets: bool,
    /// Inside of brackets, before the first number.
    in_duration: bool,
    seen_colon: bool,
    seen_duration: bool,
}

type Lexed = Result<TokenKind, Fault>;

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

fn is_alphanumeric(c: char) -> bool {
    is_alpha(c) || c.is_ascii_digit()
}

impl<'t> Lexer<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self {
            text,
            at: 0,
            start: 0,
            parens_open: 0,
            in_braces: false,
            in_brackets: false,
            in_duration: false,
            seen_colon: false,
            seen_duration: false,
        }
    }

    /// The next token; at the end of the text `Eof`, again and again.
    pub(crate) fn next_token(&mut self) -> Result<Token, Fault> {
        self.skip_blanks();
        self.start = self.at;
        let kind = if self.in_duration {
            self.duration_token()?
        } else if self.in_braces {
            self.brace_token()?
        } else {
            self.plain_token()?
        };
        Ok(Token { kind, start: offset(self.start), end: offset(self.at) })
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn accept(&mut self, accepted: impl Fn(u8) -> bool) -> bool {
        let found = self.text.as_bytes().get(self.at).is_some_and(|&byte| accepted(byte));
        if found {
            self.at += 1;
        }
        found
    }

    fn skip_while(&mut self, accepted: impl Fn(u8) -> bool) {
        while self.accept(&accepted) {}
    }

    fn skip_blanks(&mut self) {
        loop {
            self.skip_while(|byte| is_space(char::from(byte)));
            if self.in_duration || self.peek() != Some('#') {
                return;
            }
            self.skip_while(|byte| !matches!(byte, b'\n' | b'\r'));
        }
    }

    fn token_text(&self) -> &'t str {
        self.text.get(self.start..self.at).unwrap_or("")
    }

    fn fault<T>(&self, message: impl Into<String>) -> Result<T, Fault> {
        let span = Span::new(offset(self.start), offset(self.text.len()));
        Err(Box::new(ParseError::new(self.text, span, message)))
    }

    /// An error about what follows the token just read.
    fn fault_behind<T>(&mut self, message: impl Into<String>) -> Result<T, Fault> {
        self.start = self.at;
        self.fault(message)
    }

    fn plain_token(&mut self) -> Lexed {
        let Some(c) = self.next() else { return self.end() };
        match c {
            ',' => Ok(TokenKind::Comma),
            '@' => Ok(TokenKind::At),
            '*' | '/' | '%' | '+' | '-' | '^' => Ok(arithmetic(c)),
            '=' | '!' | '<' | '>' => self.comparison(c),
            '"' | '\'' => self.string(c),
            '`' => self.raw_string(),
            '(' => {
                self.parens_open += 1;
                Ok(TokenKind::LeftParen)
            }
            ')' => self.right_paren(),
            '{' => {
                self.in_braces = true;
                Ok(TokenKind::LeftBrace)
            }
            '[' => self.left_bracket(),
            ']' if self.in_brackets => {
                self.in_brackets = false;
                Ok(TokenKind::RightBracket)
            }
            ']' => self.fault("unexpected right bracket ']'"),
            '.' if !self.peek().is_some_and(|c| c.is_ascii_digit()) => {
                self.fault("unexpected character: '.'")
            }
            '.' | '0'..='9' => self.number(),
            _ if (is_alpha(c) || c == ':') && self.in_brackets => self.word_in_brackets(c),
            _ if is_alpha(c) || c == ':' => Ok(self.word()),
            _ => self.fault(format!("unexpected character: {}", quoted_char(c))),
        }
    }

    fn end(&self) -> Lexed {
        if self.parens_open > 0 {
            return self.fault("unclosed left parenthesis");
        }
        if self.in_brackets {
            return self.fault("unclosed left bracket");
        }
        Ok(TokenKind::Eof)
    }

    fn comparison(&mut self, c: char) -> Lexed {
        let next = self.peek();
        let (op, len) = match (c, next) {
            ('=', Some('=')) => (BinaryOp::Equal, 1),
            ('=', Some('~')) => return self.fault("unexpected character after '=': '~'"),
            ('=', _) => return Ok(TokenKind::Equal),
            ('!', Some('=')) => (BinaryOp::NotEqual, 1),
            ('!', _) => {
                let next = rune(next);
                return self.fault(format!("unexpected character after '!': {next}"));
            }
            ('<', Some('=')) => (BinaryOp::LessEqual, 1),
            ('<', Some('/')) => (BinaryOp::TrimUpper, 1),
            ('<', _) => (BinaryOp::Less, 0),
            (_, Some('=')) => (BinaryOp::GreaterEqual, 1),
            (_, Some('/')) => (BinaryOp::TrimLower, 1),
            _ => (BinaryOp::Greater, 0),
        };
        self.at += len;
        Ok(TokenKind::Op(op))
    }

    fn right_paren(&mut self) -> Lexed {
        match self.parens_open.checked_sub(1) {
            Some(open) => self.parens_open = open,
            None => return self.fault_behind("unexpected right parenthesis ')'"),
        }
        Ok(TokenKind::RightParen)
    }

    fn left_bracket(&mut self) -> Lexed {
        if self.in_brackets {
            return self.fault("unexpected left bracket '['");
        }
        self.in_brackets = true;
        self.in_duration = true;
        self.seen_colon = false;
        Ok(TokenKind::LeftBracket)
    }

    fn word(&mut self) -> TokenKind {
        self.skip_while(|byte| is_alphanumeric(char::from(byte)) || byte == b':');
        let text = self.token_text();
        match keyword(text) {
            Some(TokenKind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight))
                if !self.rest().trim_start_matches(is_space).starts_with('(') =>
            {
                TokenKind::Identifier
            }
            Some(kind) => kind,
            None if text.contains(':') => TokenKind::MetricIdentifier,
            None => TokenKind::Identifier,
        }
    }

    fn word_in_brackets(&mut self, c: char) -> Lexed {
        if c != ':' {
            return match self.duration_word(c) {
                Some(kind) => Ok(kind),
                None => {
                    self.fault(format!("unexpected character: {}, expected ':'", quoted_char(c)))
                }
            };
        }
        if self.seen_colon {
            return self.fault("unexpected colon ':'");
        }
        self.seen_colon = true;
        Ok(TokenKind::Colon)
    }

    fn duration_word(&mut self, first: char) -> Option<TokenKind> {
        if !matches!(first, 's' | 'S' | 'r' | 'R' | 'm' | 'M') {
            return None;
        }
        self.skip_while(|byte| is_alpha(char::from(byte)));
        let text = self.token_text();
        (text.len() <= "min_of".len()).then(|| duration_word(&text.to_ascii_lowercase()))?
    }

    fn duration_token(&mut self) -> Lexed {
        let Some(c) = self.next() else {
            return self.fault("unexpected end of input in duration expression");
        };
        match c {
            ']' => {
                self.in_duration = false;
                self.in_brackets = false;
                self.seen_colon = false;
                Ok(TokenKind::RightBracket)
            }
            ':' if !self.seen_duration => {
                self.fault_behind("unexpected colon before duration in duration expression")
            }
            ':' if self.seen_colon => {
                self.fault_behind("unexpected repeated colon in duration expression")
            }
            ':' => {
                self.seen_colon = true;
                Ok(TokenKind::Colon)
            }
            '(' => {
                self.parens_open += 1;
                Ok(TokenKind::LeftParen)
            }
            ')' => self.right_paren(),
            '*' | '/' | '%' | '+' | '-' | '^' => Ok(arithmetic(c)),
            ',' => Ok(TokenKind::Comma),
            '0'..='9' => self.first_number(),
            '.' if self.peek().is_some_and(|c| c.is_ascii_digit()) => self.first_number(),
            _ => match self.duration_word(c) {
                Some(kind) => Ok(kind),
                None => self.fault(format!(
                    "unexpected character in duration expression: {}",
                    quoted_char(c)
                )),
            },
        }
    }

    fn first_number(&mut self) -> Lexed {
        self.seen_duration = true;
        self.in_duration = false;
        self.number()
    }

    fn brace_token(&mut self) -> Lexed {
        let Some(c) = self.next() else {
            return self.fault("unexpected end of input inside braces");
        };
        match c {
            _ if is_alpha(c) => {
                self.skip_while(|byte| is_alphanumeric(char::from(byte)));
                Ok(TokenKind::Identifier)
            }
            ',' => Ok(TokenKind::Comma),
            '"' | '\'' => self.string(c),
            '`' => self.raw_string(),
            '=' if self.accept(|byte| byte == b'~') => Ok(TokenKind::EqualRegex),
            '=' => Ok(TokenKind::Equal),
            '!' if self.accept(|byte| byte == b'~') => Ok(TokenKind::NotEqualRegex),
            '!' if self.accept(|byte| byte == b'=') => Ok(TokenKind::Op(BinaryOp::NotEqual)),
            '!' => {
                let next = rune(self.peek());
                self.fault(format!("unexpected character after '!' inside braces: {next}"))
            }
            '{' => self.fault("unexpected left brace '{'"),
            '}' => {
                self.in_braces = false;
                Ok(TokenKind::RightBrace)
            }
            _ => self.fault(format!("unexpected character inside braces: {}", quoted_char(c))),
        }
    }
}

fn arithmetic(c: char) -> TokenKind {
    TokenKind::Op(match c {
        '*' => BinaryOp::Mul,
        '/' => BinaryOp::Div,
        '%' => BinaryOp::Mod,
        '+' => BinaryOp::Add,
        '-' => BinaryOp::Sub,
        _ => BinaryOp::Pow,
    })
}

/// A character in quotes; the end of the text is the character Go prints for -1.
fn rune(c: Option<char>) -> String {
    quoted_char(c.unwrap_or(char::REPLACEMENT_CHARACTER))
}

/// A place in the text; the length limit keeps texts far below 4 GiB.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
