//! The rows by which processes agree: each process's lease, the ring, claims. What they are made of, and
//! how the asks of [`cluster::ownership`] are put to the database.
//!
//! | table | key | static guard | rows |
//! | --- | --- | --- | --- |
//! | `lease` | ((incarnation)) | counter, whether it is fenced | `address`: where its peers find it |
//! | `ring` | ((0)) | the whole ring row | none |
//! | `ring` | ((1)) | how many places there are, written once | none |
//! | `ring` | ((2)) | whose quorum acknowledges, written once | none |
//! | `ring` | ((3)) | which ring this is, by a number drawn once | none |
//! | `claims` | ((key)) | holder, number, ring version | none |
//!
//! # Invariants
//! - They are changed on condition of the whole guard, and never deleted: a request to create one may
//!   still be on its way.
//! - What an answer does not say for sure is [`Reply::Unknown`].
//!
//! Not here: what is asked, and when (`cluster::ownership`); time-outs (`member.rs`).

use super::guarded::Guard;
use super::rows::{Changed, Column, Consistency, Read, Rows, RowsError, create, persist, refused};
use super::schema::{CLAIMS, LEASE, RING, SETTINGS, ints};
use cluster::ownership::claim::{ClaimAsk, ClaimRow};
use cluster::ownership::lease::{LeaseAsk, LeaseRow};
use cluster::ownership::ring_row::{Debt, RingRow, Stage, Standing};
use cluster::ownership::watch::WatchAsk;
use cluster::ownership::{Ask, Incarnation, Reply};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{Error, Result};

/// The version of the guards' bytes.
const VERSION: u8 = 1;
/// The partitions of the ring's table that are written once.
const PLACES: u64 = 1;
const DATACENTER: u64 = 2;
const NUMBER: u64 = 3;
/// The row of a lease that says where the process is found.
const ADDRESS: &str = "address";

/// Creates the tables.
///
/// # Errors
/// What the database says.
pub(super) fn create_tables(rows: &dyn Rows) -> Result<()> {
    [LEASE, RING, CLAIMS, SETTINGS].into_iter().try_for_each(|table| create(rows, table))
}

/// Agrees with all processes, for ever, on how many places there are: the first one says it.
///
/// # Errors
/// If it is another number than `places`; what the database says.
pub(super) fn agree_on_places(rows: &dyn Rows, places: u16) -> Result<()> {
    let bytes = [&[VERSION][..], &places.to_be_bytes()].concat();
    let first = said_first(rows, PLACES, &bytes)?;
    if *first == *bytes {
        return Ok(());
    }
    let there = first.get(1..).and_then(|bytes| bytes.try_into().ok()).map(u16::from_be_bytes);
    let there = there.map_or("another number".to_owned(), |there| there.to_string());
    let why = format!(
        "its data lies in {there} places and cassandra.places is {places}: the number of places \
         never changes"
    );
    Err(refused("use", "cassandra", why))
}

/// Agrees with all processes, for ever, on whose quorum acknowledges: in two data centres two processes
/// would each agree with themselves.
///
/// # Errors
/// If it is another one than this process's; what the database says.
pub(super) fn agree_on_datacenter(rows: &dyn Rows, local_dc: &str) -> Result<()> {
    let bytes = [&[VERSION][..], local_dc.as_bytes()].concat();
    let first = said_first(rows, DATACENTER, &bytes)?;
    if *first == *bytes {
        return Ok(());
    }
    let there = String::from_utf8_lossy(first.get(1..).unwrap_or_default()).into_owned();
    let why = format!(
        "its processes agree in data centre `{there}`, and this one would in `{local_dc}`: set \
         cassandra.local_dc to `{there}`"
    );
    Err(refused("use", "cassandra", why))
}

/// Whose quorum acknowledges, if a process has said it.
pub(super) fn datacenter(rows: &dyn Rows) -> Result<Option<String>> {
    let said = Guard { rows, table: RING, partition: ints([DATACENTER]) };
    let there = persist(RING, || said.read())?;
    Ok(there.map(|bytes| String::from_utf8_lossy(bytes.get(1..).unwrap_or_default()).into_owned()))
}

