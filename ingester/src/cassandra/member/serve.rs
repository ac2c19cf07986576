//! Requests to the places of this process: what its peers, and it itself, ask of it.
//!
//! A request is cut by places, each place answers for itself, and the answers are joined. One with the ring
//! version 0 is of a caller that knows no ring: it is answered if this process has every place that it is
//! about. One with a version is answered for those that are this process's by that version, and only by it:
//! so the answers of all owners are the whole, and nothing is left out in silence.
//!
//! Not here: the places of others (`fleet.rs`).

use super::open::{Open, Served};
use super::{Member, Placing};
use crate::cassandra::agreement::ring_bytes;
use crate::cassandra::joined;
use crate::compaction_thread::Sealed;
use crate::embedded::Embedded;
use model::exemplar::SeriesExemplars;
use model::mutation::{Mutation, WriteAnswer};
use model::read::{
    Activity, Estimate, ExemplarQuery, LabelAnswer, LabelQuery, MetadataAnswer, MetadataQuery,
    Selection,
};
use model::{
    Context, DeleteAnswer, DeleteRequest, Kind, Matcher, SeriesColumns, SeriesRef, TimeRange,
    Tombstone,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use store::engine::{JobReport, Stats, Together};
use wire::replica::{Answer, Replica, ReplicaError, RingAnswer};

/// The places of a process as one replica.
#[derive(Clone, Debug)]
pub struct Places {
    member: Arc<Member>,
}

/// A request that was let in to some places.
#[derive(Debug)]
struct Entered {
    open: Arc<Open>,
    places: Vec<(usize, Arc<Served>)>,
}

impl Places {
    /// Those of a member.
    #[must_use]
    pub fn new(member: Arc<Member>) -> Self {
        Self { member }
    }

    /// Brings everything that this process has in memory into sstables.
    ///
    /// # Errors
    /// What a place's store says; others are flushed all the same.
    pub async fn flush(&self) -> Result<JobReport, ReplicaError> {
        let mut sum = JobReport::default();
        for report in self.each(|one| async move { one.flush().await }).await? {
            sum.samples += report.samples;
            sum.sstables += report.sstables;
            sum.sstable_bytes += report.sstable_bytes;
        }
        Ok(sum)
    }

    /// The same, and all sstables into their dense form.
    ///
    /// # Errors
    /// As [`Places::flush`].
    pub async fn seal(&self) -> Result<Sealed, ReplicaError> {
        let mut sum = Sealed::default();
        for sealed in self.each(|one| async move { one.seal().await }).await? {
            sum.windows += sealed.windows;
            sum.written_bytes += sealed.written_bytes;
        }
        Ok(sum)
    }

    /// Does it to all open places, one after the other; the first error when all had their turn.
    async fn each<T, F: Future<Output = Result<T, ReplicaError>>>(
        &self,
        act: impl Fn(Arc<Embedded>) -> F,
    ) -> Result<Vec<T>, ReplicaError> {
        let open = Arc::clone(&self.member.open.read());
        let mut outcomes = Vec::new();
        for served in open.by_place.values() {
            outcomes.push(act(Arc::clone(&served.embedded)).await);
        }
        outcomes.into_iter().collect()
    }

    /// The sizes of all open places together.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Arc::clone(&self.member.open.read()).stats()
    }

    fn placing(&self) -> &Placing {
        &self.member.placing
    }

    fn unavailable(&self, message: String) -> ReplicaError {
        let replica = self.member.parts.name.clone();
        ReplicaError { replica, kind: Kind::Unavailable, message }
    }

    fn store_error(&self, error: &store::Error) -> ReplicaError {
        let replica = self.member.parts.name.clone();
        ReplicaError { replica, kind: error.kind(), message: error.to_string() }
    }

    /// Lets a request in to places, all of which have to be served here.
    fn enter(&self, places: &BTreeSet<usize>) -> Result<Entered, ReplicaError> {
        let member = &self.member;
        let state = member.state.lock();
        let now = member.parts.boot.now();
        let open = Arc::clone(&member.open.read());
        let mut entered = Vec::with_capacity(places.len());
        for place in places {
            let served = open.by_place.get(place);
            match served.filter(|_| state.owner.serves_place(*place, now)) {
                Some(served) => entered.push((*place, Arc::clone(served))),
                None if member.is_rash() && state.owner.keeps(*place) => {}
                None => return Err(self.unavailable(format!("place {place} is not served here"))),
            }
        }
        drop(state);
        Ok(Entered { open, places: entered })
    }

    /// Looks whether what a request did may still be said.
    fn leave(&self, entered: &Entered) -> Result<(), ReplicaError> {
        if self.member.is_careless() {
            return Ok(());
        }
        let places = entered.places.iter().map(|(place, _)| *place).collect();
        let again = self.enter(&places)?;
        let same = entered.places.iter().zip(&again.places);
        let is_same = same.into_iter().all(|((_, before), (_, now))| Arc::ptr_eq(before, now));
        let why = || self.unavailable("a place was opened anew meanwhile".to_owned());
        if is_same { Ok(()) } else { Err(why()) }
    }

    /// The places that this process has to answer for when it is asked about some, or any.
    fn asked(
        &self,
        context: &Context,
        about: Option<BTreeSet<usize>>,
    ) -> Result<BTreeSet<usize>, ReplicaError> {
        let about = about.unwrap_or_else(|| self.placing().all().collect());
        let mut state = self.member.state.lock();
        state.owner.heard_of(context.ring_version);
        let me = state.owner.me();
        let row = state.owner.row();
        let is_mine = |place: &usize| row.is_some_and(|row| row.owner(*place) == me);
        if context.ring_version == 0 {
            return Ok(about);
        }
        // Also if all of them are served here now: by the asker's ring another process is asked about some
        // of them too, and may have answered before it gave them away. What both tell would count twice.
        let known = row.map_or(0, |row| row.version());
        if known != context.ring_version {
            let asked = context.ring_version;
            return Err(self.unavailable(format!("asked by ring version {asked}, it is {known}")));
        }
        let mine: BTreeSet<usize> = about.into_iter().filter(is_mine).collect();
        if mine.is_empty() && !self.member.is_impostor() {
            // Only owners are asked: another one is meant, which was found here before this process began.
            return Err(self.unavailable("asked for the places of another process".to_owned()));
        }
        Ok(mine)
    }

    /// Asks places, all at once.
    async fn over<T: Send + 'static>(
        &self,
        places: &BTreeSet<usize>,
        ask: impl Fn(&Embedded) -> Answer<T>,
    ) -> Result<Vec<T>, ReplicaError> {
        let entered = self.enter(places)?;
        let near = entered.places.first().map(|(_, served)| Arc::clone(served.store.near()));
        let fetches = near.as_ref().map_or(0, |near| near.fetches());
        let asked = entered.places.iter().map(|(_, served)| ask(&served.embedded));
        let answers = joined::all(asked.collect()).await?;
        self.leave(&entered)?;
        if let Some(near) = near {
            near.answered(fetches);
        }
        Ok(answers)
    }

    /// Asks on the calling thread; `None` unless it is about one place, and that is likely to have near what
    /// it needs: for the database a thread of questions must not wait, nobody could call it back.
    pub(super) fn here<T>(
        &self,
        context: &Context,
        matchers: &[Matcher],
        ask: impl FnOnce(&Embedded) -> Option<Result<T, ReplicaError>>,
    ) -> Option<Result<T, ReplicaError>> {
        let about = self.placing().of_matchers(&context.tenant, [matchers]);
        let places = self.asked(context, about).ok().filter(|places| places.len() == 1)?;
        let entered = self.enter(&places).ok()?;
        let (_, served) = entered.places.first().filter(|(_, of)| of.store.near().is_all_near())?;
        let answer = ask(&served.embedded)?;
        // What may not be said, or not now, is asked anew where it can be waited for.
        self.leave(&entered).ok()?;
        let is_for_now = matches!(&answer, Err(error) if error.kind == Kind::Unavailable);
        (!is_for_now).then_some(answer)
    }

    /// Asks the places of some matchers.
    async fn about<'a, T: Send + 'static>(
        &self,
        context: &Context,
        sets: impl IntoIterator<Item = &'a [Matcher]>,
        ask: impl Fn(&Embedded) -> Answer<T>,
    ) -> Result<Vec<T>, ReplicaError> {
        let about = self.placing().of_matchers(&context.tenant, sets);
        let places = self.asked(context, about)?;
        self.over(&places, ask).await
    }

    async fn write(self, mutation: Mutation) -> Result<WriteAnswer, ReplicaError> {
        let context = Arc::clone(&mutation.context);
        let has_numbers =
            mutation.series.iter().any(|rows| matches!(rows.series, SeriesRef::Number(_)));
        let given = mutation.generation;
        let mut parts = self.placing().cut_by_place(&mutation);
        drop(mutation);
        let entered = self.enter(&parts.keys().copied().collect())?;
        let (generation, own) = entered.open.generations(&context.tenant);
        if has_numbers && given != generation {
            return Ok(WriteAnswer::NeedLabels);
        }
        let mut asked = Vec::with_capacity(parts.len());
        let mut index = Vec::with_capacity(parts.len());
        for (place, served) in &entered.places {
            let Some(mut part) = parts.remove(place) else { continue };
            // What the numbers were compared with: a store in which the tenant is another by now
            // refuses them.
            let own = own.get(place).copied().unwrap_or(0);
            part.mutation.generation = if has_numbers { own } else { 0 };
            asked.push(served.embedded.write(part.mutation));
            index.push((*place, part.index));
        }
        let answers = joined::all(asked).await?;
        // After the journal's quorum, and before the sender.
        self.leave(&entered)?;
        let placing = self.placing();
        let numbers: Vec<_> =
            index.iter().map(|(at, _)| |within| placing.number(*at, within)).collect();
        let parts = index.iter().zip(&numbers).zip(answers);
        let parts = parts.map(|(((_, index), number), answer)| {
            (index.as_slice(), number as &dyn Fn(u32) -> Option<u32>, answer)
        });
        Ok(joined::written(generation, parts))
    }

    async fn delete(
        self,
        context: Arc<Context>,
        request: DeleteRequest,
    ) -> Result<DeleteAnswer, ReplicaError> {
        let sets = request.matcher_sets.iter().map(Vec::as_slice);
        let about = self.placing().of_matchers(&context.tenant, sets);
        let places = self.asked(&context, about)?;
        let mut revision_max = request.revision_max;
        // A place that holds samples of a higher revision raises it for all.
        for _ in 0..2 {
            let request = DeleteRequest { revision_max, ..request.clone() };
            let ask = |one: &Embedded| one.delete(Arc::clone(&context), request.clone());
            let answers = self.over(&places, ask).await?;
            let lowest = answers.iter().map(|answer| answer.revision_max).min();
            revision_max =
                answers.iter().map(|answer| answer.revision_max).fold(revision_max, u32::max);
            if lowest.is_none_or(|lowest| lowest == revision_max) {
                break;
            }
        }
        Ok(DeleteAnswer { revision_max })
    }

    /// One number for what all places say of a range: it changes when one of them does, or the places do.
    async fn versions(
        self,
        context: Arc<Context>,
        ranges: Vec<TimeRange>,
    ) -> Result<Vec<u64>, ReplicaError> {
        let places = self.asked(&context, None)?;
        let ask = |one: &Embedded| one.versions(Arc::clone(&context), ranges.clone());
        let answers = self.over(&places, ask).await?;
        Ok(joined::versions(&answers, ranges.len()))
    }
}

