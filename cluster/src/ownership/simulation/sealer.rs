//! The claimed task of a simulated process: merges all live segments into one, deletes those replaced.

use super::cassandra::{Answer, Cell, Key, Samples, Segment, Value};
use super::process::{Plant, Request};
use crate::ownership::sealing::{Manifest, Merge, Sweep, plan};
use crate::ownership::{BootMs, Incarnation, Reply};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The claim that all processes want.
pub(super) const CLAIM: &str = "seal";
/// How long readers of a replaced segment have, in these stories.
const SWEEP_AFTER_MS: u64 = 4_000;
const LOOK_EVERY_MS: u64 = 5_000;

/// The step that waits for its answer.
#[derive(Clone, Debug)]
enum Doing {
    Look,
    Read { merge: Merge<Segment>, is_quorum: bool },
    WritePiece { segment: Segment, merge: Merge<Segment>, samples: Samples },
    Name { segment: Segment, replaces: Arc<BTreeSet<Segment>> },
    Confirm { by: Segment, replaces: Arc<BTreeSet<Segment>>, gone: Vec<Segment> },
    // The last of them is being deleted.
    DeletePiece(Vec<Segment>),
    DeleteRow(Vec<Segment>),
}

#[derive(Debug)]
pub(super) struct Sealer {
    life: Incarnation,
    plant: Plant,
    doing: Option<Doing>,
    sweep: Sweep<Segment>,
    look_at: BootMs,
}

impl Sealer {
    pub(super) fn new(life: Incarnation, plant: Plant, now: BootMs) -> Self {
        let look_at = now.plus_ms(LOOK_EVERY_MS);
        Self { life, plant, doing: None, sweep: Sweep::new(SWEEP_AFTER_MS), look_at }
    }

    /// Begins if nothing is being done.
    pub(super) fn poll(&mut self, now: BootMs) -> Option<Request> {
        if self.doing.is_some() || now < self.look_at {
            return None;
        }
        self.look_at = now.plus_ms(LOOK_EVERY_MS);
        self.doing = Some(Doing::Look);
        self.request()
    }

    /// What the present step asks for.
    fn request(&self) -> Option<Request> {
        let write = |key, timestamp, value| Request::Write(key, Cell { timestamp, value });
        Some(match self.doing.as_ref()? {
            Doing::Look => Request::ReadManifest,
            Doing::Read { merge, is_quorum } => {
                Request::ReadPieces(merge.inputs.clone(), *is_quorum)
            }
            Doing::WritePiece { segment, samples, .. } => {
                write(Key::Piece(*segment), 1, Some(Value::Samples(*samples)))
            }
            Doing::Name { segment, replaces } | Doing::Confirm { by: segment, replaces, .. } => {
                write(Key::Manifest(*segment), 1, Some(Value::Replaces(Arc::clone(replaces))))
            }
            Doing::DeletePiece(gone) => write(Key::Piece(*gone.last()?), 2, None),
            Doing::DeleteRow(gone) => write(Key::Manifest(*gone.last()?), 2, None),
        })
    }

    /// Takes an answer; the next request. Gives up when the claim is no longer held.
    pub(super) fn answered(
        &mut self,
        answer: &Answer,
        is_held: bool,
        numbers: &mut u64,
        now: BootMs,
    ) -> Option<Request> {
        let doing = self.doing.take()?;
        if !is_held {
            return None;
        }
        self.doing = match (&answer.reply, doing) {
            (Reply::Unknown, Doing::Look | Doing::Read { .. }) => None,
            (Reply::Unknown, write) => Some(write),
            (_, Doing::Look) => self.looked(&answer.manifest, now),
            (Reply::Bucket(found), Doing::Read { merge, is_quorum }) => {
                let is_whole =
                    *found == merge.inputs.len() || self.plant == Plant::MissingPieceIgnored;
                *numbers += u64::from(is_whole);
                let segment = (self.life, *numbers);
                match (is_whole, is_quorum) {
                    (true, _) => {
                        Some(Doing::WritePiece { segment, merge, samples: answer.samples })
                    }
                    (false, false) => Some(Doing::Read { merge, is_quorum: true }),
                    (false, true) => None,
                }
            }
            (_, done) => self.written(done),
        };
        self.request()
    }

    fn written(&self, done: Doing) -> Option<Doing> {
        let rest = |mut gone: Vec<Segment>| {
            gone.pop();
            (!gone.is_empty()).then_some(Doing::DeletePiece(gone))
        };
        match done {
            Doing::WritePiece { merge, .. } if self.plant == Plant::ReplacedDeletedFirst => {
                Some(Doing::DeletePiece(merge.inputs.into_iter().collect()))
            }
            Doing::WritePiece { segment, merge, .. } => {
                Some(Doing::Name { segment, replaces: Arc::new(merge.replaces) })
            }
            Doing::Confirm { gone, .. } => Some(Doing::DeletePiece(gone)),
            Doing::DeletePiece(gone) => Some(Doing::DeleteRow(gone)),
            Doing::DeleteRow(gone) => rest(gone),
            Doing::Look | Doing::Read { .. } | Doing::Name { .. } => None,
        }
    }

    fn looked(&mut self, manifest: &Manifest<Segment>, now: BootMs) -> Option<Doing> {
        if let Some((by, gone)) = self.sweep.due(manifest, now).pop_first() {
            let gone: Vec<_> = gone.into_iter().collect();
            let replaces = Arc::new(manifest[&by].clone());
            return Some(match self.plant {
                Plant::SuccessorNotConfirmed => Doing::DeletePiece(gone),
                _ => Doing::Confirm { by, replaces, gone },
            });
        }
        plan(manifest, 4).map(|merge| Doing::Read { merge, is_quorum: false })
    }
}