/// Which ring this is: what the first process drew. Two keyspaces of one name have two numbers.
///
/// # Errors
/// What the database says.
pub(super) fn agree_on_number(rows: &dyn Rows, drawn: u128) -> Result<u128> {
    let first = said_first(rows, NUMBER, &[&[VERSION][..], &drawn.to_be_bytes()].concat())?;
    number_of(&first).ok_or_else(|| Error::corrupt(RING, 0, "which ring it is cannot be read"))
}

/// Which ring this is now, if anybody has said it. Blocks.
pub(super) fn number(rows: &dyn Rows) -> std::result::Result<Option<u128>, RowsError> {
    let said = Guard { rows, table: RING, partition: ints([NUMBER]) };
    Ok(said.read()?.as_deref().and_then(number_of))
}

fn number_of(bytes: &[u8]) -> Option<u128> {
    bytes.get(1..).and_then(|bytes| bytes.try_into().ok()).map(u128::from_be_bytes)
}

/// The ring row, if there is one that this release knows.
pub(super) fn ring(rows: &dyn Rows) -> Result<Option<RingRow>> {
    let ring = Guard { rows, table: RING, partition: ints([0]) };
    let Some(bytes) = persist(RING, || ring.read())? else { return Ok(None) };
    let found = bytes.first().copied().unwrap_or(0);
    let path = || RING.to_owned();
    match ring_of(&bytes) {
        Some(row) => Ok(Some(row)),
        None if found > VERSION => {
            let (found, known) = (u32::from(found), u32::from(VERSION));
            Err(Error::NewerFormat { path: path(), found, known })
        }
        None => Err(Error::corrupt(&path(), 0, "the ring row is not one")),
    }
}

/// Whether a lease has ended.
pub(super) fn is_fenced(rows: &dyn Rows, who: Incarnation) -> Result<bool> {
    let lease = Guard { rows, table: LEASE, partition: of_incarnation(who) };
    let there = persist(LEASE, || lease.read())?;
    Ok(there.as_deref().and_then(lease_of).is_none_or(|row| row.is_fenced))
}

/// What the first process said, or this one now, in a partition of the ring's table that never changes.
fn said_first(rows: &dyn Rows, partition: u64, bytes: &[u8]) -> Result<Arc<[u8]>> {
    let said = Guard { rows, table: RING, partition: ints([partition]) };
    persist(RING, || match said.read()? {
        Some(there) => Ok(there),
        None => match said.change(None, bytes.into(), Vec::new())? {
            Changed::Refused(Some(there)) => Ok(there),
            Changed::Refused(None) | Changed::Applied => Ok(bytes.into()),
        },
    })
}

/// Bytes that are read from their start; `None` where they end too early.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn incarnation(&mut self) -> Option<Incarnation> {
        self.take().map(|bytes| Incarnation(u128::from_be_bytes(bytes)))
    }

    /// So many things of at least so many bytes each: no more than there can be.
    fn count(&mut self, bytes_min: usize) -> Option<u32> {
        let count = self.u32()?;
        (count as usize <= self.0.len() / bytes_min).then_some(count)
    }

    fn end<T>(&self, whole: T) -> Option<T> {
        self.0.is_empty().then_some(whole)
    }
}

fn lease_bytes(row: LeaseRow) -> Arc<[u8]> {
    let mut bytes = vec![VERSION, u8::from(row.is_fenced)];
    bytes.extend(row.counter.to_be_bytes());
    bytes.into()
}

fn lease_of(bytes: &[u8]) -> Option<LeaseRow> {
    let mut input = Input(bytes);
    let (VERSION, fenced @ 0..=1) = (input.u8()?, input.u8()?) else { return None };
    let row = LeaseRow { counter: input.u64()?, is_fenced: fenced == 1 };
    input.end(row)
}

fn claim_bytes(row: &ClaimRow) -> Arc<[u8]> {
    let mut bytes = vec![VERSION, u8::from(row.holder.is_some())];
    bytes.extend(row.holder.unwrap_or(Incarnation(0)).0.to_be_bytes());
    bytes.extend(row.number.to_be_bytes());
    bytes.extend(row.ring_version.to_be_bytes());
    bytes.into()
}

