//! Recovery: what a checkpoint holds, and how the head comes back from it and the commit log.
//!
//! A checkpoint's frames are definitions and metadata; a log record's samples name series by the
//! numbers of the generation it was written in. Here both become series of the new generation.
//!
//! # Invariants
//! - A record is applied whole or not at all, except for series whose definition is lost: their
//!   samples are counted.

use super::OpenReport;
use super::renumber::Renumbering;
use crate::bytes::{Damaged, Input, put_text, put_uvarint, runs};
use crate::engine::AppendLimits;
use crate::error::Result;
use crate::head::Tenant;
use crate::head::symbols::LabelIds;
use crate::record::{Room, Samples};
use crate::{definitions, exemplar, record};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use model::mutation::MetricMetadata;
use model::{Exemplar, LabelSet, TenantId};
use std::sync::Arc;

const VERSION: u8 = 1;

// A frame is read and decoded whole, so it is bounded in bytes too, well below
// `checkpoint::FRAME_BYTES_MAX`: labels and help texts may be long. Only what is larger than this
// by itself, and came in one record of the log, has a larger frame.
/// So many definitions go into one frame …
const FRAME_SERIES_MAX: usize = 50_000;
/// … or so many exemplars …
const FRAME_EXEMPLARS_MAX: usize = 10_000;
/// … but no more bytes of either, or of metadata.
const FRAME_BYTES: usize = 16 << 20;

/// What goes into one frame.
#[derive(Default)]
struct Held<'a> {
    definitions: &'a [(u32, LabelIds)],
    metadata: &'a [MetricMetadata],
    exemplars: &'a [(u32, Exemplar)],
}

/// Hands the frames of a tenant's checkpoint to `frame`: its metadata, then its series and behind
/// each frame of them their exemplars. Returns how many series there are.
pub(super) fn checkpoint(
    tenant: &Tenant,
    mut frame: impl FnMut(&[u8]) -> Result<()>,
) -> Result<u64> {
    let metadata: Vec<_> = tenant.metadata.lock().iter().cloned().collect();
    for metadata in runs(&metadata, usize::MAX, FRAME_BYTES, record::metadata_bytes) {
        frame(&Held { metadata, ..Held::default() }.encode(tenant))?;
    }
    let (mut part, mut bytes, mut written) = (Vec::new(), 0, 0);
    // Shard by shard, but small shards share a frame, so that their strings stand there once.
    for (number, ids) in tenant.definitions().flatten() {
        let bytes_of =
            |before: &[u32]| definitions::bytes_max(&tenant.symbols.read(), &ids, before);
        let mut own = bytes_of(part.last().map_or(&[], |(_, before): &(u32, LabelIds)| before));
        if part.len() == FRAME_SERIES_MAX || (!part.is_empty() && bytes + own > FRAME_BYTES) {
            put_series(tenant, &part, &mut frame)?;
            part.clear();
            (bytes, own) = (0, bytes_of(&[]));
        }
        part.push((number, ids));
        bytes += own;
        written += 1;
    }
    // Also without a series: then it holds the tenant's name.
    put_series(tenant, &part, &mut frame)?;
    Ok(written)
}

fn put_series(
    tenant: &Tenant,
    definitions: &[(u32, LabelIds)],
    frame: &mut impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    frame(&Held { definitions, ..Held::default() }.encode(tenant))?;
    let exemplars = tenant.exemplars_of(definitions.iter().map(|(number, _)| *number));
    let bytes_of = |(_, one): &(u32, Exemplar)| exemplar::bytes_max(one);
    for exemplars in runs(&exemplars, FRAME_EXEMPLARS_MAX, FRAME_BYTES, bytes_of) {
        frame(&Held { exemplars, ..Held::default() }.encode(tenant))?;
    }
    Ok(())
}

impl Held<'_> {
    fn encode(&self, tenant: &Tenant) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_text(&mut out, tenant.id.as_str());
        out.extend_from_slice(&tenant.generation.to_le_bytes());
        let series = self.definitions.iter().map(|(number, ids)| (*number, &**ids));
        definitions::encode(&mut out, &tenant.symbols.read(), series);
        record::put_metadata(&mut out, self.metadata.iter());
        put_uvarint(&mut out, self.exemplars.len() as u64);
        for (number, one) in self.exemplars {
            put_uvarint(&mut out, u64::from(*number));
            exemplar::put(&mut out, one);
        }
        out
    }
}

