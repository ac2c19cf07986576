//! All processes over one database as one replica: each request goes to who has the places that it is
//! about, and the answers are joined.
//!
//! A read is asked of all owners by one version of the ring row, so that their answers are the whole. If one
//! knows another version, or does not answer, the ring is looked at again and all of it asked anew, for a
//! while. A write is not: what became of it may not be known, and its sender sends it again.
//!
//! # Invariants
//! - An answer is the whole, or it is an error.
//! - A series' number is passed on only if its place's owner gave it, by the ring that the write goes by.
//!
//! Not here: what numbers mean (`fleet/numbers.rs`); who has which place (`cluster::ownership`); how bytes travel (`wire::peer`).

mod numbers;

use super::guest::Guest;
use super::joined;
use super::member::{Member, Places, Placing};
use cluster::ownership::Incarnation;
use cluster::ownership::ring_row::RingRow;
use model::exemplar::SeriesExemplars;
use model::mutation::{Mutation, SeriesRows, WriteAnswer};
use model::read::{
    Activity, Estimate, ExemplarQuery, LabelAnswer, LabelQuery, MetadataAnswer, MetadataQuery,
    Selection,
};
use model::{
    Context, DeleteAnswer, DeleteRequest, Kind, Matcher, SeriesColumns, SeriesRef, TimeRange,
    Tombstone,
};
use numbers::{Generations, Numbers};
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use wire::replica::{Answer, Replica, ReplicaError};

/// How often a read is asked again after nobody, or not everybody, had its places.
const ASK_AGAIN: usize = 8;
/// The pause before that.
const PAUSE: Duration = Duration::from_millis(250);

/// How other processes are reached.
pub trait Peers: Debug + Send + Sync {
    /// The process of this incarnation, which listens at `address`.
    fn replica(&self, who: Incarnation, address: &str) -> Arc<dyn Replica>;

    /// Nobody else will be asked any more.
    fn keep_only(&self, members: &BTreeSet<Incarnation>);
}

/// What this process is to the ring.
#[derive(Clone, Debug)]
enum Here {
    /// It has places, or may be given some.
    Member(Places, Arc<Member>),
    /// It sends requests to who has.
    Guest(Arc<Guest>),
}

/// All processes as one replica.
#[derive(Clone, Debug)]
pub struct Fleet {
    here: Here,
    peers: Arc<dyn Peers>,
    numbers: Arc<Numbers>,
    ask_again: usize,
}

impl Fleet {
    /// All processes, as one of them knows them.
    #[must_use]
    pub fn new(member: Arc<Member>, peers: Arc<dyn Peers>) -> Self {
        let own = Places::new(Arc::clone(&member));
        Self::over_peers(Here::Member(own, member), peers)
    }

    /// All processes, as one knows them that keeps no data.
    #[must_use]
    pub fn of_guest(guest: Arc<Guest>, peers: Arc<dyn Peers>) -> Self {
        Self::over_peers(Here::Guest(guest), peers)
    }

    fn over_peers(here: Here, peers: Arc<dyn Peers>) -> Self {
        Self { here, peers, numbers: Arc::default(), ask_again: ASK_AGAIN }
    }

    /// Why this process does not take requests, if it does not.
    #[must_use]
    pub fn why_not_ready(&self) -> Option<String> {
        match &self.here {
            Here::Member(_, member) => member.why_not_ready(),
            Here::Guest(guest) => guest.why_not_ready(),
        }
    }

    /// The same, of which each read is asked once.
    #[cfg(test)]
    pub(super) fn that_asks_once(self) -> Self {
        Self { ask_again: 0, ..self }
    }

    /// Makes sure that every member can be reached, before somebody asks for it.
    pub async fn meet(&self) {
        let mut members = Vec::new();
        if let Ok((row, _)) = self.known() {
            self.forget(&row);
            for who in row.members().keys() {
                // Who is not found now is looked for again.
                members.extend(self.replica(*who).await);
            }
        }
        if let Here::Guest(guest) = &self.here {
            guest.look(members).await;
        }
    }

    /// Who has which place, and which place has what. Both are of one look: what is known may change at any
    /// time, even the number of places.
    fn known(&self) -> Result<(RingRow, Placing), ReplicaError> {
        let known = match &self.here {
            Here::Member(_, member) => member.ring().map(|row| (row, member.placing().clone())),
            Here::Guest(guest) => {
                guest.known().map(|known| (known.row.clone(), known.placing.clone()))
            }
        };
        known.ok_or_else(|| unavailable("the ring is not known yet".to_owned()))
    }