impl Replica for Places {
    fn write(&self, mutation: Mutation) -> Answer<WriteAnswer> {
        Box::pin(self.clone().write(mutation))
    }

    fn select(&self, context: Arc<Context>, selection: Selection) -> Answer<Vec<SeriesColumns>> {
        let own = self.clone();
        Box::pin(async move {
            // All places together may bring what one may.
            let together: Arc<Together> = Arc::default();
            let ask = |one: &Embedded| {
                let together = Arc::clone(&together);
                one.select_together(Arc::clone(&context), selection.clone(), together)
            };
            let answers = own.about(&context, [&*selection.matchers], ask).await?;
            joined::series(answers, selection.bounds).map_err(|error| own.store_error(&error))
        })
    }

    fn estimate(&self, context: Arc<Context>, selection: Selection) -> Answer<Estimate> {
        let own = self.clone();
        Box::pin(async move {
            let ask = |one: &Embedded| one.estimate(Arc::clone(&context), selection.clone());
            let answers = own.about(&context, [&*selection.matchers], ask).await?;
            Ok(answers.into_iter().fold(Estimate::default(), Estimate::and))
        })
    }

    fn select_here(
        &self,
        context: &Context,
        selection: &Selection,
    ) -> Option<Result<Vec<SeriesColumns>, ReplicaError>> {
        self.here(context, &selection.matchers, |one| one.select_here(context, selection))
    }

