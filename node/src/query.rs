//! `cumae query`: asks a server and prints its answer.
//!
//! Any server with Prometheus' query API will do. Times may be relative to now; all else is passed
//! on as it is, and what is wrong with it the server says.
//!
//! Not here: how an answer looks (`print.rs`, `chart.rs`).

mod answer;
mod chart;
mod print;

use crate::cli::{QueryFlags, QueryFormat};
use crate::told::{Style, caret};
use answer::Answer;
use bench::http::{Response, form};
use model::TimestampMs;
use promql::Span;
use serde_json::Value;
use std::io::{self, Read};
use std::net::ToSocketAddrs;

/// Steps of a range whose step is not given, at most.
const STEPS: i64 = 250;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Not an address that can be asked.
    #[error("--server {0}")]
    Server(String),
    /// Not a time or duration.
    #[error("--{flag}: {reason}")]
    Time { flag: &'static str, reason: String },
    /// Not a header.
    #[error("--header: `{0}` is not `Name: value`")]
    Header(String),
    /// The query was to be read from stdin.
    #[error("failed to read a query from stdin: {0}")]
    Stdin(io::Error),
    /// No connection, or it broke.
    #[error("{server}: {source}")]
    Connection { server: String, source: io::Error },
    /// The server refused; a place in the query has its caret.
    #[error("{0}")]
    Refused(String),
    /// Not the query API.
    #[error("{server} answered {status}, and nothing that a query API answers: {body}")]
    Answer { server: String, status: u16, body: String },
}

/// Runs the command at `now`.
pub(crate) fn run(flags: &QueryFlags, now: TimestampMs) -> Result<(), Error> {
    let query = match flags.query.as_str() {
        "-" => {
            let mut text = String::new();
            let bound = promql::LENGTH_MAX as u64 + 2;
            io::stdin().take(bound).read_to_string(&mut text).map_err(Error::Stdin)?;
            text.trim_end_matches('\n').to_owned()
        }
        query => query.to_owned(),
    };
    let (path, mut parameters) = times(flags, now)?;
    parameters.push(("query", query.clone()));
    if let Some(timeout) = &flags.timeout {
        parameters.push(("timeout", timeout.clone()));
    }
    let response = ask(flags, path, &parameters)?;
    let json: Value =
        serde_json::from_slice(&response.body).map_err(|_| unlike(flags, &response))?;
    if json["status"] == "error" {
        return Err(Error::Refused(refused(&query, &json)));
    }
    let answer = Answer::read(&json["data"]).ok_or_else(|| unlike(flags, &response))?;
    for (kind, told) in [("warning", &json["warnings"]), ("info", &json["infos"])] {
        for text in told.as_array().into_iter().flatten().filter_map(Value::as_str) {
            crate::complain(&format!("{kind}: {text}"));
        }
    }
    let style = Style::of_stdout();
    crate::print(&match flags.format {
        QueryFormat::Json => format!("{}\n", response.text().trim_end()),
        QueryFormat::Csv => print::csv(&answer),
        QueryFormat::Table => print::table(&answer, style),
        QueryFormat::Chart => chart::draw(&answer, width(), style),
    });
    Ok(())
}

