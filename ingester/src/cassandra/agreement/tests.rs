//! The rows of agreement over the fake.

use super::*;
use crate::cassandra::fake::{Fake, Faults};
use model::SplitMix64;
use std::collections::BTreeSet;

const A: Incarnation = Incarnation(1);
const B: Incarnation = Incarnation(u128::MAX);
const C: Incarnation = Incarnation(3);

fn row() -> RingRow {
    let mut row = RingRow::first(A, 7);
    row.join(B);
    row.take_over(A, &BTreeSet::from([B]));
    row.join(C);
    row.settle(Debt { place: 2, dead: A });
    row.hand_over(3, C);
    row.announce_leave(B);
    row.next()
}

#[test]
fn every_row_comes_back_from_its_bytes_and_no_part_of_them_does() {
    let ring = ring_bytes(&row());
    assert_eq!(ring_of(&ring), Some(row()));
    let lease = LeaseRow { counter: 7, is_fenced: true };
    assert_eq!(lease_of(&lease_bytes(lease)), Some(lease));
    let claim = ClaimRow { holder: Some(B), number: 3, ring_version: 9 };
    assert_eq!(claim_of(&claim_bytes(&claim)), Some(claim));
    for len in 0..ring.len() {
        assert_eq!(ring_of(&ring[..len]), None);
    }
    assert_eq!(ring_of(&[ring, vec![0]].concat()), None);
}

#[test]
fn bytes_that_are_no_ring_row_are_told_from_one() {
    let mut chance = SplitMix64::new(1);
    let ring = ring_bytes(&row());
    for _ in 0..2_000 {
        let mut bytes = ring.clone();
        let at = usize::try_from(chance.draw()).unwrap() % bytes.len();
        bytes[at] = chance.draw().to_le_bytes()[0];
        // It is another row, or none; it is never a panic, nor large.
        if let Some(row) = ring_of(&bytes) {
            assert!(row.ring().vnodes().len() <= 7);
        }
    }
    let huge = [&ring[..9], &[0xff; 4]].concat();
    assert_eq!(ring_of(&huge), None);
}

#[test]
fn a_lease_is_begun_renewed_and_fenced_and_says_where_its_holder_is() {
    let fake = Fake::new(1, Faults::default());
    create_tables(&fake).unwrap();
    let asker = Asker { rows: &fake, me: A, address: "10.0.0.1:9010" };
    let put = |ask| asker.put(&ask, None);
    assert_eq!(put(Ask::Watch(A, WatchAsk::Read)), Reply::Lease(None));
    assert_eq!(put(Ask::Lease(LeaseAsk::Begin)), Reply::Applied);
    assert_eq!(put(Ask::Lease(LeaseAsk::Renew { from: 0 })), Reply::Applied);
    let row = |counter, is_fenced| Reply::Lease(Some(LeaseRow { counter, is_fenced }));
    assert_eq!(put(Ask::Lease(LeaseAsk::Begin)), row(1, false));
    assert_eq!(put(Ask::Watch(A, WatchAsk::Fence { counter: 0 })), row(1, false));
    assert_eq!(put(Ask::Watch(A, WatchAsk::Fence { counter: 1 })), Reply::Applied);
    assert_eq!(put(Ask::Lease(LeaseAsk::Renew { from: 1 })), row(1, true));
    assert_eq!(address(&fake, A).unwrap().as_deref(), Some("10.0.0.1:9010"));
    assert_eq!(address(&fake, B).unwrap(), None);
}

#[test]
fn the_ring_row_changes_only_from_the_version_before() {
    let fake = Fake::new(1, Faults::default());
    create_tables(&fake).unwrap();
    let asker = Asker { rows: &fake, me: A, address: "" };
    let first = RingRow::first(A, 4);
    let second = first.next();
    let update = |row: &RingRow| Ask::UpdateRing(Box::new(row.clone()));
    assert_eq!(asker.put(&update(&first), None), Reply::Applied);
    assert_eq!(asker.put(&update(&second), Some(&first)), Reply::Applied);
    let there = Reply::Ring(Some(Box::new(second.clone())));
    assert_eq!(asker.put(&update(&second), Some(&first)), there);
    assert_eq!(asker.put(&Ask::ReadRing, None), there);
}

#[test]
fn the_first_process_says_how_many_places_there_are_and_another_number_is_refused() {
    for seed in 0..50 {
        let faults = Faults { change_unknown: 60, read_unknown: 40, ..Faults::default() };
        let fake = Fake::new(seed, Faults::default());
        create_tables(&fake).unwrap();
        fake.set_faults(faults);
        let mut said = None;
        for places in [16, 32, 16, 32] {
            // An outcome that stays unknown is an error, and what was asked for may come later.
            match (agree_on_places(&fake, places), said) {
                (Ok(()), None) => said = Some(places),
                (Ok(()), Some(there)) => assert_eq!(places, there),
                (Err(_), _) => {}
            }
        }
        fake.set_faults(Faults::default());
        let both = [16, 32].map(|places| agree_on_places(&fake, places));
        assert_eq!(both.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        let error = both.into_iter().find_map(Result::err).unwrap().to_string();
        assert!(error.contains("never changes"), "{error}");
        said.iter().for_each(|there| assert!(agree_on_places(&fake, *there).is_ok()));
    }
}

#[test]
fn a_claim_is_written_only_over_the_number_before() {
    let fake = Fake::new(1, Faults::default());
    create_tables(&fake).unwrap();
    let asker = Asker { rows: &fake, me: A, address: "" };
    let row = |number| ClaimRow { holder: Some(A), number, ring_version: 1 };
    let write = |number| Ask::Claim("schema".to_owned(), ClaimAsk::Write(row(number)));
    assert_eq!(asker.put(&write(2), None), Reply::Claim(None));
    assert_eq!(asker.put(&write(1), None), Reply::Applied);
    assert_eq!(asker.put(&write(1), None), Reply::Claim(Some(row(1))));
    assert_eq!(asker.put(&write(2), None), Reply::Applied);
}

#[test]
fn the_first_process_says_whose_quorum_acknowledges_and_another_one_is_refused() {
    let fake = Fake::new(1, Faults::default());
    create_tables(&fake).unwrap();
    agree_on_datacenter(&fake, "dc1").unwrap();
    agree_on_datacenter(&fake, "dc1").unwrap();
    let error = agree_on_datacenter(&fake, "dc2").unwrap_err().to_string();
    assert!(error.contains("`dc1`") && error.contains("cassandra.local_dc"), "{error}");
}

#[test]
fn the_first_process_draws_the_number_of_a_ring_and_another_database_has_another_one() {
    let fake = Fake::new(1, Faults::default());
    create_tables(&fake).unwrap();
    assert_eq!([agree_on_number(&fake, 7).unwrap(), agree_on_number(&fake, 8).unwrap()], [7, 7]);
    let other = Fake::new(1, Faults::default());
    create_tables(&other).unwrap();
    assert_eq!(agree_on_number(&other, 8).unwrap(), 8);
}
