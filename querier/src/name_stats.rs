//! `status/metric_names_stats`: which metrics are asked for, how often, and when last.
//!
//! Counted are queries whose selectors name the metric, answered by this process since it started.
//! Metrics that are there and were never asked for are told with a count of 0.
//!
//! # Invariants
//! - At most [`NAMES_MAX`] names of all tenants are counted; later ones are left out.

use crate::call::Call;
use crate::error::Error;
use crate::json;
use crate::language;
use crate::params::{Params, parse_int};
use crate::querier::Querier;
use crate::run::{self, Desk};
use crate::time_param::{TIME_MAX, TIME_MIN};
use axum::response::Response;
use model::read::{LabelAnswer, LabelQuery, LabelWant};
use model::{Kind, METRIC_NAME, MatchOp, Matcher, TenantId, Text, TimeRange, TimestampMs};
use promql::Expr;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::sync::{Mutex, PoisonError};

/// So many names are counted.
const NAMES_MAX: usize = 200_000;

/// So many names are told unless another number is asked for.
const LIMIT: usize = 1_000;

/// How often a name was asked for, and when last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Asked {
    count: u64,
    last: TimestampMs,
}

/// The counts of every tenant.
#[derive(Debug)]
pub(crate) struct NameStats {
    since: TimestampMs,
    // Guards the counts. A leaf.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    tenants: HashMap<TenantId, BTreeMap<Text, Asked>>,
    names: usize,
}

impl NameStats {
    /// Nothing was asked yet.
    pub(crate) fn new(since: TimestampMs) -> Self {
        Self { since, known: Mutex::default() }
    }

    /// Counts the metrics that a query names, each once.
    pub(crate) fn note(&self, tenant: &TenantId, expr: &Expr, now: TimestampMs) {
        let names: BTreeSet<Text> =
            language::selectors(expr).iter().filter_map(|matchers| metric(matchers)).collect();
        if names.is_empty() {
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for tenant in tenant.members() {
            let Known { tenants, names: count } = &mut *known;
            let asked = tenants.entry(tenant).or_default();
            for name in &names {
                if let Some(asked) = asked.get_mut(name) {
                    asked.count += 1;
                    asked.last = now;
                } else if *count < NAMES_MAX {
                    asked.insert(name.clone(), Asked { count: 1, last: now });
                    *count += 1;
                }
            }
        }
    }

    fn of(&self, tenant: &TenantId) -> BTreeMap<Text, Asked> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: BTreeMap<Text, Asked> = BTreeMap::new();
        for tenant in tenant.members() {
            for (name, asked) in known.tenants.get(&tenant).into_iter().flatten() {
                let sum = all.entry(name.clone()).or_default();
                *sum = Asked { count: sum.count + asked.count, last: sum.last.max(asked.last) };
            }
        }
        all
    }
}

/// The one metric that matchers name.
fn metric(matchers: &[Matcher]) -> Option<Text> {
    let named = |matcher: &&Matcher| &*matcher.name == METRIC_NAME && matcher.op == MatchOp::Equal;
    matchers.iter().find(named).map(|matcher| matcher.value.clone())
}

/// Who was asked for the least comes first: what nobody asks for need not be stored.
pub(crate) async fn metric_names_stats(querier: Querier, call: Call) -> Result<Response, Error> {
    let wish = Wish::read(&call.params)?;
    let limits = querier.limits_of(&call.context.tenant);
    let tombstones_max = limits.max_tombstones.get();
    let mut asked = querier.inner.names.of(&call.context.tenant);
    let since = querier.inner.names.since;
    let work = move |desk: &Desk| {
        let query = LabelQuery {
            want: LabelWant::Values(METRIC_NAME.into()),
            matcher_sets: Vec::new(),
            range: TimeRange::inclusive(TIME_MIN, TIME_MAX),
            limit: 0,
            tombstones_max,
        };
        let LabelAnswer::Texts(stored) = desk.source.labels(query)? else {
            return Err(Error::new(Kind::Internal, "asked for names, got something else"));
        };
        for name in stored {
            asked.entry(name).or_default();
        }
        wish.render(asked, since)
    };
    let (out, _) = run::run(&querier, &call.context, run::timeout(limits, None), work).await?;
    Ok(json::response(out))
}

/// Which names are wanted.
#[derive(Debug)]
struct Wish {
    limit: usize,
    /// Only those asked for so often at most.
    count_max: u64,
    /// Only names that match it.
    pattern: String,
}

impl Wish {
    fn read(params: &Params) -> Result<Self, Error> {
        let number = |key: &str| match params.get(key) {
            "" => Ok(None),
            text => match parse_int(text, "Atoi") {
                Ok(number) if number >= 0 => Ok(u64::try_from(number).ok()),
                Ok(_) => Err(Error::param(key, format!("{key} must be non-negative"))),
                Err(reason) => Err(Error::param(key, reason)),
            },
        };
        let limit = number("limit")?.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let count_max = number("le")?.unwrap_or(u64::MAX);
        let pattern = params.get("match_pattern").to_owned();
        Ok(Self { limit: limit.unwrap_or(LIMIT), count_max, pattern })
    }

    fn render(&self, asked: BTreeMap<Text, Asked>, since: TimestampMs) -> Result<Vec<u8>, Error> {
        let matcher =
            Matcher::new(METRIC_NAME, MatchOp::Regex, format!(".*(?:{}).*", self.pattern));
        let pattern = matcher.compile();
        let pattern = pattern.map_err(|error| Error::param("match_pattern", error))?;
        let total = asked.len();
        let mut rows: Vec<(Text, Asked)> = asked
            .into_iter()
            .filter(|(name, asked)| asked.count <= self.count_max && pattern.matches(name))
            .collect();
        rows.sort_by(|a, b| a.1.count.cmp(&b.1.count).then_with(|| a.0.cmp(&b.0)));
        rows.truncate(self.limit);
        let mut out = Vec::new();
        // Writing into memory does not fail.
        let _ = write!(
            out,
            "{{\"status\":\"success\",\"statsCollectedSince\":{},\"statsCollectedRecordsTotal\":{total},\
             \"records\":[",
            since.0.div_euclid(1_000)
        );
        for (index, (name, asked)) in rows.iter().enumerate() {
            out.extend_from_slice(if index == 0 {
                b"{\"metricName\":"
            } else {
                b",{\"metricName\":"
            });
            json::push_string(&mut out, name);
            let (count, last) = (asked.count, asked.last.0.div_euclid(1_000));
            let _ =
                write!(out, ",\"queryRequestsCount\":{count},\"lastRequestTimestamp\":{last}}}");
        }
        out.extend_from_slice(b"]}");
        Ok(out)
    }
}