/// Names and values of what is sent.
type Parameters = Vec<(&'static str, String)>;

/// Where to ask, and when.
fn times(flags: &QueryFlags, now: TimestampMs) -> Result<(&'static str, Parameters), Error> {
    if flags.start.is_none() && flags.end.is_none() && flags.step.is_none() {
        let at = time("time", flags.time.as_deref().unwrap_or("now"), now)?;
        return Ok(("query", vec![("time", seconds(at))]));
    }
    let end = time("end", flags.end.as_deref().unwrap_or("now"), now)?;
    let start = match &flags.start {
        Some(text) => time("start", text, now)?,
        None => end.saturating_sub(3_600_000),
    };
    let step = match &flags.step {
        Some(step) => step.clone(),
        // Whole seconds: steps that do not move when the range does by a little.
        None => {
            (end.saturating_sub(start) / STEPS).max(1).unsigned_abs().div_ceil(1_000).to_string()
        }
    };
    let parameters = vec![("start", seconds(start)), ("end", seconds(end)), ("step", step)];
    Ok(("query_range", parameters))
}

/// A time in milliseconds: `now`, `-1h`, `now-1h`, or what the query API takes.
fn time(flag: &'static str, text: &str, now: TimestampMs) -> Result<i64, Error> {
    let back = match text.strip_prefix("now") {
        Some("") => return Ok(now.0),
        Some(rest) => rest,
        None => text,
    };
    if let Some(Ok(ms)) = back.strip_prefix('-').map(promql::parse_duration) {
        return Ok(now.minus_ms(i64::try_from(ms).unwrap_or(i64::MAX)).0);
    }
    let absolute = querier::parse_time(text);
    absolute.map(|time| time.0).map_err(|reason| Error::Time { flag, reason })
}

/// Milliseconds as seconds, exactly.
fn seconds(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    format!("{sign}{}.{:03}", ms.unsigned_abs() / 1_000, ms.unsigned_abs() % 1_000)
}

fn ask(flags: &QueryFlags, path: &str, parameters: &[(&str, String)]) -> Result<Response, Error> {
    let server = &flags.server;
    let bad = |reason: &str| Error::Server(format!("`{server}`: {reason}"));
    let rest = match server.split_once("://") {
        Some(("http", rest)) => rest,
        Some(("https", _)) => return Err(bad("TLS is not spoken here; ask through a proxy")),
        Some(_) => return Err(bad("only http:// can be asked")),
        None => server,
    };
    let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_end_matches('/');
    let host = if has_port(host) { host.to_owned() } else { format!("{host}:80") };
    let address = host.to_socket_addrs().map_err(|error| bad(&error.to_string()))?.next();
    let address = address.ok_or_else(|| bad("no such host"))?;

    let mut headers = vec![("Content-Type", "application/x-www-form-urlencoded")];
    for header in &flags.headers {
        let (name, value) = header.split_once(':').ok_or_else(|| Error::Header(header.clone()))?;
        if header.contains(['\r', '\n']) {
            return Err(Error::Header(header.escape_debug().to_string()));
        }
        headers.push((name.trim(), value.trim()));
    }
    if let Some(tenant) = &flags.tenant {
        if tenant.contains(['\r', '\n']) {
            return Err(Error::Header(tenant.escape_debug().to_string()));
        }
        headers.push(("X-Scope-OrgID", tenant));
    }
    let pairs: Vec<(&str, &str)> = parameters.iter().map(|(key, of)| (*key, of.as_str())).collect();
    let prefix = if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
    let path = format!("{prefix}/api/v1/{path}");
    let sent = bench::http::request(address, "POST", &path, &headers, form(&pairs).as_bytes());
    sent.map_err(|source| Error::Connection { server: server.clone(), source })
}

/// Whether the host names a port; the colons of an IPv6 address are none.
fn has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(before, _)| !before.contains(':') || before.ends_with(']'))
}

fn unlike(flags: &QueryFlags, response: &Response) -> Error {
    let body: String = response.text().trim().chars().take(300).collect();
    Error::Answer { server: flags.server.clone(), status: response.status, body }
}

/// What the server says is wrong, and a caret where it says `line:column`.
fn refused(query: &str, json: &Value) -> String {
    let told = json["error"].as_str().unwrap_or("no reason is given");
    match place(query, told) {
        Some(at) => format!("{told}\n{}", caret(query, Span::new(at, at))),
        None => told.to_owned(),
    }
}

/// The byte of the query that the first `line:column:` of a parse error means.
fn place(query: &str, told: &str) -> Option<u32> {
    let before = told.split_once(": parse error").map(|(before, _)| before)?;
    let place = before.rsplit(' ').next()?;
    let (line, column) = place.split_once(':')?;
    let (line, column): (usize, usize) = (line.parse().ok()?, column.parse().ok()?);
    let before: usize =
        query.split('\n').take(line.checked_sub(1)?).map(|line| line.len() + 1).sum();
    u32::try_from(before + column.checked_sub(1)?).ok()
}

/// Columns of the terminal, as its shell says.
fn width() -> usize {
    let told = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    told.unwrap_or(100).clamp(40, 400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_or_go_back_from_now() {
        let now = TimestampMs(1_000_000_500);
        let read = |text| time("time", text, now).ok();
        assert_eq!(read("now"), Some(1_000_000_500));
        assert_eq!(read("-1m"), Some(999_940_500));
        assert_eq!(read("now-1h30m"), Some(994_600_500));
        assert_eq!(read("12.25"), Some(12_250));
        assert_eq!(read("-12.25"), Some(-12_250));
        assert_eq!(read("1970-01-01T00:00:01Z"), Some(1_000));
        assert_eq!((read("then"), read("now+1h")), (None, None));
        assert_eq!((seconds(-1), seconds(12_250)), ("-0.001".to_owned(), "12.250".to_owned()));
    }

    #[test]
    fn a_refusal_points_at_its_place_in_the_query() {
        let json =
            serde_json::json!({"error": "invalid parameter \"query\": 2:5: parse error: no"});
        let told = refused("a +\nsum(b", &json);
        assert!(told.ends_with("parse error: no\n  sum(b\n      ^\n"), "{told}");
        let other = serde_json::json!({"error": "3:x: parse error"});
        assert_eq!(refused("a", &other), "3:x: parse error");
    }

    #[test]
    fn a_host_may_have_a_port() {
        let with = ["a:1", "[::1]:9", "127.0.0.1:80"].map(has_port);
        let without = ["a", "[::1]", "::1"].map(has_port);
        assert_eq!((with, without), ([true; 3], [false; 3]));
    }
}
