//! Who serves what, for a person who looks at the database: the ring, leases, what is owed, journals.
//!
//! Not here: tables and their sizes (`upkeep.rs`).

use super::agreement;
use super::rows::{Rows, persist, table_names};
use super::schema::{LEASE, RING, SETTINGS, journal_of};
use super::settings;
use super::upkeep::Scan;
use cluster::ownership::Incarnation;
use cluster::ownership::ring_row::{Debt, RingRow, Stage, Standing};
use cluster::ownership::watch::TAKE_OVER_AFTER_MS;
use std::sync::Arc;
use store::{Result, RetentionConfig};

const HOUR_MS: i64 = 3_600_000;

/// A member of the ring, and its lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Which incarnation.
    pub who: Incarnation,
    /// Where its peers find it.
    pub address: Option<String>,
    /// How many places it has.
    pub places: usize,
    /// Whether it hands over what it has.
    pub is_leaving: bool,
    /// Whether its lease was taken from it, or given up.
    pub is_fenced: bool,
    /// How long ago its lease was renewed, by the database's clock, in milliseconds.
    pub renewed_ms: Option<u64>,
}

impl Holder {
    /// How long others wait yet before they may take over, in milliseconds, if it does not renew.
    #[must_use]
    pub fn left_ms(&self) -> Option<u64> {
        self.renewed_ms.map(|ms| TAKE_OVER_AFTER_MS.saturating_sub(ms))
    }
}

/// Who serves what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Oversight {
    /// How often the ring row was changed; 0 if there is none yet.
    pub ring_version: u64,
    /// How many places there are.
    pub places: usize,
    /// Whose quorum acknowledges, once a process has said it.
    pub datacenter: Option<String>,
    /// The members of the ring.
    pub holders: Vec<Holder>,
    /// What is owed to the journals of the dead, and how far that has come.
    pub obligations: Vec<(Debt, Stage)>,
    /// The periods of the journals whose tables are there, ascending: hours since 1970.
    pub journals: Vec<u64>,
    /// The hour since 1970 that the nodes' clocks show, if they were asked.
    pub hour: Option<u64>,
    /// How long samples are kept, once a process has said it.
    pub retention: Option<RetentionConfig>,
}

/// Looks at the rows by which processes agree.
///
/// # Errors
/// What the database says; a ring row that a newer release has written.
pub fn look(rows: &Arc<dyn Scan>) -> Result<Oversight> {
    let tables = table_names(&**rows)?;
    let mut journals: Vec<u64> = tables.iter().filter_map(|name| journal_of(name)).collect();
    journals.sort_unstable();
    let clock_ms = persist(SETTINGS, || rows.clock_ms())?;
    let hour = clock_ms.and_then(|ms| u64::try_from(ms / HOUR_MS).ok());
    let mut seen = Oversight { journals, hour, ..Oversight::default() };
    if tables.contains(SETTINGS) {
        seen.retention = settings::retention(&**rows)?;
    }
    if !tables.contains(RING) || !tables.contains(LEASE) {
        return Ok(seen);
    }
    seen.datacenter = agreement::datacenter(&**rows)?;
    let Some(row) = agreement::ring(&**rows)? else { return Ok(seen) };
    seen.ring_version = row.version();
    seen.places = row.ring().vnodes().len();
    seen.obligations = row.obligations().iter().map(|(debt, stage)| (*debt, *stage)).collect();
    for (who, standing) in row.members() {
        seen.holders.push(holder(&**rows, &row, *who, *standing)?);
    }
    Ok(seen)
}

fn holder(rows: &dyn Scan, row: &RingRow, who: Incarnation, standing: Standing) -> Result<Holder> {
    let rows_of = |scan: &dyn Scan| -> Result<(Option<String>, bool)> {
        let as_rows: &dyn Rows = scan;
        let address = persist(LEASE, || agreement::address(as_rows, who))?;
        Ok((address, agreement::is_fenced(as_rows, who)?))
    };
    let (address, is_fenced) = rows_of(rows)?;
    let partition = agreement::of_incarnation(who);
    let renewed_ms = persist(LEASE, || rows.guard_age_ms(LEASE, &partition))?;
    let places = row.places_of(who).count();
    let is_leaving = standing == Standing::Leaves;
    Ok(Holder { who, address, places, is_leaving, is_fenced, renewed_ms })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cassandra::agreement::Asker;
    use crate::cassandra::fake::{Fake, Faults};
    use crate::cassandra::guarded::Guard;
    use crate::cassandra::rows::create;
    use crate::cassandra::schema::{ints, journal_table};
    use cluster::ownership::lease::LeaseAsk;
    use cluster::ownership::{Ask, Reply};
    use std::collections::BTreeSet;
    use store::Error;

    #[test]
    fn members_their_leases_and_what_is_owed_are_seen() {
        let fake = Fake::new(1, Faults::default());
        let scan: Arc<dyn Scan> = Arc::new(fake.clone());
        assert_eq!(look(&scan).unwrap(), Oversight::default());
        agreement::create_tables(&fake).unwrap();
        assert_eq!(look(&scan).unwrap().ring_version, 0);
        agreement::agree_on_datacenter(&fake, "dc1").unwrap();
        let (a, b) = (Incarnation(1), Incarnation(2));
        for (me, address) in [(a, "a:9010"), (b, "b:9010")] {
            let asker = Asker { rows: &fake, me, address };
            assert_eq!(asker.put(&Ask::Lease(LeaseAsk::Begin), None), Reply::Applied);
        }
        let asker = Asker { rows: &fake, me: b, address: "b:9010" };
        let first = RingRow::first(a, 4);
        let update = |row: &RingRow| Ask::UpdateRing(Box::new(row.clone()));
        assert_eq!(asker.put(&update(&first), None), Reply::Applied);
        let mut next = first.next();
        next.join(b);
        next.take_over(a, &BTreeSet::from([b]));
        assert_eq!(asker.put(&update(&next), Some(&first)), Reply::Applied);

        let seen = look(&scan).unwrap();
        assert_eq!((seen.ring_version, seen.places, seen.obligations.len()), (2, 4, 4));
        assert_eq!(seen.datacenter.as_deref(), Some("dc1"));
        let [holder] = &seen.holders[..] else { panic!("{:?}", seen.holders) };
        assert_eq!((holder.who, holder.places, holder.is_fenced), (b, 4, false));
        assert_eq!(holder.address.as_deref(), Some("b:9010"));
        create(&fake, &journal_table(7)).unwrap();
        create(&fake, &journal_table(500)).unwrap();
        assert_eq!(look(&scan).unwrap().journals, [7, 500]);
        let renewed = Holder { renewed_ms: Some(1_200), ..holder.clone() };
        assert_eq!((holder.left_ms(), renewed.left_ms()), (None, Some(8_800)));
    }

    #[test]
    fn a_ring_row_of_a_newer_release_is_no_ring_that_is_not_there_yet() {
        let fake = Fake::new(1, Faults::default());
        let scan: Arc<dyn Scan> = Arc::new(fake.clone());
        agreement::create_tables(&fake).unwrap();
        let ring = Guard { rows: &fake, table: RING, partition: ints([0]) };
        ring.change(None, [2, 7].as_slice().into(), Vec::new()).unwrap();
        let error = look(&scan).unwrap_err();
        assert!(matches!(error, Error::NewerFormat { found: 2, known: 1, .. }), "{error}");
    }
}
