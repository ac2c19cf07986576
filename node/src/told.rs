//! What commands tell people: places in a text with a caret under them, and colours on a terminal.

use promql::{LineColumn, ParseError, Span, line_column};
use std::io::IsTerminal;

/// How text is dressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    has_colours: bool,
}

/// A colour, or what stands for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Good,
    Bad,
    Warn,
    Dim,
    /// One of a few that are told apart.
    Of(usize),
}

impl Style {
    /// Colours if stdout is a terminal and `NO_COLOR` is not set.
    pub(crate) fn of_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { has_colours: std::io::stdout().is_terminal() && !refused }
    }

    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { has_colours: false };

    pub(crate) fn paint(self, colour: Colour, text: &str) -> String {
        if !self.has_colours {
            return text.to_owned();
        }
        let code = match colour {
            Colour::Good => 32,
            Colour::Bad => 31,
            Colour::Warn => 33,
            Colour::Dim => 2,
            Colour::Of(index) => [36, 33, 35, 32, 34, 31][index % 6],
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// The line of `text` that holds the start of `span`, and carets under the span as far as it is in
/// that line. Of a long line, what is around.
pub(crate) fn caret(text: &str, span: Span) -> String {
    let LineColumn { line, column } = line_column(text, span.start.min(end_of(text)));
    let shown = text.split('\n').nth(line - 1).unwrap_or_default();
    let at = floor_char(shown, column - 1);
    let len = usize::try_from(span.end.saturating_sub(span.start)).unwrap_or(0);
    let end = floor_char(shown, at.saturating_add(len));
    // A query of a megabyte is no message.
    const AROUND: usize = 120;
    let from = floor_char(shown, at.saturating_sub(AROUND));
    let until = floor_char(shown, end.min(at + AROUND).saturating_add(AROUND));
    let (before, marked) = (&shown[from..at], &shown[at..end.min(until).max(at)]);
    let blank = |c: char| if c == '\t' { '\t' } else { ' ' };
    let indent: String = before.chars().map(blank).collect();
    let carets = "^".repeat(marked.chars().count().max(1));
    let (left, right) = (dots(from > 0), dots(until < shown.len()));
    let skipped = " ".repeat(left.chars().count());
    format!("  {left}{}{right}\n  {skipped}{indent}{carets}\n", &shown[from..until])
}

fn dots(is_cut: bool) -> &'static str {
    if is_cut { "…" } else { "" }
}

fn end_of(text: &str) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}

/// The nearest border of characters at or before `at`.
fn floor_char(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// A query that does not parse: what is wrong, where, and a caret under it.
pub(crate) fn parse_error(text: &str, error: &ParseError) -> String {
    format!("{error}\n{}", caret(text, error.span))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caret_stands_under_its_place_whatever_is_before_it() {
        assert_eq!(caret("a + b", Span::new(4, 5)), "  a + b\n      ^\n");
        assert_eq!(caret("ä\n\tü + foo\nb", Span::new(9, 12)), "  \tü + foo\n  \t    ^^^\n");
        assert_eq!(caret("a +", Span::new(3, 3)), "  a +\n     ^\n");
        assert_eq!(caret("", Span::new(7, 9)), "  \n  ^\n");
        let long = format!("{}x{}", "a".repeat(5_000), "b".repeat(5_000));
        let told = caret(&long, Span::new(5_000, 5_001));
        let [line, carets] = told.lines().collect::<Vec<_>>()[..] else { panic!("{told}") };
        assert!(line.starts_with("  …a") && line.ends_with("b…") && line.len() < 300);
        assert_eq!(line.chars().position(|c| c == 'x'), carets.chars().position(|c| c == '^'));
    }

    #[test]
    fn without_a_terminal_nothing_is_coloured() {
        assert_eq!(Style::PLAIN.paint(Colour::Bad, "x"), "x");
        assert_eq!(Style { has_colours: true }.paint(Colour::Bad, "x"), "\x1b[31mx\x1b[0m");
    }
}
