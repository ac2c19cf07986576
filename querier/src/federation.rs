//! Several tenants read as one: every question is asked of each, and the answers are told apart by
//! the label `__tenant_id__`.
//!
//! A label of that name that was stored becomes `original___tenant_id__`. A matcher of
//! `__tenant_id__` chooses tenants, one of `original___tenant_id__` the stored label.
//!
//! # Invariants
//! - Tenants are asked one after the other, and bounds hold for all of them together.
//! - Nothing is deleted or asked to be purged for several tenants at once.
//!
//! Not here: who may read which tenants (`guard::identity`).

use crate::reconcile::join_metadata;
use crate::select::off_the_async_threads;
use crate::source::{Source, SourceAnswer, VersionAsk};
use model::exemplar::SeriesExemplars;
use model::read::{
    Activity, Estimate, ExemplarQuery, LabelAnswer, LabelQuery, LabelWant, MetadataAnswer,
    MetadataQuery, Selection, Wanted,
};
use model::{Context, DeleteRequest, Kind, LabelSet, Matcher, SeriesColumns, TenantId, Text};
use promql::SourceError;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

/// The label that tells tenants apart.
const TENANT: &str = "__tenant_id__";

/// What a stored label of that name is called.
const ORIGINAL: &str = "original___tenant_id__";

/// A source that answers for several tenants too.
#[derive(Clone, Debug)]
pub(crate) struct Federated(pub(crate) Arc<dyn Source>);

/// One of the tenants, and what is left to ask of it.
#[derive(Debug)]
struct Part {
    context: Arc<Context>,
    matchers: Vec<Matcher>,
}

impl Part {
    fn tenant(&self) -> &TenantId {
        &self.context.tenant
    }
}

/// The context of each tenant that is meant.
fn contexts(context: &Arc<Context>) -> impl Iterator<Item = Arc<Context>> + use<> {
    let context = Arc::clone(context);
    let tenants = context.tenant.members();
    tenants.into_iter().map(move |tenant| Arc::new(Context { tenant, ..Context::clone(&context) }))
}

/// The tenants that matchers choose, and what is left of the matchers.
fn parts(context: &Arc<Context>, matchers: &[Matcher]) -> Result<Vec<Part>, SourceError> {
    let mut parts = Vec::new();
    for context in contexts(context) {
        if let Some(matchers) = left(&context.tenant, matchers)? {
            parts.push(Part { context, matchers });
        }
    }
    Ok(parts)
}

/// What is left to ask of a tenant; `None` if the matchers do not choose it.
fn left(tenant: &TenantId, matchers: &[Matcher]) -> Result<Option<Vec<Matcher>>, SourceError> {
    let mut left = Vec::with_capacity(matchers.len());
    for matcher in matchers {
        match &*matcher.name {
            TENANT => {
                let compiled = matcher.compile().map_err(|error| invalid(&error))?;
                if !compiled.matches(tenant.as_str()) {
                    return Ok(None);
                }
            }
            ORIGINAL => left.push(Matcher::new(TENANT, matcher.op, matcher.value.clone())),
            _ => left.push(matcher.clone()),
        }
    }
    Ok(Some(left))
}

/// As [`left`], of several sets of which one has to match. No set at all is every series.
fn left_of(
    tenant: &TenantId,
    sets: &[Vec<Matcher>],
) -> Result<Option<Vec<Vec<Matcher>>>, SourceError> {
    let mut chosen = Vec::with_capacity(sets.len());
    for set in sets {
        chosen.extend(left(tenant, set)?);
    }
    Ok((!chosen.is_empty() || sets.is_empty()).then_some(chosen))
}

/// Says whose series it is.
fn name(labels: &mut LabelSet, tenant: &TenantId) {
    if let Some(stored) = labels.get(TENANT).cloned() {
        labels.set(ORIGINAL, stored);
    }
    labels.set(TENANT, tenant.as_str());
}

/// The answers of tenants, each with its tenant's name.
fn named<T>(of: Vec<(TenantId, Vec<T>)>, labels: fn(&mut T) -> &mut LabelSet) -> Vec<T> {
    let name_one = |tenant: &TenantId, mut one: T| {
        name(labels(&mut one), tenant);
        one
    };
    of.into_iter()
        .flat_map(|(tenant, all)| all.into_iter().map(move |one| name_one(&tenant, one)))
        .collect()
}

fn invalid(error: &impl std::fmt::Display) -> SourceError {
    SourceError { kind: Kind::Invalid, message: error.to_string() }
}

fn too_many(what: &str, max: u64) -> SourceError {
    let message = format!("the tenants have more than {max} {what} together");
    SourceError { kind: Kind::Unexecutable, message }
}

