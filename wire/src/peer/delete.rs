//! How deletes and tombstones look on the wire.
//!
//! Not here: what they hide (`store`), when replicas tell each other (`ingester`).

use crate::peer::codec::{DecodeError, Reader, Writer, bad};
use crate::peer::query::{read_matchers, read_range, write_matchers, write_range};
use model::{DeleteAnswer, DeleteRequest, TenantId, TimestampMs, Tombstone};

pub(crate) fn write_delete(out: &mut Writer, request: &DeleteRequest) {
    out.len(request.matcher_sets.len());
    request.matcher_sets.iter().for_each(|matchers| write_matchers(out, matchers));
    write_range(out, request.range);
    out.u64(request.revision_max.into());
}

pub(crate) fn read_delete(from: &mut Reader<'_>) -> Result<DeleteRequest, DecodeError> {
    let matcher_sets = from.list(1, read_matchers)?;
    Ok(DeleteRequest { matcher_sets, range: read_range(from)?, revision_max: from.u32()? })
}

pub(crate) fn write_delete_answer(out: &mut Writer, answer: DeleteAnswer) {
    out.u64(answer.revision_max.into());
}

pub(crate) fn read_delete_answer(from: &mut Reader<'_>) -> Result<DeleteAnswer, DecodeError> {
    Ok(DeleteAnswer { revision_max: from.u32()? })
}

pub(crate) fn write_tombstones(out: &mut Writer, list: &[Tombstone]) {
    out.len(list.len());
    for stone in list {
        out.text(stone.tenant.as_str());
        write_matchers(out, &stone.matchers);
        write_range(out, stone.range);
        out.u64(stone.revision_max.into());
        out.i64(stone.created.0);
    }
}

pub(crate) fn read_tombstones(from: &mut Reader<'_>) -> Result<Vec<Tombstone>, DecodeError> {
    from.list(6, |r| {
        let Ok(tenant) = TenantId::parse(r.text()?) else { return bad("not a tenant") };
        let matchers = read_matchers(r)?;
        let (range, revision_max) = (read_range(r)?, r.u32()?);
        let created = TimestampMs(r.i64()?);
        Ok(Tombstone { tenant, matchers, range, revision_max, created })
    })
}

/// About how many bytes it takes.
pub(crate) fn tombstone_bytes(stone: &Tombstone) -> usize {
    let matchers = stone.matchers.iter().map(|m| m.name.len() + m.value.len() + 5);
    matchers.sum::<usize>() + stone.tenant.as_str().len() + 40
}
