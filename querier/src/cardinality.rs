//! `status/tsdb`: which metrics, labels and pairs have the most series, counted from label sets.
//!
//! Counted are the series of the tenant with a sample in the last hour. What this process cannot
//! know, as the number of chunks, is 0.

use crate::call::Call;
use crate::error::Error;
use crate::params::Params;
use crate::querier::Querier;
use crate::render::{Annotations, Data, success};
use crate::run::{self, Desk};
use crate::{json, time_param};
use axum::response::Response;
use model::read::{LabelAnswer, LabelQuery, LabelWant};
use model::{Kind, LabelSet, TimeRange, TimestampMs};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

/// Series with a sample in so many milliseconds are counted.
const RECENT_MS: i64 = 3_600_000;

/// The most series that are counted: more would need a plan of its own.
const SERIES_MAX: u64 = 200_000;

pub(crate) async fn tsdb(querier: Querier, call: Call) -> Result<Response, Error> {
    let limit = limit(&call.params)?;
    let now = querier.inner.clock.now();
    let start = now.minus_ms(RECENT_MS).max(time_param::TIME_MIN);
    let query = LabelQuery {
        want: LabelWant::Series,
        matcher_sets: Vec::new(),
        range: TimeRange::inclusive(start, now),
        limit: SERIES_MAX + 1,
        tombstones_max: querier.limits_of(&call.context.tenant).max_tombstones.get(),
    };
    let ask = |context| querier.inner.source.labels(context, query);
    let LabelAnswer::Series(sets) = run::bounded(&querier, &call.context, ask).await? else {
        return Err(Error::new(Kind::Internal, "asked for series, got something else"));
    };
    if u64::try_from(sets.len()).unwrap_or(u64::MAX) > SERIES_MAX {
        let tenant = &call.context.tenant;
        let message = format!("tenant `{tenant}` has more than {SERIES_MAX} series to count");
        return Err(Error::new(Kind::Unexecutable, message));
    }
    let timeout = run::timeout(querier.limits_of(&call.context.tenant), None);
    let work = move |_: &Desk| Ok(rendered(&sets, limit, (start, now)));
    let (out, _) = run::run(&querier, &call.context, timeout, work).await?;
    Ok(success(Data::Json(out), &Annotations::default()))
}

fn limit(params: &Params) -> Result<usize, Error> {
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

/// A label and a value.
type Pair<'a> = (&'a str, &'a str);

fn rendered(sets: &[LabelSet], limit: usize, range: (TimestampMs, TimestampMs)) -> Vec<u8> {
    let mut metrics: BTreeMap<&str, usize> = BTreeMap::new();
    let mut pairs: BTreeMap<Pair<'_>, usize> = BTreeMap::new();
    for set in sets {
        *metrics.entry(set.metric_name()).or_default() += 1;
        for (name, value) in set.iter() {
            *pairs.entry((name, value)).or_default() += 1;
        }
    }
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, value) in pairs.keys() {
        values.entry(name).or_default().insert(value);
    }
    let (start, end) = if sets.is_empty() { (0, 0) } else { (range.0.0, range.1.0) };
    let mut out = Vec::new();
    // Writing into memory does not fail.
    let _ = write!(
        out,
        "{{\"headStats\":{{\"numSeries\":{},\"numLabelPairs\":{},\"chunkCount\":0,\
         \"minTime\":{start},\"maxTime\":{end}}}",
        sets.len(),
        pairs.len()
    );
    let owned = |(name, count): (&&str, &usize)| ((*name).to_owned(), *count);
    push_top(&mut out, "seriesCountByMetricName", limit, metrics.iter().map(owned));
    let counts = values.iter().map(|(name, values)| ((*name).to_owned(), values.len()));
    push_top(&mut out, "labelValueCountByLabelName", limit, counts);
    let bytes = values.iter().map(|(name, values)| {
        ((*name).to_owned(), values.iter().map(|value| value.len()).sum::<usize>())
    });
    push_top(&mut out, "memoryInBytesByLabelName", limit, bytes);
    let counts = pairs.iter().map(|((name, value), count)| (format!("{name}={value}"), *count));
    push_top(&mut out, "seriesCountByLabelValuePair", limit, counts);
    out.push(b'}');
    out
}

/// The greatest counts first; of equal ones, the first in order.
fn push_top(
    out: &mut Vec<u8>,
    key: &str,
    limit: usize,
    counts: impl Iterator<Item = (String, usize)>,
) {
    let mut counts: Vec<(String, usize)> = counts.collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let _ = write!(out, ",\"{key}\":[");
    for (index, (name, value)) in counts.iter().take(limit).enumerate() {
        out.extend_from_slice(if index == 0 { b"{\"name\":" } else { b",{\"name\":" });
        json::push_string(out, name);
        let _ = write!(out, ",\"value\":{value}}}");
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value as Json, json};

    #[test]
    fn the_contracts_example_is_counted() {
        let set = |instance: &str| {
            LabelSet::from_pairs([("__name__", "up"), ("job", "a"), ("instance", instance)])
        };
        let sets = [set("x").unwrap(), set("yy").unwrap()];
        let range = (TimestampMs(1), TimestampMs(2));
        let json: Json = serde_json::from_slice(&rendered(&sets, 2, range)).unwrap();
        assert_eq!(
            json["headStats"],
            json!({"numSeries": 2, "numLabelPairs": 4, "chunkCount": 0, "minTime": 1, "maxTime": 2})
        );
        assert_eq!(json["seriesCountByMetricName"], json!([{"name": "up", "value": 2}]));
        assert_eq!(
            json["labelValueCountByLabelName"],
            json!([{"name": "instance", "value": 2}, {"name": "__name__", "value": 1}])
        );
        assert_eq!(
            json["memoryInBytesByLabelName"],
            json!([{"name": "instance", "value": 3}, {"name": "__name__", "value": 2}])
        );
        assert_eq!(
            json["seriesCountByLabelValuePair"],
            json!([{"name": "__name__=up", "value": 2}, {"name": "job=a", "value": 2}])
        );
    }
}
