//! Prints a query over several lines, as `/api/v1/format_query` answers it.
//!
//! A node that fits into [`LINE_MAX`] bytes stays on one line; else its parts go on lines of their
//! own, two spaces deeper. The left operand of a binary expression lies deeper than the operator,
//! so a long chain makes a staircase and the output can grow with the square of the query: it is
//! cut off by [`PRETTY_BYTES_MAX`].

use crate::ast::{Aggregation, BinaryChain, Expr};
use crate::print::{Printer, sign};
use std::fmt::{self, Write};

/// The longest line a node is left on, in bytes.
const LINE_MAX: usize = 100;

/// The longest text [`pretty`] answers, in bytes.
pub const PRETTY_BYTES_MAX: usize = 8 << 20;

/// A query whose pretty form is longer than [`PRETTY_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the formatted query would be longer than {PRETTY_BYTES_MAX} bytes")]
pub struct PrettyTooLong;

/// The query over several lines.
///
/// # Errors
/// [`PrettyTooLong`].
pub fn pretty(expr: &Expr) -> Result<String, PrettyTooLong> {
    let mut out = Bounded { text: String::new() };
    Pretty { out: &mut out }.expr(expr, 0, true).map_err(|_| PrettyTooLong)?;
    Ok(out.text)
}

/// Text that refuses to grow beyond its limit.
struct Bounded {
    text: String,
}

impl Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.text.len() + part.len() > PRETTY_BYTES_MAX {
            return Err(fmt::Error);
        }
        self.text.push_str(part);
        Ok(())
    }
}

/// Counts bytes and refuses more than are left.
struct Budget {
    left: usize,
}

impl Write for Budget {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.left = self.left.checked_sub(part.len()).ok_or(fmt::Error)?;
        Ok(())
    }
}

/// Whether `expr` fits on a line. Looks at no more of it than that takes.
fn fits(expr: &Expr) -> bool {
    let mut budget = Budget { left: LINE_MAX };
    Printer { out: &mut budget, sorted: false }.expr(expr).is_ok()
}

/// How many links of the chain fit on a line together with all that is before them; `None` if not
/// even the first operand does.
fn links_that_fit(node: &BinaryChain) -> Option<usize> {
    let mut budget = Budget { left: LINE_MAX };
    let mut printer = Printer { out: &mut budget, sorted: false };
    printer.expr(&node.first).ok()?;
    let fitting = node.links.iter().take_while(|link| {
        let head = printer.out.write_char(' ').and_then(|()| printer.link_head(link));
        head.and_then(|()| printer.out.write_char(' '))
            .and_then(|()| printer.expr(&link.rhs))
            .is_ok()
    });
    Some(fitting.count())
}

struct Pretty<'o> {
    out: &'o mut dyn Write,
}

impl Pretty<'_> {
    /// Prints `expr` at a level; the first line is indented only if it `leads`.
    fn expr(&mut self, expr: &Expr, level: usize, leads: bool) -> fmt::Result {
        let inner_first = match expr {
            Expr::Subquery(_) | Expr::Binary(_) => !fits(expr),
            _ => false,
        };
        let bare_subquery = matches!(expr, Expr::Subquery(_)) && !inner_first;
        if leads && !inner_first && !bare_subquery {
            self.indent(level)?;
        }
        match expr {
            Expr::Unary(node) => {
                self.out.write_str(sign(node.sign))?;
                self.expr(&node.expr, level, false)
            }
            Expr::Subquery(node) if inner_first => {
                self.expr(&node.expr, level, leads)?;
                self.plain().subquery_suffix(node)
            }
            Expr::Binary(node) if inner_first => self.chain(node, level, leads),
            Expr::Aggregation(node) if !fits(expr) => self.aggregation(node, level),
            Expr::Call(node) if !fits(expr) => {
                self.out.write_str(node.function.name)?;
                self.out.write_str("(\n")?;
                for (index, arg) in node.args.iter().enumerate() {
                    self.out.write_str(if index == 0 { "" } else { ",\n" })?;
                    self.expr(arg, level + 1, true)?;
                }
                self.close(level)
            }
            Expr::Paren(node) if !fits(expr) => {
                self.out.write_str("(\n")?;
                self.expr(&node.expr, level + 1, true)?;
                self.close(level)
            }
            _ => self.plain().expr(expr),
        }
    }

    fn plain(&mut self) -> Printer<'_> {
        Printer { out: &mut *self.out, sorted: true }
    }

    fn aggregation(&mut self, node: &Aggregation, level: usize) -> fmt::Result {
        self.plain().aggregation_head(node)?;
        self.out.write_str("(\n")?;
        if let Some(param) = &node.param {
            self.expr(param, level + 1, true)?;
            self.out.write_str(",\n")?;
        }
        self.expr(&node.expr, level + 1, true)?;
        self.close(level)
    }

    /// A chain that does not fit: what fits of its start, then link by link, ever less deep.
    fn chain(&mut self, node: &BinaryChain, level: usize, leads: bool) -> fmt::Result {
        let fitting = links_that_fit(node).unwrap_or(0);
        let deepest = level + node.links.len() - fitting;
        if fitting == 0 {
            self.expr(&node.first, deepest, leads)?;
        } else {
            if leads {
                self.indent(deepest)?;
            }
            self.plain().expr(&node.first)?;
        }
        for (index, link) in node.links.iter().enumerate() {
            if index < fitting {
                self.out.write_char(' ')?;
                self.plain().link_head(link)?;
                self.out.write_char(' ')?;
                self.plain().expr(&link.rhs)?;
                continue;
            }
            let level = level + node.links.len() - 1 - index;
            self.out.write_char('\n')?;
            self.indent(level)?;
            self.plain().link_head(link)?;
            self.out.write_char('\n')?;
            self.expr(&link.rhs, level + 1, true)?;
        }
        Ok(())
    }

    fn close(&mut self, level: usize) -> fmt::Result {
        self.out.write_char('\n')?;
        self.indent(level)?;
        self.out.write_char(')')
    }

    fn indent(&mut self, level: usize) -> fmt::Result {
        const SPACES: &str = "                                                                ";
        let mut left = 2 * level;
        while left > 0 {
            let part = left.min(SPACES.len());
            self.out.write_str(&SPACES[..part])?;
            left -= part;
        }
        Ok(())
    }
}