    fn estimate_here(
        &self,
        context: &Context,
        selection: &Selection,
    ) -> Option<Result<Estimate, ReplicaError>> {
        self.here(context, &selection.matchers, |one| one.estimate_here(context, selection))
    }

    fn labels(&self, context: Arc<Context>, query: LabelQuery) -> Answer<LabelAnswer> {
        let own = self.clone();
        Box::pin(async move {
            let ask = |one: &Embedded| one.labels(Arc::clone(&context), query.clone());
            let sets = query.matcher_sets.iter().map(Vec::as_slice);
            let answers = own.about(&context, sets, ask).await?;
            joined::labels(&query, answers).map_err(|error| own.store_error(&error))
        })
    }

    fn metadata(&self, context: Arc<Context>, query: MetadataQuery) -> Answer<MetadataAnswer> {
        let own = self.clone();
        Box::pin(async move {
            let about = query
                .metric
                .as_ref()
                .map(|metric| BTreeSet::from([own.placing().of_metric(&context.tenant, metric)]));
            let places = own.asked(&context, about)?;
            let ask = |one: &Embedded| one.metadata(Arc::clone(&context), query.clone());
            Ok(joined::metadata(own.over(&places, ask).await?))
        })
    }

    fn exemplars(
        &self,
        context: Arc<Context>,
        query: ExemplarQuery,
    ) -> Answer<Vec<SeriesExemplars>> {
        let own = self.clone();
        Box::pin(async move {
            let ask = |one: &Embedded| one.exemplars(Arc::clone(&context), query.clone());
            let sets = query.matcher_sets.iter().map(Vec::as_slice);
            let answers = own.about(&context, sets, ask).await?;
            let joined = joined::exemplars(answers, query.exemplars_max);
            joined.map_err(|error| own.store_error(&error))
        })
    }

