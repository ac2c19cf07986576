//! `status/tsdb`, `cardinality/*`, `series/count`: which metrics, labels and values have the most
//! series.
//!
//! Counted are the series of the tenant with a sample in the last hour, or on the day `date`, or
//! between `start` and `end`; those that match, if there is a `match[]` or a `selector`. What this
//! process cannot know, as the number of chunks, is 0.
//!
//! Not here: the counting (`census.rs`).

use crate::call::Call;
use crate::census::{Census, Wanted, top};
use crate::error::Error;
use crate::params::Params;
use crate::querier::Querier;
use crate::render::{Annotations, Data, success};
use crate::run::{self, Desk};
use crate::time_param::{TIME_MAX, TIME_MIN, parse_time};
use crate::{json, language};
use axum::response::Response;
use model::time::DAY_MS;
use model::{METRIC_NAME, Matcher, TimeRange, TimestampMs};
use std::io::Write;

/// A series is open for so many milliseconds after its last sample.
const RECENT_MS: i64 = 3_600_000;

/// The first and the last moment that are asked about.
#[derive(Clone, Copy, Debug)]
struct Span(TimestampMs, TimestampMs);

/// `status/tsdb`: the highest counts of each kind.
pub(crate) async fn tsdb(querier: Querier, call: Call) -> Result<Response, Error> {
    let limit = tsdb_limit(&call.params)?;
    let span = span(&call.params, Span::recent(&querier))?;
    let matcher_sets = language::matcher_sets(&querier, &call, Some("match[]")).await?;
    let render = move |census: &Census| tsdb_json(census, limit, span);
    let out = counted(&querier, &call, span, matcher_sets, None, render).await?;
    Ok(success(Data::Json(out), &Annotations::default()))
}

/// `cardinality/label_names`: the labels with the most values.
pub(crate) async fn label_names(querier: Querier, call: Call) -> Result<Response, Error> {
    let limit = cardinality_limit(&call.params)?;
    let span = span(&call.params, Span::recent(&querier))?;
    let matcher_sets = selector(&querier, &call).await?;
    let render = move |census: &Census| label_names_json(census, limit);
    let out = counted(&querier, &call, span, matcher_sets, None, render).await?;
    Ok(json::response(out))
}

/// `cardinality/label_values`: the values of some labels with the most series.
pub(crate) async fn label_values(querier: Querier, call: Call) -> Result<Response, Error> {
    let limit = cardinality_limit(&call.params)?;
    let span = span(&call.params, Span::recent(&querier))?;
    let mut names: Vec<String> = call.params.all("label_names[]").map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Err(Error::invalid("'label_names[]' param is required"));
    }
    if names.iter().any(String::is_empty) {
        return Err(Error::invalid("invalid 'label_names' param ''"));
    }
    let matcher_sets = selector(&querier, &call).await?;
    let wanted = names.clone();
    let render = move |census: &Census| label_values_json(census, &names, limit);
    let out = counted(&querier, &call, span, matcher_sets, Some(wanted), render).await?;
    Ok(json::response(out))
}

/// `series/count`: how many series there are, of all times unless a time is given.
pub(crate) async fn series_count(querier: Querier, call: Call) -> Result<Response, Error> {
    let span = span(&call.params, Span(TIME_MIN, TIME_MAX))?;
    let matcher_sets = language::matcher_sets(&querier, &call, Some("match[]")).await?;
    let render = |census: &Census| format!("[{}]", census.series).into_bytes();
    let out = counted(&querier, &call, span, matcher_sets, Some(Vec::new()), render).await?;
    Ok(success(Data::Json(out), &Annotations::default()))
}

/// How many series the tenant has, of all times.
pub(crate) async fn series_of_all_times(querier: &Querier, call: &Call) -> Result<u64, Error> {
    let every = vec![Vec::new()];
    let render = |census: &Census| census.series.to_be_bytes().to_vec();
    let span = Span(TIME_MIN, TIME_MAX);
    let out = counted(querier, call, span, every, Some(Vec::new()), render).await?;
    Ok(out.try_into().map_or(0, u64::from_be_bytes))
}

/// Counts, and renders what was counted, when it is the tenant's turn.
async fn counted(
    querier: &Querier,
    call: &Call,
    span: Span,
    matcher_sets: Vec<Vec<Matcher>>,
    names: Option<Vec<String>>,
    render: impl FnOnce(&Census) -> Vec<u8> + Send + 'static,
) -> Result<Vec<u8>, Error> {
    let limits = querier.limits_of(&call.context.tenant);
    let tombstones_max = limits.max_tombstones.get();
    let range = TimeRange::inclusive(span.0, span.1);
    let wanted = Wanted { matcher_sets, range, names, tombstones_max };
    let work = move |desk: &Desk| Census::take(desk, &wanted).map(|census| render(&census));
    let (out, _) = run::run(querier, &call.context, run::timeout(limits, None), work).await?;
    Ok(out)
}

impl Span {
    /// As long as a series is open.
    fn recent(querier: &Querier) -> Self {
        let now = querier.inner.clock.now();
        Self(now.minus_ms(RECENT_MS).max(TIME_MIN), now)
    }
}

/// The day `date`, or from `start` to `end`, or what is meant without them.
fn span(params: &Params, usual: Span) -> Result<Span, Error> {
    let date = params.get("date");
    if !date.is_empty() {
        let begin = parse_time(&format!("{date}T00:00:00Z"))
            .map_err(|_| Error::param("date", format!("{date:?} is no day, as 2026-01-31 is")))?;
        return Ok(Span(begin, begin.plus_ms(DAY_MS - 1)));
    }
    let start = params.time_or("start", usual.0)?;
    let end = params.time_or("end", usual.1)?;
    Ok(Span(start, end))
}

