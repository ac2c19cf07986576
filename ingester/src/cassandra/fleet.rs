//! All processes over one database as one replica: each request goes to who has the places that it is
//! about, and the answers are joined.
//!
//! A read is asked of all owners by one version of the ring row, so that their answers are the whole. If one
//! knows another version, or does not answer, the ring is looked at again and all of it asked anew, for a
//! while. A write is not: what became of it may not be known, and its sender sends it again.
//!
//! # Invariants
//! - An answer is the whole, or it is an error.
//! - Series numbers are given only by a process that has the whole ring: among several nobody knows a
//!   series by a number.
//!
//! Not here: who has which place (`cluster::ownership`); how bytes travel (`wire::peer`).

use super::joined;
use super::member::{Member, Places};
use cluster::ownership::Incarnation;
use cluster::ownership::ring_row::RingRow;
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
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
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

/// All processes as one replica.
#[derive(Clone, Debug)]
pub struct Fleet {
    member: Arc<Member>,
    own: Places,
    peers: Arc<dyn Peers>,
    // Where members are. A leaf.
    addresses: Arc<Mutex<BTreeMap<Incarnation, String>>>,
    ask_again: usize,
}

impl Fleet {
    /// All processes, as one of them knows them.
    #[must_use]
    pub fn new(member: Arc<Member>, peers: Arc<dyn Peers>) -> Self {
        let own = Places::new(Arc::clone(&member));
        Self { member, own, peers, addresses: Arc::default(), ask_again: ASK_AGAIN }
    }

    /// The same, of which each read is asked once.
    #[cfg(test)]
    pub(super) fn that_asks_once(self) -> Self {
        Self { ask_again: 0, ..self }
    }

    /// Makes sure that every member can be reached, before somebody asks for it.
    pub async fn meet(&self) {
        let Ok(row) = self.ring() else { return };
        self.forget(&row);
        for who in row.members().keys() {
            // Who is not found now is looked for again.
            drop(self.replica(*who).await);
        }
    }

    fn ring(&self) -> Result<RingRow, ReplicaError> {
        self.member.ring().ok_or_else(|| unavailable("the ring is not known yet".to_owned()))
    }

    /// The replica of a member.
    async fn replica(&self, who: Incarnation) -> Result<Arc<dyn Replica>, ReplicaError> {
        if who == self.member.me() {
            return Ok(Arc::new(self.own.clone()));
        }
        let address = self.address(who).await?;
        Ok(self.peers.replica(who, &address))
    }

    /// Where a member is found.
    async fn address(&self, who: Incarnation) -> Result<String, ReplicaError> {
        if who == self.member.me() {
            return Ok(self.member.address().to_owned());
        }
        let known = self.addresses.lock().get(&who).cloned();
        if let Some(address) = known {
            return Ok(address);
        }
        let member = Arc::clone(&self.member);
        let asked = tokio::task::spawn_blocking(move || member.address_of(who)).await;
        let found = asked.ok().and_then(Result::ok).flatten();
        let why = || unavailable(format!("where {:032x} is found is not known", who.0));
        let address = found.ok_or_else(why)?;
        self.addresses.lock().insert(who, address.clone());
        Ok(address)
    }

    /// Whether each of them is found where nobody else is. Who was restarted has the address of who it was
    /// before, and would answer for itself where the other one is meant.
    async fn are_apart(&self, owners: &BTreeSet<Incarnation>) -> Result<(), ReplicaError> {
        let mut addresses = BTreeSet::new();
        for who in owners {
            let address = self.address(*who).await?;
            if !addresses.insert(address.clone()) && !self.member.is_impostor() {
                let why = format!("two members are found at {address}: one of them has ended");
                return Err(unavailable(why));
            }
        }
        Ok(())
    }