    fn versions(&self, context: Arc<Context>, ranges: Vec<TimeRange>) -> Answer<Vec<u64>> {
        Box::pin(self.clone().versions(context, ranges))
    }

    fn activity(&self, context: Arc<Context>) -> Answer<Activity> {
        let own = self.clone();
        Box::pin(async move {
            let places = own.asked(&context, None)?;
            let answers = own.over(&places, |one| one.activity(Arc::clone(&context))).await?;
            Ok(joined::activity(&answers))
        })
    }

    fn ring(&self, context: Arc<Context>) -> Answer<RingAnswer> {
        drop(context);
        let row = self.member.ring();
        let answer = row.ok_or_else(|| self.unavailable("the ring is not known yet".to_owned()));
        let addresses = self.member.addresses().into_iter().map(|(who, address)| (who.0, address));
        let addresses = addresses.collect();
        let answer = answer.map(|row| RingAnswer { row: ring_bytes(&row), addresses });
        Box::pin(std::future::ready(answer))
    }

    fn delete(&self, context: Arc<Context>, request: DeleteRequest) -> Answer<DeleteAnswer> {
        Box::pin(self.clone().delete(context, request))
    }

    fn tombstones(&self, context: Arc<Context>) -> Answer<Vec<Tombstone>> {
        let own = self.clone();
        Box::pin(async move {
            let places = own.asked(&context, None)?;
            let ask = |one: &Embedded| one.tombstones(Arc::clone(&context));
            Ok(joined::tombstones(own.over(&places, ask).await?))
        })
    }

    fn purge(&self, context: Arc<Context>) -> Answer<()> {
        let own = self.clone();
        Box::pin(async move {
            let places = own.asked(&context, None)?;
            own.over(&places, |one| one.purge(Arc::clone(&context))).await?;
            Ok(())
        })
    }
}
