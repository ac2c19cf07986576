//! Two processes over a database that answers at once.

use super::*;
use crate::ownership::simulation::{Cassandra, Chance};

const A: Incarnation = Incarnation(1);
const B: Incarnation = Incarnation(2);
const PLACES: u16 = 6;

/// Asks and answers until there is nothing to ask; whether a flush was wanted.
fn settle(owner: &mut Owner, cassandra: &mut Cassandra, now: BootMs) -> bool {
    let mut wants_flush = false;
    loop {
        let commands = owner.poll(now);
        if commands.is_empty() {
            return wants_flush;
        }
        for command in commands {
            wants_flush |= command.ask == Ask::Flush;
            let answer = cassandra.serve(owner.me, &command.ask, &mut Chance::new(1));
            owner.answered(&command, &answer.reply, now);
        }
    }
}

fn served(owner: &Owner, now: BootMs) -> usize {
    let tokens = (0..u64::from(PLACES)).map(|place| Token(place * (u64::MAX / 6) + 7));
    tokens.filter(|token| owner.serves(*token, now)).count()
}

/// A alone with all places, and B, which has just joined.
fn two(cassandra: &mut Cassandra) -> (Owner, Owner) {
    let (mut a, mut b) = (Owner::new(A, PLACES), Owner::new(B, PLACES));
    settle(&mut a, cassandra, BootMs(0));
    settle(&mut b, cassandra, BootMs(0));
    (a, b)
}

#[test]
fn the_first_process_makes_the_ring_and_serves_it_while_its_lease_is_trusted() {
    let mut cassandra = Cassandra::default();
    let (a, b) = two(&mut cassandra);
    assert_eq!(served(&a, BootMs(6_999)), 6);
    assert_eq!(served(&a, BootMs(7_000)), 0);
    assert_eq!(served(&b, BootMs(0)), 0);
}

#[test]
fn a_joiner_is_given_half_after_a_flush_that_began_when_the_half_was_held_back() {
    let mut cassandra = Cassandra::default();
    let (mut a, mut b) = two(&mut cassandra);
    let early = a.flush_began();
    settle(&mut a, &mut cassandra, BootMs(3_000));
    assert_eq!(served(&a, BootMs(3_000)), 3);
    a.flush_done(early);
    assert!(settle(&mut a, &mut cassandra, BootMs(3_000)));
    settle(&mut b, &mut cassandra, BootMs(3_000));
    assert_eq!(served(&b, BootMs(3_000)), 0);

    let cover = a.flush_began();
    a.flush_done(cover);
    settle(&mut a, &mut cassandra, BootMs(3_100));
    settle(&mut b, &mut cassandra, BootMs(4_700));
    assert_eq!((served(&a, BootMs(4_700)), served(&b, BootMs(4_700))), (3, 3));
}

#[test]
fn a_flush_of_an_earlier_hold_does_not_cover_a_later_one() {
    let mut cassandra = Cassandra::default();
    let (mut a, mut b) = two(&mut cassandra);
    settle(&mut a, &mut cassandra, BootMs(3_000));
    let early = a.flush_began();
    // B is silent, so A takes its places back; then B is there again.
    settle(&mut a, &mut cassandra, BootMs(10_500));
    assert_eq!(served(&a, BootMs(10_500)), 6);
    settle(&mut b, &mut cassandra, BootMs(11_000));
    settle(&mut a, &mut cassandra, BootMs(12_100));
    assert_eq!(served(&a, BootMs(12_100)), 3);
    a.flush_done(early);
    settle(&mut a, &mut cassandra, BootMs(12_200));
    settle(&mut b, &mut cassandra, BootMs(14_000));
    assert_eq!(served(&b, BootMs(14_000)), 0);
}

#[test]
fn who_leaves_hands_everything_over_and_gives_up_its_lease() {
    let mut cassandra = Cassandra::default();
    let (mut a, mut b) = two(&mut cassandra);
    settle(&mut a, &mut cassandra, BootMs(3_000));
    a.leave();
    settle(&mut a, &mut cassandra, BootMs(3_100));
    assert_eq!(served(&a, BootMs(3_100)), 2, "until it is their turn");
    for ms in [3_150, 3_200] {
        let cover = a.flush_began();
        a.flush_done(cover);
        settle(&mut a, &mut cassandra, BootMs(ms));
        assert_eq!(served(&a, BootMs(ms)), 0);
    }
    settle(&mut b, &mut cassandra, BootMs(4_800));
    assert!(a.is_over());
    assert_eq!(served(&b, BootMs(4_800)), 6);
    assert!(b.row().unwrap().obligations().is_empty());
}

