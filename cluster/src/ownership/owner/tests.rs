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
    assert_eq!(served(&a, BootMs(3_100)), 0);
    let cover = a.flush_began();
    a.flush_done(cover);
    settle(&mut a, &mut cassandra, BootMs(3_200));
    settle(&mut b, &mut cassandra, BootMs(4_800));
    assert!(a.is_over());
    assert_eq!(served(&b, BootMs(4_800)), 6);
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
