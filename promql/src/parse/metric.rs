//! A metric as series descriptions name it: a name, labels in braces, or both.

use super::{ParseOptions, Parsed, Parser};
use crate::error::ParseError;
use crate::span::Span;
use crate::token::TokenKind;
use model::{LabelSet, METRIC_NAME, Text};

/// Parses the metric `text` starts with; answers its labels and where it ends.
pub(crate) fn metric(text: &str) -> Result<(LabelSet, usize), ParseError> {
    let mut parser = Parser::new(text, ParseOptions::default())?;
    let pairs = parser.metric()?;
    let end = usize::try_from(parser.last_end).unwrap_or(usize::MAX);
    match LabelSet::from_pairs(pairs) {
        Ok(labels) => Ok((labels, end)),
        Err(error) => Err(ParseError::new(text, Span::new(0, parser.last_end), error.to_string())),
    }
}

impl Parser<'_> {
    fn metric(&mut self) -> Parsed<Vec<(Text, Text)>> {
        let mut pairs = Vec::new();
        let token = self.peek()?;
        if token.kind != TokenKind::LeftBrace {
            if !token.kind.is_metric_name() {
                return self.unexpected();
            }
            self.next()?;
            pairs.push((METRIC_NAME.into(), self.token_text(token).into()));
            // Nothing may be lexed ahead: what follows without a brace is another language.
            if self.text.as_bytes().get(usize::try_from(token.end).unwrap_or(usize::MAX))
                != Some(&b'{')
            {
                return Ok(pairs);
            }
        }
        self.expect(TokenKind::LeftBrace)?;
        loop {
            if self.accept(TokenKind::RightBrace)?.is_some() {
                return Ok(pairs);
            }
            pairs.push(self.label()?);
            match self.peek()?.kind {
                TokenKind::Comma => drop(self.next()?),
                TokenKind::RightBrace => {}
                _ => return self.unexpected_in(" in label set, expected \",\" or \"}\""),
            }
        }
    }

    fn label(&mut self) -> Parsed<(Text, Text)> {
        let name = self.peek()?;
        let name_text: Text = match name.kind {
            TokenKind::Identifier => self.token_text(name).into(),
            TokenKind::String => self.text_of_string(name)?,
            _ => return self.unexpected_in(" in label set, expected identifier or \"}\""),
        };
        self.next()?;
        if self.accept(TokenKind::Equal)?.is_none() {
            if name.kind == TokenKind::String {
                return Ok((METRIC_NAME.into(), name_text));
            }
            return self.unexpected_in(" in label set, expected \"=\"");
        }
        let Some(value) = self.accept(TokenKind::String)? else {
            return self.unexpected_in(" in label set, expected string");
        };
        Ok((name_text, self.text_of_string(value)?))
    }

    fn text_of_string(&self, token: crate::token::Token) -> Parsed<Text> {
        match String::from_utf8(self.string_bytes(token)) {
            Ok(text) => Ok(text.into()),
            Err(_) => self.fault(token.span(), "labels have to be UTF-8"),
        }
    }
}
