//! Planted bugs: each is one that a process could have, and each must be caught.
//!
//! | bug | test |
//! |---|---|
//! | 1 a lease is trusted from the answer, not from the asking | `a_lease_trusted_from_the_answer_is_caught` |
//! | 2 what the dead owed for others is forgotten | `obligations_that_are_not_inherited_are_caught` |
//! | 3 the tail is not read again | `a_tail_that_is_not_read_again_is_caught` |
//! | 4 progress is written before the manifest | `progress_before_the_manifest_is_caught` |
//! | 5 the lease is not checked after the quorum | `a_lease_not_checked_after_the_quorum_is_caught` |
//! | 6 a place is taken from a live holder | `a_place_taken_from_a_live_holder_is_caught` |
//! | 7 replaced segments go before their successor is named | `replaced_segments_deleted_before_their_successor_is_named_are_caught` |
//! | 8 a merge does without a piece that one replica lacks | `a_merge_without_a_missing_piece_is_caught` |
//! | 9 replaced segments go though one replica alone may know the successor | `a_successor_that_is_not_confirmed_is_caught` |
//! | 10 a place's journal is read from one node | `a_journal_read_from_one_node_is_caught` |
//!
//! Those that do not depend on how journals are read are caught either way.

use super::process::{Manner, Plant};
use super::story;

/// Tries seeds until one catches the bug, where journals of the dead are read.
fn caught(plant: Plant) {
    caught_as(Manner::ByTheDead, plant);
}

/// The same where each place is opened by itself, as in `ingester`.
fn caught_by_place(plant: Plant) {
    caught_as(Manner::ByPlace, plant);
}

fn caught_as(manner: Manner, plant: Plant) {
    let story = |seed| story(seed, (manner, plant)).1.map(|violation| (seed, violation));
    let (seed, violation) = (0..1_000).find_map(story).expect("caught by one of 1,000 seeds");
    println!("{manner:?}, {plant:?}: caught after {} seeds: {violation}", seed + 1);
}

#[test]
fn a_lease_trusted_from_the_answer_is_caught() {
    caught(Plant::LeaseTrustedFromTheAnswer);
    caught_by_place(Plant::LeaseTrustedFromTheAnswer);
}

#[test]
fn obligations_that_are_not_inherited_are_caught() {
    caught(Plant::ObligationsNotInherited);
}

#[test]
fn a_tail_that_is_not_read_again_is_caught() {
    caught(Plant::TailNotReadAgain);
}

#[test]
fn progress_before_the_manifest_is_caught() {
    caught(Plant::ProgressBeforeManifest);
    caught_by_place(Plant::ProgressBeforeManifest);
}

#[test]
fn a_lease_not_checked_after_the_quorum_is_caught() {
    caught(Plant::LeaseNotCheckedAfterTheQuorum);
    caught_by_place(Plant::LeaseNotCheckedAfterTheQuorum);
}

#[test]
fn a_place_taken_from_a_live_holder_is_caught() {
    caught(Plant::PlaceTakenFromALiveHolder);
    caught_by_place(Plant::PlaceTakenFromALiveHolder);
}

#[test]
fn replaced_segments_deleted_before_their_successor_is_named_are_caught() {
    caught(Plant::ReplacedDeletedFirst);
    caught_by_place(Plant::ReplacedDeletedFirst);
}

#[test]
fn a_merge_without_a_missing_piece_is_caught() {
    caught(Plant::MissingPieceIgnored);
    caught_by_place(Plant::MissingPieceIgnored);
}

#[test]
fn a_successor_that_is_not_confirmed_is_caught() {
    caught(Plant::SuccessorNotConfirmed);
    caught_by_place(Plant::SuccessorNotConfirmed);
}

#[test]
fn a_journal_read_from_one_node_is_caught() {
    caught_by_place(Plant::JournalReadFromOneNode);
}