    /// The places of this process, if it is this member.
    fn own(&self, who: Incarnation) -> Option<&Places> {
        match &self.here {
            Here::Member(own, member) => (member.me() == who).then_some(own),
            Here::Guest(_) => None,
        }
    }

    /// The replica of a member.
    async fn replica(&self, who: Incarnation) -> Result<Arc<dyn Replica>, ReplicaError> {
        if let Some(own) = self.own(who) {
            return Ok(Arc::new(own.clone()));
        }
        let address = self.address(who).await?;
        Ok(self.peers.replica(who, &address))
    }

    /// Where a member is found.
    async fn address(&self, who: Incarnation) -> Result<String, ReplicaError> {
        let found = match &self.here {
            Here::Guest(guest) => {
                guest.known().and_then(|known| known.addresses.get(&who).cloned())
            }
            Here::Member(_, member) => match member.address_of(who) {
                Some(address) => Some(address),
                None => {
                    let member = Arc::clone(member);
                    let asked = tokio::task::spawn_blocking(move || member.find(who)).await;
                    asked.ok().and_then(Result::ok).flatten()
                }
            },
        };
        found.ok_or_else(|| unavailable(format!("where {:032x} is found is not known", who.0)))
    }

    /// Whether a bug is planted in this member.
    fn is_impostor(&self) -> bool {
        matches!(&self.here, Here::Member(_, member) if member.is_impostor())
    }

    /// Whether each of them is found where nobody else is. Who was restarted has the address of who it was
    /// before, and would answer for itself where the other one is meant.
    async fn are_apart(&self, owners: &BTreeSet<Incarnation>) -> Result<(), ReplicaError> {
        let mut addresses = BTreeSet::new();
        for who in owners {
            let address = self.address(*who).await?;
            if !addresses.insert(address.clone()) && !self.is_impostor() {
                let why = format!("two members are found at {address}: one of them has ended");
                return Err(unavailable(why));
            }
        }
        Ok(())
    }

    /// Forgets who is no member any more.
    fn forget(&self, row: &RingRow) {
        let is_changed = match &self.here {
            Here::Member(_, member) => member.forget_others(row),
            // It forgot when it learned this row.
            Here::Guest(_) => true,
        };
        if is_changed {
            self.peers.keep_only(&row.members().keys().copied().collect());
        }
    }

