//! Processes as they reach each other, by their addresses.

use super::super::Places;
use crate::cassandra::fleet::Peers;
use cluster::ownership::Incarnation;
use model::exemplar::SeriesExemplars;
use model::mutation::{Mutation, WriteAnswer, Written};
use model::read::{
    ExemplarQuery, LabelAnswer, LabelQuery, MetadataAnswer, MetadataQuery, Selection,
};
use model::{Context, DeleteAnswer, DeleteRequest, SeriesColumns, Tombstone};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::replica::{Answer, Replica, ReplicaError};

/// The processes as they reach each other: whoever lives at an address answers, at once, whoever was meant.
#[derive(Debug)]
pub(super) struct Neighbours {
    pub(super) places: BTreeMap<String, Places>,
}

impl Peers for Neighbours {
    fn replica(&self, _: Incarnation, address: &str) -> Arc<dyn Replica> {
        match self.places.get(address) {
            Some(places) => Arc::new(places.clone()),
            None => Arc::new(Nobody { written: None }),
        }
    }
    fn keep_only(&self, _: &BTreeSet<Incarnation>) {}
}

/// Neighbours that change.
#[derive(Debug)]
pub(super) struct Changing(pub(super) Mutex<Arc<dyn Peers>>);

impl Peers for Changing {
    fn replica(&self, who: Incarnation, address: &str) -> Arc<dyn Replica> {
        self.0.lock().replica(who, address)
    }
    fn keep_only(&self, _: &BTreeSet<Incarnation>) {}
}

/// A process that is gone, or that only says this of what is written.
#[derive(Debug)]
pub(super) struct Nobody {
    pub(super) written: Option<Written>,
}

fn nobody<T: Send + 'static>() -> Answer<T> {
    let error = ReplicaError {
        replica: "gone".to_owned(),
        kind: model::Kind::Unavailable,
        message: "nobody is there".to_owned(),
    };
    Box::pin(std::future::ready(Err(error)))
}

impl Replica for Nobody {
    fn write(&self, _: Mutation) -> Answer<WriteAnswer> {
        let Some(written) = self.written.clone() else { return nobody() };
        Box::pin(std::future::ready(Ok(WriteAnswer::Written(written))))
    }
    fn select(&self, _: Arc<Context>, _: Selection) -> Answer<Vec<SeriesColumns>> {
        nobody()
    }
    fn labels(&self, _: Arc<Context>, _: LabelQuery) -> Answer<LabelAnswer> {
        nobody()
    }
    fn metadata(&self, _: Arc<Context>, _: MetadataQuery) -> Answer<MetadataAnswer> {
        nobody()
    }
    fn exemplars(&self, _: Arc<Context>, _: ExemplarQuery) -> Answer<Vec<SeriesExemplars>> {
        nobody()
    }
    fn delete(&self, _: Arc<Context>, _: DeleteRequest) -> Answer<DeleteAnswer> {
        nobody()
    }
    fn tombstones(&self, _: Arc<Context>) -> Answer<Vec<Tombstone>> {
        nobody()
    }
    fn purge(&self, _: Arc<Context>) -> Answer<()> {
        nobody()
    }
}
