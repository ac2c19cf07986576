//! What a tenant has done to series as they come in: which series raw labels stand for, if any.
//!
//! Most tenants have nothing done: their gate is *open*, and raw labels are what they say. The others'
//! rules are run once per series that is new to the cache, which remembers what came of it.
//!
//! # Invariants
//! - The same raw labels are seen the same way each time, for as long as the process lives.
//! - Labels are held to the tenant's limits behind the rules; before them only to [`LABELS_MAX`] and
//!   [`LABEL_BYTES_MAX`], so that a rule may take away what is too much.
//!
//! Not here: what the rules do (`guard::relabel`); which replica of an HA pair is kept (`ha.rs`).

use crate::ha::HaGate;
use crate::refusal::Reason;
use crate::validate::{LabelBounds, SeriesFault, check_set, raw_set};
use guard::relabel::{Relabeled, VALUE_BYTES_MAX};
use guard::{Limits, Relabeling};
use model::LabelSet;
use wire::remote_write::{Error, RawLabels};

/// Labels of a series before the rules.
const LABELS_MAX: u64 = 1024;
/// Bytes of the labels of a series before the rules.
const LABEL_BYTES_MAX: u64 = 64 << 10;

/// How many labels of a series are looked at, whatever becomes of them.
pub(crate) fn labels_max(limits: &Limits) -> u64 {
    limits.max_labels.get().max(LABELS_MAX)
}

/// How many bytes of them.
pub(crate) fn label_bytes_max(limits: &Limits) -> u64 {
    limits.max_labels_bytes.get().max(LABEL_BYTES_MAX)
}

/// What raw labels stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// This series.
    Series(LabelSet),
    /// None: it goes no further.
    Dropped(Cause),
}

/// Why a series goes no further although nothing is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// The tenant's rules dropped it.
    Relabel,
    /// Another replica of an HA pair sends it, or has sent it.
    Ha,
}

impl Cause {
    /// Every cause, in order.
    pub const ALL: [Self; 2] = [Self::Relabel, Self::Ha];

    /// The cause's name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Relabel => "relabel",
            Self::Ha => "ha",
        }
    }
}

/// What one tenant has done to series.
#[derive(Debug)]
pub(crate) struct Gate {
    relabeling: Relabeling,
    /// Few have one.
    pub(crate) ha: Option<Box<HaGate>>,
}

impl Gate {
    pub(crate) fn new(limits: &Limits) -> Self {
        // Rules are checked before a process starts.
        let relabeling = Relabeling::compile(&limits.relabel_rules).unwrap_or_default();
        let value_bytes_max = limits.max_label_value_bytes.get();
        let ha = limits.ha.is_on.then(|| Box::new(HaGate::new(&limits.ha, value_bytes_max)));
        Self { relabeling, ha }
    }

    /// Whether raw labels are what they say.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.ha.is_none() && self.relabeling.is_empty()
    }

    /// The series that raw labels stand for. Texts that `neighbour` has too, in the same place, are
    /// shared with it.
    ///
    /// # Errors
    /// The outer one if the bytes are no protobuf: the whole body is bad. The inner one if this series
    /// is refused.
    pub(crate) fn see(
        &self,
        raw: RawLabels<'_>,
        limits: &Limits,
        neighbour: Option<&LabelSet>,
    ) -> Result<Result<Seen, SeriesFault>, Error> {
        let bounds = LabelBounds::of(limits);
        if self.is_open() {
            let set = raw_set(raw, &bounds, neighbour)?;
            return Ok(set.and_then(|labels| check_set(labels, None)).map(Seen::Series));
        }
        let before = bounds.at_least(LABELS_MAX, LABEL_BYTES_MAX);
        let set = raw_set(raw, &before, neighbour)?;
        let set = set.map(|labels| match &self.ha {
            Some(ha) => ha.without_replica(labels),
            None => labels,
        });
        Ok(set.and_then(|labels| match self.relabeling.apply(&labels) {
            Relabeled::Kept(labels) => check_set(labels, Some(&bounds)).map(Seen::Series),
            Relabeled::Dropped => Ok(Seen::Dropped(Cause::Relabel)),
            Relabeled::TooLong { rule } => Err(SeriesFault {
                reason: Reason::LabelValueBytes,
                text: format!(
                    "rule {rule} of metric_relabel_configs makes more than {VALUE_BYTES_MAX} bytes"
                ),
            }),
        }))
    }
}
