//! Strings, numbers and durations: the tokens that are more than a word or a sign.

use super::{Lexed, Lexer, is_alphanumeric};
use crate::error::Fault;
use crate::quote::{is_printable, quoted};
use crate::token::TokenKind;

impl Lexer<'_> {
    pub(super) fn string(&mut self, quote: char) -> Lexed {
        loop {
            match self.next() {
                Some('\\') => self.escape(quote)?,
                Some(char::REPLACEMENT_CHARACTER) => return self.fault("invalid UTF-8 rune"),
                None | Some('\n') => return self.fault("unterminated quoted string"),
                Some(c) if c == quote => return Ok(TokenKind::String),
                Some(_) => {}
            }
        }
    }

    pub(super) fn raw_string(&mut self) -> Lexed {
        loop {
            match self.next() {
                Some(char::REPLACEMENT_CHARACTER) => return self.fault("invalid UTF-8 rune"),
                None => return self.fault("unterminated raw string"),
                Some('`') => return Ok(TokenKind::String),
                Some(_) => {}
            }
        }
    }

    /// Checks an escape; its backslash has been read.
    fn escape(&mut self, quote: char) -> Result<(), Fault> {
        let (first, digits, radix, value_max) = match self.next() {
            None => return self.fault("escape sequence not terminated"),
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\') => return Ok(()),
            Some(c) if c == quote => return Ok(()),
            Some(c @ '0'..='7') => (Some(c), 3, 8, 255),
            Some('x') => (self.next(), 2, 16, 255),
            Some('u') => (self.next(), 4, 16, 0x10_ffff),
            Some('U') => (self.next(), 8, 16, 0x10_ffff),
            Some(c) => return self.fault(format!("unknown escape sequence {}", code_point(c))),
        };
        let mut digit = first;
        let mut value: u64 = 0;
        for left in (0..digits).rev() {
            let Some(c) = digit else { return self.fault("escape sequence not terminated") };
            let Some(number) = c.to_digit(radix) else {
                let c = code_point(c);
                return self.fault(format!("illegal character {c} in escape sequence"));
            };
            value = value * u64::from(radix) + u64::from(number);
            if left > 0 {
                digit = self.next();
            }
        }
        if value > value_max || (0xd800..0xe000).contains(&value) {
            return self.fault("escape sequence is an invalid Unicode code point");
        }
        Ok(())
    }

    /// A number or a duration; its first character has been read.
    pub(super) fn number(&mut self) -> Lexed {
        self.at = self.start;
        if self.scan_number() {
            return Ok(TokenKind::Number);
        }
        if self.scan_duration() {
            return Ok(TokenKind::Duration);
        }
        self.fault(format!("bad number or duration syntax: {}", quoted(self.token_text())))
    }

    /// Reads on as long as it may be a number; whether it is one is seen when it is read.
    fn scan_number(&mut self) -> bool {
        let mut is_hex = false;
        if self.accept(|byte| byte == b'0') && self.accept(|byte| byte | 0x20 == b'x') {
            self.accept(|byte| byte == b'_');
            is_hex = true;
        }
        let is_digit = |byte: u8| byte.is_ascii_digit() || (is_hex && byte.is_ascii_hexdigit());
        self.accept(|byte| byte == b'.');
        self.accept(is_digit);
        let (mut dot, mut exponent) = (false, false);
        loop {
            if self.accept(|byte| byte == b'.') {
                if dot || self.accept(|byte| matches!(byte, b'_' | b'.')) || is_hex {
                    return false;
                }
                dot = true;
            } else if self.accept(|byte| byte | 0x20 == b'e') {
                if exponent {
                    return false;
                }
                exponent = true;
                self.accept(|byte| matches!(byte, b'+' | b'-'));
                if self.accept(cannot_follow) || self.peek().is_none() {
                    return false;
                }
            } else if self.accept(|byte| byte == b'_') {
                if self.accept(cannot_follow) || self.peek().is_none() {
                    return false;
                }
            } else if self.accept(is_digit) {
                self.skip_while(is_digit);
            } else {
                return !self.peek().is_some_and(is_alphanumeric);
            }
        }
    }

    /// Goes on behind what turned out not to be a number.
    fn scan_duration(&mut self) -> bool {
        let unit = |byte: u8| b"smhdw".contains(&byte);
        if !self.accept(|byte| unit(byte) || byte == b'y') {
            return false;
        }
        self.accept(|byte| byte == b's');
        while self.accept(|byte| byte.is_ascii_digit()) {
            self.skip_while(|byte| byte.is_ascii_digit());
            if !self.accept(unit) {
                return false;
            }
            self.accept(|byte| byte == b's');
        }
        // A character that should not be here is part of what the error shows.
        !self.accept(|byte| is_alphanumeric(char::from(byte)))
    }
}

fn cannot_follow(byte: u8) -> bool {
    matches!(byte, b'.' | b'_' | b'e' | b'E')
}

/// `U+0063 'c'`, without the character if it has no shape.
fn code_point(c: char) -> String {
    let code = format!("U+{:04X}", u32::from(c));
    let shown = matches!(c, ' '..='~') || (!c.is_ascii() && is_printable(c));
    if shown { format!("{code} '{c}'") } else { code }
}
