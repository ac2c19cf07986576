//! Answers as small drawings in a terminal: lines over a range, bars at an instant.

use super::answer::{Answer, Row};
use super::print::rfc3339;
use crate::told::{Colour, Style};

const HEIGHT: usize = 16;
/// For the numbers at the left.
const AXIS: usize = 11;
/// So many series have a sign of their own and are drawn.
const SIGNS: [char; 8] = ['●', '+', 'x', '○', '*', '#', '@', '%'];
const BARS_MAX: usize = 40;

/// Draws what has numbers; `width` columns wide.
pub(super) fn draw(answer: &Answer, width: usize, style: Style) -> String {
    match answer.is_matrix {
        true => lines(&answer.rows, width, style),
        false => bars(&answer.rows, width, style),
    }
}

/// Time and value of what can be drawn.
fn points(row: &Row) -> Vec<(i64, f64)> {
    let point = |sample: &super::answer::Sample| {
        let value = sample.value.filter(|value| value.is_finite())?;
        Some((sample.time_ms, value))
    };
    row.samples.iter().filter_map(point).collect()
}

/// A rectangle of the plane and how many columns it is drawn in.
struct Frame {
    first_ms: i64,
    last_ms: i64,
    low: f64,
    high: f64,
    columns: usize,
}

impl Frame {
    fn around(series: &[Vec<(i64, f64)>], columns: usize) -> Option<Self> {
        let all = || series.iter().flatten();
        let first_ms = all().map(|point| point.0).min()?;
        let last_ms = all().map(|point| point.0).max()?;
        let low = all().map(|point| point.1).fold(f64::INFINITY, f64::min);
        let high = all().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
        Some(Self { first_ms, last_ms, low, high, columns })
    }

    #[expect(clippy::cast_precision_loss, reason = "a place on a screen")]
    fn column(&self, time_ms: i64) -> usize {
        let span = self.last_ms.saturating_sub(self.first_ms).max(1) as f64;
        place(time_ms.saturating_sub(self.first_ms) as f64 / span, self.columns)
    }

    /// From the top.
    fn line(&self, value: f64) -> usize {
        // Halves, so that the greatest floats do not overflow.
        let span = self.high / 2.0 - self.low / 2.0;
        let part = if span > 0.0 { (value / 2.0 - self.low / 2.0) / span } else { 0.5 };
        HEIGHT - 1 - place(part, HEIGHT)
    }
}

/// The cell of `cells` that a part between 0 and 1 falls into.
fn place(part: f64, cells: usize) -> usize {
    let last = cells.saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "bounded by the number of cells"
    )]
    let cell = (part.clamp(0.0, 1.0) * last as f64).round() as usize;
    cell.min(last)
}

fn lines(rows: &[Row], width: usize, style: Style) -> String {
    let drawn = &rows[..rows.len().min(SIGNS.len())];
    let series: Vec<Vec<(i64, f64)>> = drawn.iter().map(points).collect();
    let Some(frame) = Frame::around(&series, width.saturating_sub(AXIS + 2).max(10)) else {
        return "nothing to draw\n".to_owned();
    };
    let mut cells = vec![vec![None; frame.columns]; HEIGHT];
    for (index, points) in series.iter().enumerate() {
        trace(&frame, points, index, &mut cells);
    }
    let mut out = String::new();
    for (line, row) in cells.iter().enumerate() {
        let label = match line {
            0 => short(frame.high),
            line if line == HEIGHT - 1 => short(frame.low),
            line if line == HEIGHT / 2 => short(frame.low / 2.0 + frame.high / 2.0),
            _ => String::new(),
        };
        let drawn: String = row.iter().map(|cell| sign(*cell, style)).collect();
        out.push_str(&format!("{label:>AXIS$} ┤{}\n", drawn.trim_end()));
    }
    let (first, last) = (rfc3339(frame.first_ms), rfc3339(frame.last_ms));
    out.push_str(&format!("{:>AXIS$} └{}\n", "", "─".repeat(frame.columns)));
    let gap = frame.columns.saturating_sub(first.len());
    out.push_str(&format!("{:>AXIS$}  {first}{last:>gap$}\n", ""));
    for (index, row) in drawn.iter().enumerate() {
        out.push_str(&format!("  {} {}\n", sign(Some(index), style), row.name()));
    }
    out + &left_out(rows.len() - drawn.len())
}

/// Draws a line through points that follow each other at the usual distance, and leaves gaps.
fn trace(frame: &Frame, points: &[(i64, f64)], index: usize, cells: &mut [Vec<Option<usize>>]) {
    let steps = points.windows(2).map(|two| two[1].0.saturating_sub(two[0].0));
    let step = steps.filter(|step| *step > 0).min().unwrap_or(1);
    let mut put = |column: usize, value: f64| {
        if let Some(cell) = cells.get_mut(frame.line(value)).and_then(|row| row.get_mut(column)) {
            *cell = Some(index);
        }
    };
    for (at, value) in points {
        put(frame.column(*at), *value);
    }
    for two in points.windows(2) {
        let [(from, a), (to, b)] = [two[0], two[1]];
        if to.saturating_sub(from) > step.saturating_add(step / 2) {
            continue;
        }
        let (left, right) = (frame.column(from), frame.column(to));
        for column in left + 1..right {
            #[expect(clippy::cast_precision_loss, reason = "a place on a screen")]
            let part = (column - left) as f64 / (right - left) as f64;
            put(column, a * (1.0 - part) + b * part);
        }
    }
}