    /// Forgets who is no member any more.
    fn forget(&self, row: &RingRow) {
        let mut addresses = self.addresses.lock();
        if addresses.keys().any(|who| !row.members().contains_key(who)) {
            addresses.retain(|who, _| row.members().contains_key(who));
            drop(addresses);
            self.peers.keep_only(&row.members().keys().copied().collect());
        }
    }

    /// Asks everybody who has one of these places, or any.
    async fn over<T: Send + 'static>(
        &self,
        context: &Context,
        about: Option<BTreeSet<usize>>,
        ask: impl Fn(&dyn Replica, Arc<Context>) -> Answer<T>,
    ) -> Result<Vec<T>, ReplicaError> {
        let mut outcome = self.over_once(context, about.as_ref(), &ask).await;
        for _ in 0..self.ask_again {
            if !matches!(&outcome, Err(error) if error.kind == Kind::Unavailable) {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            outcome = self.over_once(context, about.as_ref(), &ask).await;
        }
        outcome
    }

    async fn over_once<T: Send + 'static>(
        &self,
        context: &Context,
        about: Option<&BTreeSet<usize>>,
        ask: &impl Fn(&dyn Replica, Arc<Context>) -> Answer<T>,
    ) -> Result<Vec<T>, ReplicaError> {
        let row = self.ring()?;
        self.forget(&row);
        let owners: BTreeSet<Incarnation> = match about {
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
        let about = self.member.placing().of_matchers(&context.tenant, sets);
        self.over(context, about, ask).await
    }

    async fn write(self, mutation: Mutation) -> Result<WriteAnswer, ReplicaError> {
        let row = self.ring()?;
        let me = self.member.me();
        if row.ring().vnodes().iter().all(|(_, owner)| *owner == me) {
            return self.own.write(mutation).await;
        }
        if mutation.series.iter().any(|rows| matches!(rows.series, SeriesRef::Number(_))) {
            return Ok(WriteAnswer::NeedLabels);
        }
        let parts = self.member.placing().cut(&mutation, |place| row.owner(place));
        let context =
            Arc::new(Context { ring_version: row.version(), ..(*mutation.context).clone() });
        drop(mutation);
        let (mut asked, mut index) = (Vec::new(), Vec::new());
        for (who, mut part) in parts {
            part.mutation.context = Arc::clone(&context);
            asked.push(self.replica(who).await?.write(part.mutation));
            index.push(part.index);
        }
        let answers = joined::all(asked).await?;
        let none = |_| None;
        let parts = index.iter().zip(answers);
        let parts = parts.map(|(index, answer)| {
            (index.as_slice(), &none as &dyn Fn(u32) -> Option<u32>, answer)
        });
        Ok(joined::written(0, parts))
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
            let place = |metric| all.member.placing().of_metric(&context.tenant, metric);
            let about = query.metric.as_deref().map(|metric| BTreeSet::from([place(metric)]));
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
            let answers = all.over(&context, None, ask).await?;
            Ok(joined::versions(&answers, ranges.len()))
        })
    }

    fn activity(&self, context: Arc<Context>) -> Answer<Activity> {
        let all = self.clone();
        Box::pin(async move {
            let ask = |one: &dyn Replica, context| one.activity(context);
            Ok(joined::activity(&all.over(&context, None, ask).await?))
        })
    }

    fn delete(&self, context: Arc<Context>, request: DeleteRequest) -> Answer<DeleteAnswer> {
        Box::pin(self.clone().delete(context, request))
    }

    fn tombstones(&self, context: Arc<Context>) -> Answer<Vec<Tombstone>> {
        let all = self.clone();
        Box::pin(async move {
            let ask = |one: &dyn Replica, context| one.tombstones(context);
            Ok(joined::tombstones(all.over(&context, None, ask).await?))
        })
    }

    fn purge(&self, context: Arc<Context>) -> Answer<()> {
        let all = self.clone();
        Box::pin(async move {
            let ask = |one: &dyn Replica, context| one.purge(context);
            all.over(&context, None, ask).await?;
            Ok(())
        })
    }
}