/// A head that is being put together again.
pub(super) struct Recovery<'a> {
    /// Makes a tenant that is not there yet.
    pub(super) tenant: &'a dyn Fn(&TenantId) -> Arc<Tenant>,
    pub(super) now_s: u32,
    pub(super) report: OpenReport,
    numbers: HashMap<(TenantId, u64), Renumbering, RandomState>,
    room: Room,
}

impl<'a> Recovery<'a> {
    pub(super) fn new(tenant: &'a dyn Fn(&TenantId) -> Arc<Tenant>, now_s: u32) -> Self {
        let (report, numbers, room) = (OpenReport::default(), HashMap::default(), Room::default());
        Self { tenant, now_s, report, numbers, room }
    }

    /// Takes in a frame of the checkpoint at `path`.
    pub(super) fn frame(&mut self, path: &str, payload: &[u8]) -> Result<()> {
        self.try_frame(payload).map_err(|damaged| damaged.at(path, 0))
    }

    fn try_frame(&mut self, payload: &[u8]) -> Result<(), Damaged> {
        let mut input = Input::new(payload);
        if input.u8()? != VERSION {
            return Err(Damaged("a checkpoint's frame of an unknown version"));
        }
        let id = TenantId::parse(input.text()?).map_err(|_| Damaged("not a tenant's name"))?;
        let generation = input.u64()?;
        let mut definitions = Vec::new();
        definitions::decode(&mut input, |number, labels| definitions.push((number, labels)))?;
        let metadata = record::read_metadata(&mut input)?;
        let exemplars = record::read_exemplars(&mut input)?;
        let tenant = self.define(&id, generation, &definitions);
        self.keep_metadata(&tenant, metadata);
        self.keep_exemplars(&tenant, generation, &exemplars);
        Ok(())
    }

    /// Takes in a record of the log.
    pub(super) fn record(&mut self, payload: &[u8]) {
        if self.try_record(payload).is_err() {
            self.report.records_damaged += 1;
        }
    }

    fn try_record(&mut self, payload: &[u8]) -> Result<(), Damaged> {
        let mut record = record::decode(payload)?;
        let definitions = std::mem::take(&mut record.definitions);
        let tenant = self.define(&record.tenant, record.generation, &definitions);
        self.keep_metadata(&tenant, record.metadata.clone());
        let mut numbers = self.numbers.get_mut(&(record.tenant.clone(), record.generation));
        let (mut samples, mut lost) = (0, 0);
        let mut replay = tenant.replay(record.revision, self.now_s);
        record.rows(&mut self.room, |old, rows| {
            match numbers.as_mut().and_then(|numbers| numbers.get(old)) {
                Some(number) => {
                    match rows {
                        Samples::Floats(rows) => replay.push(number, rows),
                        Samples::Histograms(rows) => replay.push_histograms(number, rows),
                    }
                    samples += rows.len() as u64;
                }
                None => lost += rows.len() as u64,
            }
        })?;
        drop(replay);
        self.keep_exemplars(&tenant, record.generation, &record.exemplars);
        self.report.samples += samples;
        self.report.samples_without_series += lost;
        Ok(())
    }

    fn define(
        &mut self,
        id: &TenantId,
        generation: u64,
        definitions: &[(u32, LabelSet)],
    ) -> Arc<Tenant> {
        let tenant = (self.tenant)(id);
        let numbers = self.numbers.entry((id.clone(), generation)).or_default();
        tenant.define(definitions, self.now_s, |old, number| numbers.insert(old, number));
        tenant
    }

    fn keep_exemplars(&mut self, tenant: &Tenant, generation: u64, exemplars: &[(u32, Exemplar)]) {
        let mut numbers = self.numbers.get_mut(&(tenant.id.clone(), generation));
        for (old, exemplar) in exemplars {
            if let Some(number) = numbers.as_mut().and_then(|numbers| numbers.get(*old)) {
                // What the limit is now the next append with an exemplar says.
                let max = AppendLimits::NONE.exemplars_max;
                tenant.push_exemplar(number, self.now_s, max, exemplar);
            }
        }
    }

    fn keep_metadata(&self, tenant: &Tenant, entries: Vec<MetricMetadata>) {
        let mut metadata = tenant.metadata.lock();
        entries.into_iter().for_each(|entry| metadata.recover(entry));
    }
}

#[cfg(test)]
mod tests;