impl Federated {
    async fn select_each(
        &self,
        context: Arc<Context>,
        selection: Selection,
    ) -> Result<Vec<SeriesColumns>, SourceError> {
        let mut found = Vec::new();
        let mut bounds = selection.bounds;
        for part in parts(&context, &selection.matchers)? {
            let tenant = part.tenant().clone();
            // The tenant is a label too.
            let wanted = Wanted { labels: None, ..selection.wanted.clone() };
            let selection =
                Selection { matchers: part.matchers, bounds, wanted, ..selection.clone() };
            let series = self.0.select(part.context, selection).await?;
            let samples: u64 = series.iter().map(SeriesColumns::samples).sum();
            bounds.series_max = bounds.series_max.saturating_sub(series.len() as u64);
            bounds.samples_max = bounds.samples_max.saturating_sub(samples);
            found.push((tenant, series));
        }
        off_the_async_threads(move || {
            let mut all = named(found, |one: &mut SeriesColumns| &mut one.labels);
            all.sort_by(|a, b| a.labels.cmp(&b.labels));
            all
        })
        .await
    }

    async fn estimate_each(
        &self,
        context: Arc<Context>,
        selection: Selection,
    ) -> Result<Estimate, SourceError> {
        let mut sum = Estimate::default();
        for part in parts(&context, &selection.matchers)? {
            let selection = Selection { matchers: part.matchers, ..selection.clone() };
            sum = sum.and(self.0.estimate(part.context, selection).await?);
        }
        Ok(sum)
    }

    /// A version of all tenants together; one without a version leaves all without.
    async fn versions_each(
        &self,
        context: Arc<Context>,
        asks: Vec<VersionAsk>,
    ) -> Result<Vec<u64>, SourceError> {
        let mut hashes = vec![Some(DefaultHasher::new()); asks.len()];
        for context in contexts(&context) {
            let mut of_tenant = Vec::with_capacity(asks.len());
            for ask in &asks {
                // Of one that is not chosen any version will do.
                let matchers = left(&context.tenant, &ask.matchers)?.unwrap_or_default();
                of_tenant.push(VersionAsk { matchers, range: ask.range });
            }
            let versions = self.0.versions(context, of_tenant).await?;
            for (hash, version) in hashes.iter_mut().zip(versions) {
                match hash {
                    Some(hash) if version != 0 => version.hash(hash),
                    hash => *hash = None,
                }
            }
        }
        Ok(hashes.into_iter().map(|hash| hash.map_or(0, |hash| hash.finish().max(1))).collect())
    }

    async fn labels_each(
        &self,
        context: Arc<Context>,
        query: LabelQuery,
    ) -> Result<LabelAnswer, SourceError> {
        let limit = if query.limit == 0 { u64::MAX } else { query.limit };
        let cut = usize::try_from(limit).unwrap_or(usize::MAX);
        let is_part = matches!(query.want, LabelWant::SeriesPart(_));
        let (mut texts, mut sets, mut sets_count) = (BTreeSet::new(), Vec::new(), 0);
        for context in contexts(&context) {
            let tenant = context.tenant.clone();
            let Some(matcher_sets) = left_of(&tenant, &query.matcher_sets)? else { continue };
            let of_tenant = LabelQuery {
                want: wanted(&query.want),
                matcher_sets,
                limit: if asks_tenants(&query.want) { 1 } else { query.limit },
                ..query.clone()
            };
            match self.0.labels(context, of_tenant).await? {
                LabelAnswer::Texts(found) => add_texts(&query.want, &tenant, found, &mut texts),
                LabelAnswer::Series(found) => {
                    sets_count += found.len() as u64;
                    sets.push((tenant, found));
                    if is_part && sets_count > limit {
                        return Err(too_many("series", limit));
                    }
                }
            }
        }
        Ok(match query.want {
            LabelWant::Names | LabelWant::Values(_) => {
                LabelAnswer::Texts(texts.into_iter().take(cut).collect())
            }
            LabelWant::Series | LabelWant::SeriesPart(_) => {
                let joined = off_the_async_threads(move || {
                    let mut all = named(sets, |set: &mut LabelSet| set);
                    all.sort_unstable();
                    all.truncate(cut);
                    all
                });
                LabelAnswer::Series(joined.await?)
            }
        })
    }

    async fn metadata_each(
        &self,
        context: Arc<Context>,
        query: MetadataQuery,
    ) -> Result<MetadataAnswer, SourceError> {
        let mut answers = Vec::new();
        for context in contexts(&context) {
            answers.push(self.0.metadata(context, query.clone()).await?);
        }
        Ok(join_metadata(answers))
    }

