//! How questions look on the wire: selections, label queries.
//!
//! Not here: which question it is (`message.rs`).

use crate::peer::codec::{DecodeError, Reader, Writer, bad};
use model::matcher::MatchOp;
use model::read::{LabelQuery, LabelWant, SelectBounds, Selection, Steps, Wanted};
use model::{DayBucket, Matcher, QueryShard, TimeRange, TimestampMs};

pub(crate) fn write_matchers(out: &mut Writer, matchers: &[Matcher]) {
    out.len(matchers.len());
    for matcher in matchers {
        out.text(&matcher.name);
        out.u8(matcher.op.to_byte());
        out.text(&matcher.value);
    }
}

pub(crate) fn read_matchers(from: &mut Reader<'_>) -> Result<Vec<Matcher>, DecodeError> {
    from.list(3, |r| {
        let name = r.text()?;
        let Some(op) = MatchOp::from_byte(r.u8()?) else {
            return bad("an unknown operator");
        };
        Ok(Matcher::new(name, op, r.text()?))
    })
}

pub(crate) fn write_range(out: &mut Writer, range: TimeRange) {
    out.i64(range.start.0);
    out.i64(range.end.0);
}

pub(crate) fn read_range(from: &mut Reader<'_>) -> Result<TimeRange, DecodeError> {
    Ok(TimeRange { start: TimestampMs(from.i64()?), end: TimestampMs(from.i64()?) })
}

pub(crate) fn write_selection(out: &mut Writer, selection: &Selection) {
    write_matchers(out, &selection.matchers);
    write_range(out, selection.range);
    out.u8(u8::from(selection.days.is_some()));
    if let Some(days) = &selection.days {
        out.len(days.len());
        days.iter().for_each(|day| out.i64(day.0.into()));
    }
    write_shard(out, selection.shard);
    out.u64(selection.bounds.series_max);
    out.u64(selection.bounds.samples_max);
    out.u64(selection.bounds.tombstones_max);
    write_wanted(out, &selection.wanted);
}

fn write_wanted(out: &mut Writer, wanted: &Wanted) {
    out.u8(u8::from(wanted.steps.is_some()));
    if let Some(Steps { first_ms, step_ms, last_ms, back_ms }) = wanted.steps {
        [first_ms, step_ms, last_ms, back_ms].into_iter().for_each(|ms| out.i64(ms));
    }
    out.u8(u8::from(wanted.presence));
    out.u8(u8::from(wanted.labels.is_some()));
    if let Some(labels) = &wanted.labels {
        out.len(labels.len());
        labels.iter().for_each(|name| out.text(name));
    }
}

fn read_wanted(from: &mut Reader<'_>) -> Result<Wanted, DecodeError> {
    let flag = |from: &mut Reader<'_>| match from.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => bad("an unknown wish"),
    };
    let steps = match flag(from)? {
        false => None,
        true => {
            let (first_ms, step_ms) = (from.i64()?, from.i64()?);
            let (last_ms, back_ms) = (from.i64()?, from.i64()?);
            Some(Steps { first_ms, step_ms, last_ms, back_ms })
        }
    };
    let presence = flag(from)?;
    let labels = match flag(from)? {
        false => None,
        true => Some(from.list(1, |r| Ok(r.text()?.into()))?),
    };
    Ok(Wanted { steps, presence, labels })
}

pub(crate) fn read_selection(from: &mut Reader<'_>) -> Result<Selection, DecodeError> {
    let matchers = read_matchers(from)?;
    let range = read_range(from)?;
    let days = match from.u8()? {
        0 => None,
        1 => Some(from.list(1, |r| Ok(DayBucket(r.i32()?)))?),
        _ => return bad("an unknown choice of days"),
    };
    let shard = read_shard(from)?;
    let (series_max, samples_max) = (from.u64()?, from.u64()?);
    let bounds = SelectBounds { series_max, samples_max, tombstones_max: from.u64()? };
    let wanted = read_wanted(from)?;
    Ok(Selection { matchers, range, days, shard, bounds, wanted })
}

fn write_shard(out: &mut Writer, shard: QueryShard) {
    out.u64(shard.index.into());
    out.u64(shard.count.into());
}

fn read_shard(from: &mut Reader<'_>) -> Result<QueryShard, DecodeError> {
    Ok(QueryShard { index: from.u32()?, count: from.u32()? })
}

pub(crate) fn write_label_query(out: &mut Writer, query: &LabelQuery) {
    match &query.want {
        LabelWant::Names => out.u8(0),
        LabelWant::Values(name) => {
            out.u8(1);
            out.text(name);
        }
        LabelWant::Series => out.u8(2),
        LabelWant::SeriesPart(shard) => {
            out.u8(3);
            write_shard(out, *shard);
        }
    }
    out.len(query.matcher_sets.len());
    query.matcher_sets.iter().for_each(|matchers| write_matchers(out, matchers));
    write_range(out, query.range);
    out.u64(query.limit);
    out.u64(query.tombstones_max);
}

pub(crate) fn read_label_query(from: &mut Reader<'_>) -> Result<LabelQuery, DecodeError> {
    let want = match from.u8()? {
        0 => LabelWant::Names,
        1 => LabelWant::Values(from.text()?.into()),
        2 => LabelWant::Series,
        3 => LabelWant::SeriesPart(read_shard(from)?),
        _ => return bad("an unknown want"),
    };
    let matcher_sets = from.list(1, read_matchers)?;
    let range = read_range(from)?;
    let limit = from.u64()?;
    Ok(LabelQuery { want, matcher_sets, range, limit, tombstones_max: from.u64()? })
}
