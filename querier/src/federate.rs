//! `/federate`: the newest sample of every series that is asked for, as a scrape.
//!
//! Not here: how text is written (`exposition.rs`).

use crate::call::Call;
use crate::error::Error;
use crate::exposition::{self, Escaping, Newest};
use crate::language;
use crate::memory::Purse;
use crate::querier::Querier;
use crate::run::{self, Desk};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use model::read::{SelectBounds, Selection};
use model::sample::is_stale;
use model::{LabelSet, Matcher, QueryShard, SeriesColumns, TimeRange};
use promql::SeriesSource as _;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

/// A part of the answer is sent when it has so many bytes.
const PART_BYTES: usize = 32 << 10;

pub(crate) async fn federate(querier: Querier, call: Call) -> Result<Response, Error> {
    let escaping = escaping(&call.headers);
    let matcher_sets = language::matcher_sets(&querier, &call, None).await?;
    let limits = querier.limits_of(&call.context.tenant);
    let now = querier.inner.clock.now();
    let start = now.minus_ms(querier.inner.settings.lookback_delta_ms).plus_ms(1);
    let range = TimeRange::inclusive(start, now);
    let timeout = run::timeout(limits, None);
    let work = move |desk: &Desk| {
        let rows = newest(desk, matcher_sets, range)?;
        Ok((rows, Arc::clone(&desk.source.purse)))
    };
    let ((rows, purse), _) = run::run(&querier, &call.context, timeout, work).await?;
    let text = Parts { text: exposition::Text::new(rows, escaping), _purse: purse };
    let mut response =
        Response::new(Body::from_stream(stream::iter(text.map(Ok::<_, Infallible>))));
    let media_type = HeaderValue::from_static(escaping.media_type());
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    Ok(response)
}

/// Whether the caller takes names that are not plain as they are.
fn escaping(headers: &HeaderMap) -> Escaping {
    let mut accepts = headers.get_all(header::ACCEPT).iter();
    let allows = |value: &HeaderValue| {
        let text = value.to_str().unwrap_or_default();
        let parameters = text.split([',', ';']);
        parameters.map(str::trim).any(|parameter| parameter == "escaping=allow-utf-8")
    };
    if accepts.any(allows) { Escaping::AllowUtf8 } else { Escaping::Underscores }
}

/// The newest sample of each series, by metric name and then by labels. Who is stale is left out.
fn newest(
    desk: &Desk,
    matcher_sets: Vec<Vec<Matcher>>,
    range: TimeRange,
) -> Result<Vec<Newest>, Error> {
    let mut found: BTreeMap<(String, LabelSet), Newest> = BTreeMap::new();
    for matchers in matcher_sets {
        let bounds = SelectBounds::NONE;
        let selection = Selection {
            matchers,
            range,
            days: None,
            shard: QueryShard::ALL,
            bounds,
            wanted: model::read::Wanted::ALL,
        };
        for series in desk.source.select(&selection)? {
            desk.check()?;
            if let Some(newest) = last(series) {
                let key = (newest.labels.metric_name().to_owned(), newest.labels.clone());
                found.insert(key, newest);
            }
        }
    }
    Ok(found.into_values().collect())
}

/// The last sample of a series, unless it says that the series has ended, or is a native histogram.
fn last(series: SeriesColumns) -> Option<Newest> {
    let SeriesColumns { labels, floats, histograms } = series;
    let float_ms = floats.timestamps_ms.last().copied();
    if histograms.timestamps_ms.last().copied() > float_ms {
        return None;
    }
    let value = floats.values.last().copied().filter(|value| !is_stale(*value))?;
    Some(Newest { labels, timestamp_ms: float_ms?, value })
}

/// The text, part by part.
#[derive(Debug)]
struct Parts {
    text: exposition::Text,
    /// Given back with the last byte, or when nobody reads on.
    _purse: Arc<Purse>,
}

impl Iterator for Parts {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        while out.len() < PART_BYTES && self.text.push_next(&mut out) {}
        (!out.is_empty()).then(|| Bytes::from(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Histogram;
    use model::histogram::Counts;
    use std::sync::Arc;

    #[test]
    fn a_series_whose_newest_sample_is_a_native_histogram_is_left_out() {
        let counts =
            Counts::Integer { count: 3, zero_count: 0, positive: Vec::new(), negative: Vec::new() };
        let histogram = Arc::new(Histogram { sum: 2.5, counts, ..Histogram::stale() });
        let newest = |float_ms: i64| {
            let mut series = SeriesColumns::default();
            series.floats.push(float_ms, 1.0);
            series.histograms.timestamps_ms.push(2);
            series.histograms.values.push(Arc::clone(&histogram));
            last(series).map(|newest| (newest.timestamp_ms, newest.value))
        };
        assert_eq!((newest(1), newest(3)), (None, Some((3, 1.0))));
    }
}