fn claim_of(bytes: &[u8]) -> Option<ClaimRow> {
    let mut input = Input(bytes);
    let (VERSION, held @ 0..=1) = (input.u8()?, input.u8()?) else { return None };
    let holder = input.incarnation()?;
    let holder = (held == 1).then_some(holder);
    let row = ClaimRow { holder, number: input.u64()?, ring_version: input.u64()? };
    input.end(row)
}

/// The bytes of a ring row.
#[must_use]
pub fn ring_bytes(row: &RingRow) -> Vec<u8> {
    let members: Vec<Incarnation> = row.members().keys().copied().collect();
    let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    // Owners are named by their place among the members, which ascend.
    let index = |who: &Incarnation| count(members.partition_point(|member| member < who));
    let mut bytes = vec![VERSION];
    bytes.extend(row.version().to_be_bytes());
    bytes.extend(count(members.len()));
    for (who, standing) in row.members() {
        bytes.extend(who.0.to_be_bytes());
        bytes.push(u8::from(*standing == Standing::Leaves));
    }
    bytes.extend(count(row.ring().vnodes().len()));
    row.ring().vnodes().iter().for_each(|(_, owner)| bytes.extend(index(owner)));
    bytes.extend(count(row.obligations().len()));
    for (debt, stage) in row.obligations() {
        bytes.extend(count(debt.place));
        bytes.extend(debt.dead.0.to_be_bytes());
        bytes.push(u8::from(*stage == Stage::Tail));
    }
    bytes
}

/// The ring row of these bytes, if they are one.
#[must_use]
pub fn ring_of(bytes: &[u8]) -> Option<RingRow> {
    let mut input = Input(bytes);
    if input.u8()? != VERSION {
        return None;
    }
    let version = input.u64()?;
    let mut members = BTreeMap::new();
    for _ in 0..input.count(17)? {
        let (who, standing) = (input.incarnation()?, input.u8()?);
        let standing = if standing == 0 { Standing::Stays } else { Standing::Leaves };
        members.insert(who, standing);
    }
    let in_turn: Vec<Incarnation> = members.keys().copied().collect();
    let mut owners = Vec::new();
    for _ in 0..input.count(4)? {
        owners.push(*in_turn.get(input.u32()? as usize)?);
    }
    let mut obligations = BTreeMap::new();
    for _ in 0..input.count(21)? {
        let (place, dead, tail) = (input.u32()? as usize, input.incarnation()?, input.u8()?);
        let stage = if tail == 0 { Stage::Replay } else { Stage::Tail };
        obligations.insert(Debt { place, dead }, stage);
    }
    input.end(RingRow::of_parts(version, members, &owners, obligations)?)
}

pub(super) fn of_incarnation(who: Incarnation) -> Vec<Column> {
    vec![Column::Text(format!("{:032x}", who.0))]
}

/// What a row says, of the bytes that were found; unknown if they are not such a row.
fn found<T>(
    found: Option<Arc<[u8]>>,
    of: impl Fn(&[u8]) -> Option<T>,
    reply: impl Fn(Option<T>) -> Reply,
) -> Reply {
    match found {
        None => reply(None),
        Some(bytes) => match of(&bytes) {
            Some(row) => reply(Some(row)),
            None => {
                tracing::error!("a row of leases, the ring or claims is of another version");
                Reply::Unknown
            }
        },
    }
}

fn changed<T>(
    outcome: Result<Changed, RowsError>,
    of: impl Fn(&[u8]) -> Option<T>,
    reply: impl Fn(Option<T>) -> Reply,
) -> Reply {
    match outcome {
        Ok(Changed::Applied) => Reply::Applied,
        Ok(Changed::Refused(there)) => found(there, of, reply),
        Err(_) => Reply::Unknown,
    }
}

fn read<T>(
    outcome: Result<Option<Arc<[u8]>>, RowsError>,
    of: impl Fn(&[u8]) -> Option<T>,
    reply: impl Fn(Option<T>) -> Reply,
) -> Reply {
    outcome.map_or(Reply::Unknown, |there| found(there, of, reply))
}

/// A process that asks: who it is, where its peers find it, and the ring row that it knows.
pub(super) struct Asker<'a> {
    pub(super) rows: &'a dyn Rows,
    pub(super) me: Incarnation,
    pub(super) address: &'a str,
}