fn tsdb_limit(params: &Params) -> Result<usize, Error> {
    let text = params.get("limit");
    if text.is_empty() {
        return Ok(10);
    }
    match text.parse::<i64>() {
        Ok(limit @ 1..=10_000) => Ok(usize::try_from(limit).unwrap_or(10)),
        Ok(limit) if limit > 10_000 => Err(Error::invalid("limit must not exceed 10000")),
        _ => Err(Error::invalid("limit must be a positive number")),
    }
}

fn cardinality_limit(params: &Params) -> Result<usize, Error> {
    let text = params.get("limit");
    if text.is_empty() {
        return Ok(20);
    }
    match text.parse::<i64>() {
        Ok(limit @ 0..=500) => Ok(usize::try_from(limit).unwrap_or(20)),
        Ok(limit) if limit > 500 => {
            Err(Error::invalid("'limit' param cannot be greater than '500'"))
        }
        Ok(_) => Err(Error::invalid("'limit' param cannot be less than '0'")),
        Err(_) => Err(Error::invalid(format!("'limit' param {text:?} is no number"))),
    }
}

/// The matchers of `selector`, if there is one.
async fn selector(querier: &Querier, call: &Call) -> Result<Vec<Vec<Matcher>>, Error> {
    language::selectors_of(querier, call, "selector", Some("selector")).await
}

fn tsdb_json(census: &Census, limit: usize, span: Span) -> Vec<u8> {
    let Span(start, end) = if census.series == 0 { Span::default() } else { span };
    let mut out = Vec::new();
    // Writing into memory does not fail.
    let _ = write!(
        out,
        "{{\"headStats\":{{\"numSeries\":{},\"numLabelPairs\":{},\"chunkCount\":0,\
         \"minTime\":{},\"maxTime\":{}}}",
        census.series,
        census.pairs(),
        start.0,
        end.0
    );
    push_top(&mut out, "seriesCountByMetricName", limit, census.values(METRIC_NAME));
    let values = census.labels.iter();
    let counts = values.map(|(name, values)| (&**name, to_u64(values.len())));
    push_top(&mut out, "labelValueCountByLabelName", limit, counts);
    let bytes = census.labels.iter().map(|(name, values)| {
        (&**name, values.keys().map(|value| to_u64(value.len())).sum::<u64>())
    });
    push_top(&mut out, "memoryInBytesByLabelName", limit, bytes);
    let pairs = census.labels.iter().flat_map(|(name, values)| {
        values.iter().map(move |(value, count)| ((&**name, &**value), *count))
    });
    let pairs = top(pairs, limit).into_iter();
    let pairs: Vec<(String, u64)> =
        pairs.map(|((name, value), count)| (format!("{name}={value}"), count)).collect();
    let pairs = pairs.iter().map(|(pair, count)| (pair.as_str(), *count));
    push_rows(&mut out, "seriesCountByLabelValuePair", pairs);
    out.push(b'}');
    out
}

impl Default for Span {
    fn default() -> Self {
        Self(TimestampMs(0), TimestampMs(0))
    }
}

/// The greatest counts first; of equal ones, the first in order.
fn push_top<'a>(
    out: &mut Vec<u8>,
    key: &str,
    limit: usize,
    counts: impl Iterator<Item = (&'a str, u64)>,
) {
    push_rows(out, key, top(counts, limit).into_iter());
}

fn push_rows<'a>(out: &mut Vec<u8>, key: &str, rows: impl Iterator<Item = (&'a str, u64)>) {
    let _ = write!(out, ",\"{key}\":");
    push_list(out, rows, |out, (name, value)| {
        out.extend_from_slice(b"{\"name\":");
        json::push_string(out, name);
        let _ = write!(out, ",\"value\":{value}}}");
    });
}

fn push_list<T>(out: &mut Vec<u8>, rows: impl Iterator<Item = T>, push: impl Fn(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (index, row) in rows.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push(out, row);
    }
    out.push(b']');
}

fn label_names_json(census: &Census, limit: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let _ = write!(
        out,
        "{{\"label_values_count_total\":{},\"label_names_count\":{},\"cardinality\":",
        census.pairs(),
        census.labels.len()
    );
    let counts = census.labels.iter().map(|(name, values)| (&**name, to_u64(values.len())));
    push_list(&mut out, top(counts, limit).into_iter(), |out, (name, count)| {
        out.extend_from_slice(b"{\"label_name\":");
        json::push_string(out, name);
        let _ = write!(out, ",\"label_values_count\":{count}}}");
    });
    out.push(b'}');
    out
}

/// `names` ascend and are unique.
fn label_values_json(census: &Census, names: &[String], limit: usize) -> Vec<u8> {
    let series_of = |name: &str| census.values(name).map(|(_, count)| count).sum::<u64>();
    let labels = top(names.iter().map(|name| (name.as_str(), series_of(name))), usize::MAX);
    let mut out = Vec::new();
    let _ = write!(out, "{{\"series_count_total\":{},\"labels\":", census.series);
    push_list(&mut out, labels.into_iter(), |out, (name, series)| {
        out.extend_from_slice(b"{\"label_name\":");
        json::push_string(out, name);
        let values = census.values(name).count();
        let _ = write!(out, ",\"label_values_count\":{values},\"series_count\":{series}");
        out.extend_from_slice(b",\"cardinality\":");
        push_list(out, top(census.values(name), limit).into_iter(), |out, (value, count)| {
            out.extend_from_slice(b"{\"label_value\":");
            json::push_string(out, value);
            let _ = write!(out, ",\"series_count\":{count}}}");
        });
        out.push(b'}');
    });
    out.push(b'}');
    out
}

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
