//! Series that are set aside while a body is walked: what the tenant's rules drop, what another replica
//! of an HA pair sends, or has sent.
//!
//! # Invariants
//! - What is set aside was decoded all the same: an undecodable body is one whatever becomes of its
//!   series.
//! - It is counted as received, and as dropped or refused.

use super::pass::Pass;
use crate::batch::Row;
use crate::error::Error;
use crate::gate::Cause;
use crate::refusal::{Item, Reason};
use crate::series_cache::Fate;
use crate::validate::SeriesFault;
use guard::HaVerdict;
use wire::remote_write::{Extra, SeriesView, Tail};

/// An elected replica of an HA pair.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replica {
    /// Its place among those that were heard.
    place: usize,
    /// What is at this time, or shortly before it, was delivered by another replica.
    floor_ms: i64,
}

/// What becomes of a series that goes no further.
pub(super) enum Aside {
    Dropped(Cause),
    /// It is of a replica that waits, at this place among those that were heard.
    Waits(usize),
    Refused(SeriesFault),
}

impl Pass<'_> {
    /// Why a series goes no further, if that can be told before it is entered.
    pub(super) fn aside(
        &mut self,
        row: &Row,
        view: &SeriesView<'_>,
    ) -> Result<Option<Aside>, Error> {
        self.replica = None;
        if self.cache.fate(row.entry) == Fate::DROPPED {
            return Ok(Some(Aside::Dropped(Cause::Relabel)));
        }
        let Some(ha) = &self.tenant.gate.ha else { return Ok(None) };
        let labels = self.labels_of(row, view)?;
        let mut heard = std::mem::take(self.out.heard);
        let place = ha.hear(self.raw(&labels), self.resolver.now_ns, &mut heard);
        *self.out.heard = heard;
        let Some(place) = place else { return Ok(None) };
        Ok(match self.out.heard[place].verdict {
            Ok(HaVerdict::Waits { .. }) => Some(Aside::Waits(place)),
            Ok(HaVerdict::Elected { floor_ms, .. }) => {
                self.replica = Some(Replica { place, floor_ms });
                None
            }
            Err(error) => {
                let text = format!("tenant {}: {error}", self.tenant.id);
                Some(Aside::Refused(SeriesFault { reason: Reason::HaClusters, text }))
            }
        })
    }

    /// Counts what a series has, and takes its floats out again.
    #[cold]
    pub(super) fn set_aside(
        &mut self,
        first: usize,
        row: Row,
        view: &SeriesView<'_>,
        tail: Tail,
        aside: Aside,
    ) -> Result<(), Error> {
        self.previous = row.entry;
        let mut counts = [0; Item::ALL.len()];
        counts[Item::Float as usize] = (self.out.columns.timestamps_ms.len() - first) as u64;
        let mut newest_ms = self.out.columns.timestamps_ms[first..].iter().max().copied();
        self.out.columns.truncate(first);
        if tail.has_histograms || tail.has_exemplars {
            for extra in view.extras() {
                match extra? {
                    Extra::Histogram(view) => {
                        counts[Item::Histogram as usize] += 1;
                        newest_ms = newest_ms.max(Some(view.timestamp_ms));
                    }
                    Extra::Exemplar(_) => counts[Item::Exemplar as usize] += 1,
                }
            }
        }
        let shown = match &aside {
            Aside::Dropped(_) => String::new(),
            Aside::Waits(place) => {
                let known_ms = &mut self.out.heard[*place].newest_ms;
                *known_ms = newest_ms.unwrap_or(i64::MIN).max(*known_ms);
                String::new()
            }
            Aside::Refused(fault) => {
                let labels = self.labels_of(&row, view)?;
                format!("{}: {}", self.shown(&labels), fault.told(&self.tenant.id))
            }
        };
        for (item, count) in Item::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0) {
            self.out.refusals.receive(item, count);
            match &aside {
                Aside::Dropped(cause) => self.out.refusals.drop_items(item, count, *cause),
                Aside::Waits(_) => self.out.refusals.drop_items(item, count, Cause::Ha),
                Aside::Refused(fault) => {
                    self.out.refusals.refuse(item, count, fault.reason, || shown.clone());
                }
            }
        }
        Ok(())
    }

    /// Whether another replica has delivered what is at this time. What it has not, this one does.
    pub(super) fn was_delivered(&mut self, timestamp_ms: i64) -> bool {
        let Some(Replica { place, floor_ms }) = self.replica else { return false };
        let was_delivered = guard::ha_was_delivered(floor_ms, timestamp_ms);
        if !was_delivered {
            let newest_ms = &mut self.out.heard[place].newest_ms;
            *newest_ms = timestamp_ms.max(*newest_ms);
        }
        was_delivered
    }

    /// Takes the floats out again that another replica has delivered.
    pub(super) fn drop_delivered(&mut self, first: usize) {
        let (mut kept, end) = (first, self.out.columns.timestamps_ms.len());
        for at in first..end {
            let timestamp_ms = self.out.columns.timestamps_ms[at];
            if !self.was_delivered(timestamp_ms) {
                self.out.columns.move_down(at, kept);
                kept += 1;
            }
        }
        self.out.refusals.drop_items(Item::Float, (end - kept) as u64, Cause::Ha);
        self.out.columns.truncate(kept);
    }
}