fn sign(cell: Option<usize>, style: Style) -> String {
    match cell {
        None => " ".to_owned(),
        Some(index) => style.paint(Colour::Of(index), &SIGNS[index % SIGNS.len()].to_string()),
    }
}

fn bars(rows: &[Row], width: usize, style: Style) -> String {
    let named = |row: &Row| Some((row.name(), points(row).first()?.1));
    let all: Vec<(String, f64)> = rows.iter().filter_map(named).collect();
    if all.is_empty() {
        return "nothing to draw\n".to_owned();
    }
    let drawn = &all[..all.len().min(BARS_MAX)];
    let longest = drawn.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let name_width = longest.min(width / 2);
    let most = drawn.iter().map(|(_, value)| value.abs()).fold(0.0, f64::max);
    let room = width.saturating_sub(name_width + AXIS + 3).max(10);
    let mut out = String::new();
    for (index, (name, value)) in drawn.iter().enumerate() {
        let cut: String = match name.chars().count() > name_width {
            true => name.chars().take(name_width - 1).chain(['…']).collect(),
            false => name.clone(),
        };
        let part = if most > 0.0 { value.abs() / most } else { 0.0 };
        // Of what is not zero something is seen.
        let len = if *value == 0.0 { 0 } else { place(part, room + 1).max(1) };
        let bar = style.paint(Colour::Of(index), &if *value < 0.0 { "▒" } else { "█" }.repeat(len));
        let line = format!("{cut:<name_width$} {:>AXIS$} {bar}", short(*value));
        out.push_str(&format!("{}\n", line.trim_end()));
    }
    out + &left_out(rows.len() - drawn.len())
}

fn left_out(count: usize) -> String {
    if count == 0 { String::new() } else { format!("  and {count} series that are not drawn\n") }
}

/// A number in at most [`AXIS`] columns.
fn short(value: f64) -> String {
    let whole = format!("{value}");
    match value.abs() {
        _ if whole.len() <= 8 => whole,
        size if (1e-3..1e7).contains(&size) => {
            format!("{value:.4}").trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => format!("{value:.3e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn matrix(values: &[Vec<(i64, &str)>]) -> Answer {
        let series = values.iter().enumerate().map(|(index, values)| {
            let values: Vec<Value> = values.iter().map(|(t, v)| json!([t, v])).collect();
            json!({"metric": {"__name__": "m", "s": index.to_string()}, "values": values})
        });
        let result: Vec<Value> = series.collect();
        Answer::read(&json!({"resultType": "matrix", "result": result})).unwrap()
    }

    #[test]
    fn a_line_goes_from_corner_to_corner_with_its_gap_and_its_ends_are_named() {
        let rising: Vec<(i64, String)> =
            (0..=100).filter(|t| !(40..60).contains(t)).map(|t| (t, t.to_string())).collect();
        let rising = rising.iter().map(|(t, v)| (*t, v.as_str())).collect();
        let told = draw(&matrix(&[rising]), 60, Style::PLAIN);
        let lines: Vec<&str> = told.lines().collect();
        assert!(lines[0].starts_with("        100 ┤") && lines[0].ends_with('●'), "{told}");
        assert!(lines[HEIGHT - 1].starts_with("          0 ┤●"), "{told}");
        assert!(lines[HEIGHT / 2].trim_start().starts_with("50 ┤"), "{told}");
        let drawn = lines[..HEIGHT].iter().flat_map(|line| {
            line.chars().enumerate().filter(|(_, c)| *c == '●').map(|(column, _)| column)
        });
        let columns = drawn.collect::<std::collections::BTreeSet<usize>>().len();
        assert!((36..=40).contains(&columns), "each of 47 but the gap: {columns}\n{told}");
        assert!(told.contains("1970-01-01T00:00:00Z") && told.contains("1970-01-01T00:01:40Z"));
        assert!(told.ends_with("  ● m{s=\"0\"}\n"));
        assert!(lines.iter().all(|line| line.chars().count() <= 60), "{told}");
    }

    #[test]
    fn what_cannot_be_drawn_is_left_out_and_many_series_are_counted() {
        let none = matrix(&[vec![(0, "NaN"), (1, "+Inf")]]);
        assert_eq!(draw(&none, 80, Style::PLAIN), "nothing to draw\n");
        let flat = matrix(&vec![vec![(0, "1"), (1, "1")]; 11]);
        assert!(draw(&flat, 80, Style::PLAIN).ends_with("and 3 series that are not drawn\n"));
        let wide = matrix(&[vec![(i64::MIN / 2000, "-1e308"), (i64::MAX / 2000, "1e308")]]);
        assert!(draw(&wide, 80, Style::PLAIN).contains("-1.000e308"));
    }

    #[test]
    fn a_bar_is_as_long_as_its_value() {
        let of = |name: &str, value: &str| json!({"metric": {"n": name}, "value": [0, value]});
        let result = json!([of("a", "10"), of("b", "-5"), of("c", "0"), of("d", "NaN")]);
        let vector = Answer::read(&json!({"resultType": "vector", "result": result})).unwrap();
        let told = draw(&vector, 60, Style::PLAIN);
        let count = |line: usize, bar: char| told.lines().nth(line).unwrap().matches(bar).count();
        let long = count(0, '█');
        assert!(long > 30 && count(1, '▒').abs_diff(long / 2) <= 1, "{told}");
        assert_eq!(count(2, '█'), 0, "{told}");
        assert!(told.ends_with("and 1 series that are not drawn\n"));
        assert_eq!(
            (short(1234567.125), short(1e-9), short(-0.5)),
            ("1234567.125".into(), "1.000e-9".to_owned(), "-0.5".into())
        );
    }
}