    /// Asks everybody who has one of the places that it is about, or any.
    async fn over<T: Send + 'static>(
        &self,
        context: &Context,
        about: impl Fn(&Placing) -> Option<BTreeSet<usize>>,
        ask: impl Fn(&dyn Replica, Arc<Context>) -> Answer<T>,
    ) -> Result<Vec<T>, ReplicaError> {
        let mut outcome = self.over_once(context, &about, &ask).await;
        for _ in 0..self.ask_again {
            if !matches!(&outcome, Err(error) if error.kind == Kind::Unavailable) {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            outcome = self.over_once(context, &about, &ask).await;
        }
        outcome
    }

    async fn over_once<T: Send + 'static>(
        &self,
        context: &Context,
        about: &impl Fn(&Placing) -> Option<BTreeSet<usize>>,
        ask: &impl Fn(&dyn Replica, Arc<Context>) -> Answer<T>,
    ) -> Result<Vec<T>, ReplicaError> {
        let (row, placing) = self.known()?;
        self.forget(&row);
        let owners: BTreeSet<Incarnation> = match about(&placing) {
            Some(places) => places.iter().map(|place| row.owner(*place)).collect(),
            None => row.ring().vnodes().iter().map(|(_, owner)| *owner).collect(),
        };
        let context = Arc::new(Context { ring_version: row.version(), ..context.clone() });
        self.are_apart(&owners).await?;
        let mut asked = Vec::with_capacity(owners.len());
        for who in owners {
            asked.push(ask(&*self.replica(who).await?, Arc::clone(&context)));
        }
        joined::all(asked).await
    }

    async fn about<'a, T: Send + 'static>(
        &self,
        context: &Context,
        sets: impl IntoIterator<Item = &'a [Matcher]>,
        ask: impl Fn(&dyn Replica, Arc<Context>) -> Answer<T>,
    ) -> Result<Vec<T>, ReplicaError> {
        let sets: Vec<&[Matcher]> = sets.into_iter().collect();
        let about = |placing: &Placing| placing.of_matchers(&context.tenant, sets.iter().copied());
        self.over(context, about, ask).await
    }

    /// The places of this process, and the context to ask them in, if what some matchers may match is in one of them.
    fn only_own(&self, context: &Context, matchers: &[Matcher]) -> Option<(&Places, Context)> {
        let (row, placing) = self.known().ok()?;
        let places = placing.of_matchers(&context.tenant, [matchers])?;
        let place = places.first().filter(|_| places.len() == 1)?;
        let context = Context { ring_version: row.version(), ..context.clone() };
        Some((self.own(row.owner(*place))?, context))
    }

    async fn write(self, mutation: Mutation) -> Result<WriteAnswer, ReplicaError> {
        let (row, placing) = self.known()?;
        let mut owners = row.ring().vnodes().iter().map(|(_, owner)| *owner);
        let only = owners.next().filter(|first| owners.all(|owner| owner == *first));
        if let Some(own) = only.and_then(|only| self.own(only)) {
            return own.write(mutation).await;
        }
        let is_number = |rows: &SeriesRows| matches!(rows.series, SeriesRef::Number(_));
        let given = match mutation.series.iter().any(is_number) {
            true => {
                let tenant = &mutation.context.tenant;
                self.numbers.of(tenant, row.version(), mutation.generation)
            }
            false => Some(Generations::new()),
        };
        let Some(given) = given else { return Ok(WriteAnswer::NeedLabels) };
        let parts = placing.cut_by_owner(&mutation, |place| row.owner(place));
        let context =
            Arc::new(Context { ring_version: row.version(), ..(*mutation.context).clone() });
        drop(mutation);
        let (mut asked, mut index) = (Vec::new(), Vec::new());
        for (who, mut part) in parts {
            part.mutation.context = Arc::clone(&context);
            part.mutation.generation = given.get(&who).copied().unwrap_or(0);
            asked.push(self.replica(who).await?.write(part.mutation));
            index.push((who, part.index));
        }
        let answers = joined::all(asked).await?;
        let told = index.iter().zip(&answers).map(|((who, _), answer)| match answer {
            WriteAnswer::Written(written) => (*who, Some(written.generation)),
            WriteAnswer::NeedLabels => (*who, None),
        });
        // A straggler of the ring before must not undo what is known of this one.
        let is_now = self.known().is_ok_and(|(now, _)| now.version() == row.version());
        let generation = match is_now {
            true => self.numbers.learn(&context.tenant, row.version(), told),
            false => 0,
        };
        // A number of another's place would go to that one: whoever gave it is not the one to ask by it.
        let (row, placing) = (&row, &placing);
        let is_of = |who: Incarnation, place: usize| {
            is_now && placing.all().contains(&place) && row.owner(place) == who
        };
        let number = |(who, _): &(Incarnation, Vec<u32>)| {
            let who = *who;
            move |all: u32| is_of(who, placing.within(all).0).then_some(all)
        };
        let numbers: Vec<_> = index.iter().map(number).collect();
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
        let mut revision_max = request.revision_max;
        // Who holds samples of a higher revision raises it for all.
        for _ in 0..2 {
            let request = DeleteRequest { revision_max, ..request.clone() };
            let sets = request.matcher_sets.iter().map(Vec::as_slice);
            let ask = |one: &dyn Replica, context| one.delete(context, request.clone());
            let answers = self.about(&context, sets, ask).await?;
            let revisions = answers.iter().map(|answer| answer.revision_max);
            let (lowest, highest) = (revisions.clone().min(), revisions.max());
            revision_max = revision_max.max(highest.unwrap_or_default());
            if lowest.is_none_or(|lowest| lowest == revision_max) {
                break;
            }
        }
        Ok(DeleteAnswer { revision_max })
    }
}

fn unavailable(message: String) -> ReplicaError {
    ReplicaError { replica: "cassandra".to_owned(), kind: Kind::Unavailable, message }
}

fn refused(error: &store::Error) -> ReplicaError {
    ReplicaError { replica: "cassandra".to_owned(), kind: error.kind(), message: error.to_string() }
}

impl Replica for Fleet {
    fn write(&self, mutation: Mutation) -> Answer<WriteAnswer> {
        Box::pin(self.clone().write(mutation))
    }