    async fn exemplars_each(
        &self,
        context: Arc<Context>,
        query: ExemplarQuery,
    ) -> Result<Vec<SeriesExemplars>, SourceError> {
        let (mut found, mut exemplars_max) = (Vec::new(), query.exemplars_max);
        for context in contexts(&context) {
            let tenant = context.tenant.clone();
            let Some(matcher_sets) = left_of(&tenant, &query.matcher_sets)? else { continue };
            let of_tenant = ExemplarQuery { matcher_sets, exemplars_max, ..query.clone() };
            let mut series = self.0.exemplars(context, of_tenant).await?;
            let count: usize = series.iter().map(|one| one.exemplars.len()).sum();
            exemplars_max = exemplars_max.saturating_sub(count as u64);
            series.iter_mut().for_each(|one| name(&mut one.labels, &tenant));
            found.append(&mut series);
        }
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(found)
    }

    async fn activity_each(&self, context: Arc<Context>) -> Result<Activity, SourceError> {
        let mut sum = Activity::default();
        for context in contexts(&context) {
            let Activity { series, samples } = self.0.activity(context).await?;
            sum = Activity { series: sum.series + series, samples: sum.samples + samples };
        }
        Ok(sum)
    }
}

/// Whether the names of the tenants themselves are wanted.
fn asks_tenants(want: &LabelWant) -> bool {
    matches!(want, LabelWant::Values(name) if &**name == TENANT)
}

/// What to ask of a tenant. Of one whose name is wanted, whether it has anything.
fn wanted(want: &LabelWant) -> LabelWant {
    match want {
        LabelWant::Values(name) if &**name == TENANT => LabelWant::Names,
        LabelWant::Values(name) if &**name == ORIGINAL => LabelWant::Values(TENANT.into()),
        want => want.clone(),
    }
}

fn add_texts(want: &LabelWant, tenant: &TenantId, found: Vec<Text>, texts: &mut BTreeSet<Text>) {
    if asks_tenants(want) {
        texts.extend((!found.is_empty()).then(|| Text::from(tenant.as_str())));
        return;
    }
    if *want == LabelWant::Names && !found.is_empty() {
        texts.insert(TENANT.into());
        texts.extend(found.iter().any(|name| &**name == TENANT).then(|| Text::from(ORIGINAL)));
    }
    texts.extend(found);
}

/// Asks the source itself for one tenant, and each tenant for several.
macro_rules! ask {
    ($self:ident.$one:ident or $each:ident, $context:ident $(, $question:ident)?) => {
        if $context.tenant.is_union() {
            let all = $self.clone();
            Box::pin(async move { all.$each($context $(, $question)?).await })
        } else {
            $self.0.$one($context $(, $question)?)
        }
    };
}

impl Source for Federated {
    fn select(&self, context: Arc<Context>, of: Selection) -> SourceAnswer<Vec<SeriesColumns>> {
        ask!(self.select or select_each, context, of)
    }

    fn estimate(&self, context: Arc<Context>, of: Selection) -> SourceAnswer<Estimate> {
        ask!(self.estimate or estimate_each, context, of)
    }

    fn select_here(
        &self,
        context: &Arc<Context>,
        selection: &Selection,
    ) -> Option<Result<Vec<SeriesColumns>, SourceError>> {
        if context.tenant.is_union() { None } else { self.0.select_here(context, selection) }
    }

    fn estimate_here(
        &self,
        context: &Arc<Context>,
        selection: &Selection,
    ) -> Option<Result<Estimate, SourceError>> {
        if context.tenant.is_union() { None } else { self.0.estimate_here(context, selection) }
    }

    fn versions(&self, context: Arc<Context>, asks: Vec<VersionAsk>) -> SourceAnswer<Vec<u64>> {
        ask!(self.versions or versions_each, context, asks)
    }

    fn labels(&self, context: Arc<Context>, query: LabelQuery) -> SourceAnswer<LabelAnswer> {
        ask!(self.labels or labels_each, context, query)
    }

    fn metadata(
        &self,
        context: Arc<Context>,
        query: MetadataQuery,
    ) -> SourceAnswer<MetadataAnswer> {
        ask!(self.metadata or metadata_each, context, query)
    }

    fn exemplars(
        &self,
        context: Arc<Context>,
        query: ExemplarQuery,
    ) -> SourceAnswer<Vec<SeriesExemplars>> {
        ask!(self.exemplars or exemplars_each, context, query)
    }

    fn activity(&self, context: Arc<Context>) -> SourceAnswer<Activity> {
        ask!(self.activity or activity_each, context)
    }

    fn replication_factor(&self) -> usize {
        self.0.replication_factor()
    }

    fn delete(&self, context: Arc<Context>, request: DeleteRequest) -> SourceAnswer<()> {
        match context.tenant.is_union() {
            true => Box::pin(std::future::ready(Err(invalid(&"multiple org IDs present")))),
            false => self.0.delete(context, request),
        }
    }

    fn purge(&self, context: Arc<Context>) -> SourceAnswer<()> {
        match context.tenant.is_union() {
            true => Box::pin(std::future::ready(Err(invalid(&"multiple org IDs present")))),
            false => self.0.purge(context),
        }
    }
}