impl Asker<'_> {
    fn lease(&self, who: Incarnation) -> Guard<'_> {
        Guard { rows: self.rows, table: LEASE, partition: of_incarnation(who) }
    }

    /// Puts an ask to the database; `known` is the ring row that an update of it was made from. Blocks.
    /// Asks about journals and flushes are none of the database's: they are unknown here.
    pub(super) fn put(&self, ask: &Ask, known: Option<&RingRow>) -> Reply {
        match ask {
            Ask::Lease(ask) => self.put_lease(*ask),
            Ask::Watch(who, ask) => {
                let lease = self.lease(*who);
                match ask {
                    WatchAsk::Read => read(lease.read(), lease_of, Reply::Lease),
                    WatchAsk::Fence { counter } => fence(&lease, *counter),
                }
            }
            Ask::Claim(key, ask) => {
                let partition = vec![Column::Text(key.clone())];
                put_claim(&Guard { rows: self.rows, table: CLAIMS, partition }, *ask)
            }
            Ask::ReadRing => read(self.ring().read(), ring_of, boxed),
            Ask::UpdateRing(next) => {
                let expected = known.map(|row| ring_bytes(row).into());
                let outcome = self.ring().change(expected, ring_bytes(next).into(), Vec::new());
                changed(outcome, ring_of, boxed)
            }
            Ask::ReadProgress(_) | Ask::ReadBucket { .. } | Ask::Flush => Reply::Unknown,
        }
    }

    fn ring(&self) -> Guard<'_> {
        Guard { rows: self.rows, table: RING, partition: ints([0]) }
    }

    fn put_lease(&self, ask: LeaseAsk) -> Reply {
        let lease = self.lease(self.me);
        let row = |counter| lease_bytes(LeaseRow { counter, is_fenced: false });
        let outcome = match ask {
            LeaseAsk::Read => return read(lease.read(), lease_of, Reply::Lease),
            LeaseAsk::End { from } => return fence(&lease, from),
            LeaseAsk::Begin => {
                let address = self.address.as_bytes().into();
                let more = vec![(vec![Column::Text(ADDRESS.to_owned())], Some(address))];
                lease.change(None, row(0), more)
            }
            LeaseAsk::Renew { from } => lease.change(Some(row(from)), row(from + 1), Vec::new()),
        };
        changed(outcome, lease_of, Reply::Lease)
    }
}

fn boxed(row: Option<RingRow>) -> Reply {
    Reply::Ring(row.map(Box::new))
}

fn fence(lease: &Guard<'_>, counter: u64) -> Reply {
    let [before, after] =
        [false, true].map(|is_fenced| lease_bytes(LeaseRow { counter, is_fenced }));
    changed(lease.change(Some(before), after, Vec::new()), lease_of, Reply::Lease)
}

fn put_claim(claim: &Guard<'_>, ask: ClaimAsk) -> Reply {
    let ClaimAsk::Write(row) = ask else { return read(claim.read(), claim_of, Reply::Claim) };
    // The condition is the number before, whoever had it: it is looked at, and then made on what was seen.
    let Ok(there) = claim.read() else { return Reply::Unknown };
    let number = there.as_deref().map_or(Some(0), |bytes| claim_of(bytes).map(|row| row.number));
    if number.is_none_or(|number| number + 1 != row.number) {
        return found(there, claim_of, Reply::Claim);
    }
    changed(claim.change(there, claim_bytes(&row), Vec::new()), claim_of, Reply::Claim)
}

/// Where a process is found by its peers; `None` if it never began, or is not known.
pub(super) fn address(rows: &dyn Rows, who: Incarnation) -> Result<Option<String>, RowsError> {
    let first = vec![Column::Text(ADDRESS.to_owned())];
    let read = Read {
        table: LEASE.to_owned(),
        partition: of_incarnation(who),
        last: Some(first.clone()),
        first,
        rows_max: 1,
    };
    let row = rows.read(&read, Consistency::Quorum)?.pop();
    Ok(row.and_then(|row| String::from_utf8(row.data.to_vec()).ok()))
}

#[cfg(test)]
mod tests;
