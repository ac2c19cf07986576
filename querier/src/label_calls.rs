//! `labels`, `label/{name}/values`, `series`, `metadata`: what there is, without samples.

use crate::call::Call;
use crate::error::Error;
use crate::params::Params;
use crate::querier::Querier;
use crate::render::{Annotations, Data, TRUNCATED, success, success_holding};
use crate::run::SERIES_BYTES;
use crate::time_param::{TIME_MAX, TIME_MIN};
use crate::{json, label_name, language, run};
use axum::response::Response;
use guard::Limit;
use model::mutation::MetricMetadata;
use model::read::{LabelAnswer, LabelQuery, LabelWant, MetadataQuery};
use model::{Kind, TenantId, TimeRange};

/// How many bytes a text takes beside its letters.
const TEXT_BYTES: u64 = 32;

pub(crate) async fn names(querier: Querier, call: Call) -> Result<Response, Error> {
    let matcher_sets = language::matcher_sets(&querier, &call, None).await?;
    let query = label_query(&call.params, LabelWant::Names, matcher_sets)?;
    ask(&querier, &call, query).await
}

pub(crate) async fn values(querier: Querier, call: Call) -> Result<Response, Error> {
    let name = label_name::unescape(&call.path_label);
    if name.is_empty() {
        return Err(Error::invalid(format!("invalid label name: {name:?}")));
    }
    let matcher_sets = language::matcher_sets(&querier, &call, None).await?;
    let query = label_query(&call.params, LabelWant::Values(name.into()), matcher_sets)?;
    ask(&querier, &call, query).await
}

pub(crate) async fn series(querier: Querier, call: Call) -> Result<Response, Error> {
    if call.params.all("match[]").next().is_none() {
        return Err(Error::invalid("no match[] parameter provided"));
    }
    let matcher_sets = language::matcher_sets(&querier, &call, Some("match[]")).await?;
    let query = label_query(&call.params, LabelWant::Series, matcher_sets)?;
    ask(&querier, &call, query).await
}

fn label_query(
    params: &Params,
    want: LabelWant,
    matcher_sets: Vec<Vec<model::Matcher>>,
) -> Result<LabelQuery, Error> {
    let limit = params.limit()?;
    let start = params.time_or("start", TIME_MIN)?;
    let end = params.time_or("end", TIME_MAX)?;
    let range = TimeRange::inclusive(start, end);
    Ok(LabelQuery { want, matcher_sets, range, limit, tombstones_max: u64::MAX })
}

/// Asks for one more than may be answered, to see a cut.
async fn ask(querier: &Querier, call: &Call, mut query: LabelQuery) -> Result<Response, Error> {
    let wanted = Limit(query.limit).get();
    let limits = querier.limits_of(&call.context.tenant);
    query.tombstones_max = limits.max_tombstones.get();
    let allowed = limits.max_series;
    query.limit = match wanted.min(allowed.get()) {
        u64::MAX => 0,
        least => least.saturating_add(1),
    };
    let ask = |context| querier.inner.source.labels(context, query);
    let (answer, purse) = run::bounded(querier, &call.context, ask, bytes_of).await?;
    let mut annotations = Annotations::default();
    let data = match answer {
        LabelAnswer::Texts(mut texts) => {
            cut(&mut texts, wanted, allowed, call, &mut annotations)?;
            Data::Texts(texts)
        }
        LabelAnswer::Series(mut sets) => {
            cut(&mut sets, wanted, allowed, call, &mut annotations)?;
            Data::LabelSets(sets)
        }
    };
    Ok(success_holding(data, &annotations, Some(purse)))
}

/// What the answer takes in memory, about.
pub(crate) fn bytes_of(answer: &LabelAnswer) -> u64 {
    match answer {
        LabelAnswer::Texts(texts) => texts.iter().map(|text| TEXT_BYTES + text.len() as u64).sum(),
        LabelAnswer::Series(sets) => (sets.len() as u64).saturating_mul(SERIES_BYTES),
    }
}

fn cut<T>(
    rows: &mut Vec<T>,
    wanted: u64,
    allowed: Limit,
    call: &Call,
    annotations: &mut Annotations,
) -> Result<(), Error> {
    let count = u64::try_from(rows.len()).unwrap_or(u64::MAX);
    if count > wanted {
        rows.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
        annotations.warnings.push(TRUNCATED.to_owned());
    } else if allowed.is_exceeded_by(count) {
        return Err(too_many_rows(allowed, &call.context.tenant));
    }
    Ok(())
}

/// That an answer has more rows than are allowed.
pub(crate) fn too_many_rows(allowed: Limit, tenant: &TenantId) -> Error {
    Error::new(
        Kind::Unexecutable,
        format!(
            "the answer has more than {} rows: limit `max_query_series` of tenant `{tenant}`; narrow \
             it by match[], start and end, or ask with a limit",
            allowed.0
        ),
    )
}

pub(crate) async fn metadata(querier: Querier, call: Call) -> Result<Response, Error> {
    let limit = count_param(&call.params, "limit")?;
    // Of this one alone, 0 is no limit.
    let per_metric = match count_param(&call.params, "limit_per_metric")? {
        0 => usize::MAX,
        per_metric => per_metric,
    };
    let metric = Some(call.params.get("metric")).filter(|metric| !metric.is_empty());
    let query = MetadataQuery { metric: metric.map(Into::into) };
    let ask = |context| querier.inner.source.metadata(context, query);
    let bytes = |answer: &Vec<MetricMetadata>| {
        let texts = |of: &MetricMetadata| of.metric.len() + of.help.len() + of.unit.len();
        answer.iter().map(|of| 3 * TEXT_BYTES + texts(of) as u64).sum()
    };
    let (answer, _held) = run::bounded(&querier, &call.context, ask, bytes).await?;
    let json = metadata_json(&answer, limit, per_metric);
    Ok(success(Data::Json(json), &Annotations::default()))
}

/// How many are wanted at most; absent or negative is all of them.
fn count_param(params: &Params, key: &str) -> Result<usize, Error> {
    match params.get(key) {
        "" => Ok(usize::MAX),
        text => match text.parse::<i64>() {
            Ok(count) => Ok(usize::try_from(count).unwrap_or(usize::MAX)),
            Err(_) => Err(Error::invalid(format!("{key} must be a number"))),
        },
    }
}

/// `{"metric":[{"type":…,"help":…,"unit":…}]}`; `answer` is ascending by metric.
fn metadata_json(answer: &[MetricMetadata], limit: usize, per_metric: usize) -> Vec<u8> {
    let mut out = vec![b'{'];
    let metrics = answer.chunk_by(|a, b| a.metric == b.metric).take(limit);
    for (index, entries) in metrics.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        json::push_string(&mut out, entries.first().map_or("", |entry| &entry.metric));
        out.extend_from_slice(b":[");
        for (index, entry) in entries.iter().take(per_metric).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"type\":");
            json::push_string(&mut out, entry.metric_type.as_str());
            out.extend_from_slice(b",\"help\":");
            json::push_string(&mut out, &entry.help);
            out.extend_from_slice(b",\"unit\":");
            json::push_string(&mut out, &entry.unit);
            out.push(b'}');
        }
        out.push(b']');
    }
    out.push(b'}');
    out
}