#[test]
fn who_leaves_hands_each_place_over_as_soon_as_it_is_flushed_and_serves_the_others() {
    let mut cassandra = Cassandra::default();
    let (mut a, mut b) = two(&mut cassandra);
    settle(&mut a, &mut cassandra, BootMs(1_600));
    let all: Vec<usize> = a.held().collect();
    // It keeps what it may, and gives the rest away, one by one.
    let (first, rest) = all.split_first().unwrap();
    let hold = a.begin_give(*first).unwrap();
    assert_eq!(a.begin_give(*first), None, "it has begun");
    a.has_given(*first, hold + 1);
    settle(&mut a, &mut cassandra, BootMs(1_700));
    assert!(a.row().unwrap().places_of(B).next().is_none(), "another hold's flush");
    a.has_given(*first, hold);
    settle(&mut a, &mut cassandra, BootMs(1_800));
    assert!(a.row().unwrap().places_of(B).eq([*first]), "the others are not waited for");
    for place in rest {
        let hold = a.begin_give(*place).unwrap();
        a.has_given(*place, hold);
    }
    settle(&mut a, &mut cassandra, BootMs(1_900));
    settle(&mut b, &mut cassandra, BootMs(3_400));

    b.leave();
    settle(&mut b, &mut cassandra, BootMs(3_500));
    a.leave();
    settle(&mut a, &mut cassandra, BootMs(3_500));
    let held = a.held().count();
    assert!(held == 3, "nobody stays: all are held back, {held}");
}

#[test]
fn who_leaves_holds_a_few_places_back_at_a_time() {
    let mut cassandra = Cassandra::default();
    let (mut a, mut b) = two(&mut cassandra);
    settle(&mut a, &mut cassandra, BootMs(1_600));
    settle(&mut b, &mut cassandra, BootMs(1_700));
    a.leave();
    settle(&mut a, &mut cassandra, BootMs(1_800));
    let held: Vec<usize> = a.held().collect();
    assert_eq!((held.len(), served(&a, BootMs(1_800))), (4, 2), "the others are served meanwhile");
    let hold = a.begin_give(held[0]).unwrap();
    a.has_given(held[0], hold);
    settle(&mut a, &mut cassandra, BootMs(1_900));
    assert_eq!((a.held().count(), served(&a, BootMs(1_900))), (4, 1), "one goes, the next is held");
}

#[test]
fn debts_without_tails_leave_the_ring_row_with_the_flush_that_settles_them() {
    let mut cassandra = Cassandra::default();
    let mut a = Owner::new(A, PLACES);
    settle(&mut a, &mut cassandra, BootMs(0));
    let mut b = Owner::new(B, PLACES).without_tails();
    for ms in (0..20_000).step_by(500) {
        settle(&mut b, &mut cassandra, BootMs(ms));
    }
    assert_eq!(b.row().unwrap().obligations_of(B).count(), 6, "A is silent, and taken over");
    (0..6).for_each(|place| b.has_opened(place));
    let cover = b.flush_began();
    b.flush_done(cover);
    settle(&mut b, &mut cassandra, BootMs(20_100));
    assert!(b.row().unwrap().obligations().is_empty());
}

#[test]
fn a_database_that_fails_or_forgets_at_once_is_not_asked_in_a_busy_loop() {
    for reply in [Reply::Unknown, Reply::Ring(None)] {
        let mut cassandra = Cassandra::default();
        let (mut a, _) = two(&mut cassandra);
        a.claim("schema", true);
        a.leave();
        for ms in [1_000, 3_000, 6_500] {
            let asks = (0..100).map(|_| {
                let commands = a.poll(BootMs(ms));
                commands.iter().for_each(|ask| a.answered(ask, &reply, BootMs(ms)));
                commands.len()
            });
            assert!(asks.sum::<usize>() < 12, "{reply:?}");
        }
    }
}
