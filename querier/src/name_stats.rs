//! `status/metric_names_stats`: which metrics are asked for, how often, and when last.
//!
//! Counted are queries whose selectors name the metric, answered by this process since it started.
//! Metrics that are there and were never asked for are told with a count of 0.
//!
//! # Invariants
//! - The names of one tenant take at most [`TENANT_BYTES_MAX`]; later ones are left out.
//! - Those of all take at most [`BYTES_MAX`]; the tenant that asked longest ago is forgotten.

use crate::call::Call;
use crate::error::Error;
use crate::params::{Params, parse_int};
use crate::querier::Querier;
use crate::run::{self, Desk};
use crate::time_param::{TIME_MAX, TIME_MIN};
use crate::{json, label_calls, language};
use axum::response::Response;
use model::read::{LabelAnswer, LabelQuery, LabelWant};
use model::{Kind, METRIC_NAME, MatchOp, Matcher, TenantId, Text, TimeRange, TimestampMs};
use promql::Expr;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::sync::{Mutex, PoisonError};

/// What is counted takes so much at most: of all tenants, and of one.
const BYTES_MAX: u64 = 32 << 20;
const TENANT_BYTES_MAX: u64 = 1 << 20;
/// A tenant takes so much, and a name so much beside its letters.
const TENANT_BYTES: u64 = 1 << 10;
const NAME_BYTES: u64 = 96;
/// What is longer is no metric's name.
const NAME_BYTES_MAX: usize = 2048;

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
    tenants: HashMap<TenantId, OfTenant>,
    /// The tenants by the turn in which each asked last.
    turns: BTreeMap<u64, TenantId>,
    turn: u64,
    bytes: u64,
}

/// What one tenant asked for.
#[derive(Debug, Default)]
struct OfTenant {
    names: BTreeMap<Text, Asked>,
    turn: u64,
    bytes: u64,
}

impl Known {
    fn note(&mut self, tenant: &TenantId, names: &BTreeSet<Text>, now: TimestampMs) {
        let known = self.tenants.entry(tenant.clone()).or_insert_with(|| {
            self.bytes += TENANT_BYTES;
            OfTenant { bytes: TENANT_BYTES, ..OfTenant::default() }
        });
        for name in names {
            let bytes = NAME_BYTES + to_u64(name.len());
            if let Some(asked) = known.names.get_mut(name) {
                asked.count += 1;
                asked.last = now;
            } else if known.bytes + bytes <= TENANT_BYTES_MAX {
                known.names.insert(name.clone(), Asked { count: 1, last: now });
                known.bytes += bytes;
                self.bytes += bytes;
            }
        }
        self.turn += 1;
        self.turns.remove(&known.turn);
        known.turn = self.turn;
        self.turns.insert(self.turn, tenant.clone());
        self.forget();
    }

    /// Forgets those who asked longest ago, as long as all together are too many.
    fn forget(&mut self) {
        while self.bytes > BYTES_MAX
            && let Some((_, tenant)) = self.turns.pop_first()
        {
            let gone = self.tenants.remove(&tenant);
            self.bytes -= gone.map_or(0, |gone| gone.bytes);
        }
    }
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
            known.note(&tenant, &names, now);
        }
    }

    fn of(&self, tenant: &TenantId) -> BTreeMap<Text, Asked> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: BTreeMap<Text, Asked> = BTreeMap::new();
        for tenant in tenant.members() {
            for (name, asked) in known.tenants.get(&tenant).into_iter().flat_map(|of| &of.names) {
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
    let value = &matchers.iter().find(named)?.value;
    (value.len() <= NAME_BYTES_MAX).then(|| value.clone())
}

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Who was asked for the least comes first: what nobody asks for need not be stored.
pub(crate) async fn metric_names_stats(querier: Querier, call: Call) -> Result<Response, Error> {
    let wish = Wish::read(&call.params)?;
    let limits = querier.limits_of(&call.context.tenant);
    let tombstones_max = limits.max_tombstones.get();
    let mut asked = querier.inner.names.of(&call.context.tenant);
    let since = querier.inner.names.since;
    let (allowed, tenant) = (limits.max_series, call.context.tenant.clone());
    let work = move |desk: &Desk| {
        let query = LabelQuery {
            want: LabelWant::Values(METRIC_NAME.into()),
            matcher_sets: Vec::new(),
            range: TimeRange::inclusive(TIME_MIN, TIME_MAX),
            // One more, to see that there are too many; 0 is all of them.
            limit: allowed.get().checked_add(1).unwrap_or(0),
            tombstones_max,
        };
        let answer = desk.source.labels(query)?;
        desk.source.purse.take(label_calls::bytes_of(&answer))?;
        let LabelAnswer::Texts(stored) = answer else {
            return Err(Error::new(Kind::Internal, "asked for names, got something else"));
        };
        if allowed.is_exceeded_by(to_u64(stored.len())) {
            let text = format!(
                "there are more than {} metrics: limit `max_query_series` of tenant `{tenant}`",
                allowed.0
            );
            return Err(Error::new(Kind::Unexecutable, text));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(number: usize) -> TenantId {
        TenantId::parse(&format!("t{number}")).unwrap()
    }

    fn names(count: usize) -> BTreeSet<Text> {
        (0..count).map(|number| format!("metric_{number}").into()).collect()
    }

    #[test]
    fn one_tenant_asks_for_no_more_names_than_it_may_and_others_keep_theirs() {
        let mut known = Known::default();
        known.note(&tenant(0), &names(1), TimestampMs(1));
        known.note(&tenant(1), &names(100_000), TimestampMs(2));
        known.note(&tenant(2), &names(2), TimestampMs(3));
        let count = |number| known.tenants[&tenant(number)].names.len();
        assert_eq!((count(0), count(2)), (1, 2));
        assert!((5_000..20_000).contains(&count(1)), "{}", count(1));
        assert!(known.tenants[&tenant(1)].bytes <= TENANT_BYTES_MAX);
    }

    #[test]
    fn of_tenants_without_end_those_that_asked_longest_ago_are_forgotten() {
        let mut known = Known::default();
        for number in 0..50_000 {
            known.note(&tenant(number), &names(1), TimestampMs(1));
            known.note(&tenant(0), &names(1), TimestampMs(2));
            assert!(known.bytes <= BYTES_MAX && known.turns.len() == known.tenants.len());
        }
        assert_eq!(known.tenants[&tenant(0)].names.values().next().unwrap().count, 50_001);
        assert!(!known.tenants.contains_key(&tenant(1)));
        assert!(known.tenants.contains_key(&tenant(49_999)));
        let held: u64 = known.tenants.values().map(|of| of.bytes).sum();
        assert_eq!(known.bytes, held);
    }

    #[test]
    fn what_is_longer_than_a_name_may_be_is_not_counted() {
        let named = |len| metric(&[Matcher::new(METRIC_NAME, MatchOp::Equal, "n".repeat(len))]);
        assert!(named(NAME_BYTES_MAX).is_some());
        assert_eq!(named(NAME_BYTES_MAX + 1), None);
    }
}