    fn select(&self, context: Arc<Context>, selection: Selection) -> Answer<Vec<SeriesColumns>> {
        let all = self.clone();
        Box::pin(async move {
            let ask = |one: &dyn Replica, context| one.select(context, selection.clone());
            let answers = all.about(&context, [&*selection.matchers], ask).await?;
            joined::series(answers, selection.bounds).map_err(|error| refused(&error))
        })
    }

    fn estimate(&self, context: Arc<Context>, selection: Selection) -> Answer<Estimate> {
        let all = self.clone();
        Box::pin(async move {
            let ask = |one: &dyn Replica, context| one.estimate(context, selection.clone());
            let answers = all.about(&context, [&*selection.matchers], ask).await?;
            Ok(answers.into_iter().fold(Estimate::default(), Estimate::and))
        })
    }

    fn select_here(
        &self,
        context: &Context,
        selection: &Selection,
    ) -> Option<Result<Vec<SeriesColumns>, ReplicaError>> {
        let (own, context) = self.only_own(context, &selection.matchers)?;
        own.select_here(&context, selection)
    }

    fn estimate_here(
        &self,
        context: &Context,
        selection: &Selection,
    ) -> Option<Result<Estimate, ReplicaError>> {
        let (own, context) = self.only_own(context, &selection.matchers)?;
        own.estimate_here(&context, selection)
    }

    fn labels(&self, context: Arc<Context>, query: LabelQuery) -> Answer<LabelAnswer> {
        let all = self.clone();
        Box::pin(async move {
            let sets = query.matcher_sets.iter().map(Vec::as_slice);
            let ask = |one: &dyn Replica, context| one.labels(context, query.clone());
            let answers = all.about(&context, sets, ask).await?;
            joined::labels(&query, answers).map_err(|error| refused(&error))
        })
    }

    fn metadata(&self, context: Arc<Context>, query: MetadataQuery) -> Answer<MetadataAnswer> {
        let all = self.clone();
        Box::pin(async move {
            let about = |placing: &Placing| {
                let metric = query.metric.as_deref()?;
                Some(BTreeSet::from([placing.of_metric(&context.tenant, metric)]))
            };
            let ask = |one: &dyn Replica, context| one.metadata(context, query.clone());
            Ok(joined::metadata(all.over(&context, about, ask).await?))
        })
    }

    fn exemplars(
        &self,
        context: Arc<Context>,
        query: ExemplarQuery,
    ) -> Answer<Vec<SeriesExemplars>> {
        let all = self.clone();
        Box::pin(async move {
            let sets = query.matcher_sets.iter().map(Vec::as_slice);
            let ask = |one: &dyn Replica, context| one.exemplars(context, query.clone());
            let answers = all.about(&context, sets, ask).await?;
            joined::exemplars(answers, query.exemplars_max).map_err(|error| refused(&error))
        })
    }

    fn versions(&self, context: Arc<Context>, ranges: Vec<TimeRange>) -> Answer<Vec<u64>> {
        let all = self.clone();
        Box::pin(async move {
            let ask = |one: &dyn Replica, context| one.versions(context, ranges.clone());
            let answers = all.over(&context, |_| None, ask).await?;
            Ok(joined::versions(&answers, ranges.len()))
        })
    }

    fn activity(&self, context: Arc<Context>) -> Answer<Activity> {
        let all = self.clone();
        Box::pin(async move {
            let ask = |one: &dyn Replica, context| one.activity(context);
            Ok(joined::activity(&all.over(&context, |_| None, ask).await?))
        })
    }

    fn delete(&self, context: Arc<Context>, request: DeleteRequest) -> Answer<DeleteAnswer> {
        Box::pin(self.clone().delete(context, request))
    }

    fn tombstones(&self, context: Arc<Context>) -> Answer<Vec<Tombstone>> {
        let all = self.clone();
        Box::pin(async move {
            let ask = |one: &dyn Replica, context| one.tombstones(context);
            Ok(joined::tombstones(all.over(&context, |_| None, ask).await?))
        })
    }

    fn purge(&self, context: Arc<Context>) -> Answer<()> {
        let all = self.clone();
        Box::pin(async move {
            let ask = |one: &dyn Replica, context| one.purge(context);
            all.over(&context, |_| None, ask).await?;
            Ok(())
        })
    }
}
