//! The fake keeps Cassandra's rules, one by one.

use super::*;
use crate::cassandra::rows::Column;

const TABLE: &str = "t";

fn fake(seed: u64, faults: Faults) -> Fake {
    let fake = Fake::new(seed, faults);
    fake.create_table(TABLE, 1).unwrap();
    fake
}

fn put(row: i64, data: Option<&str>, timestamp: i64) -> Write {
    let key = Key { partition: vec![Column::Int(1)], row: vec![Column::Int(row)] };
    write_of(TABLE, key, data.map(|text| text.as_bytes().into()), timestamp)
}

fn texts(fake: &Fake, consistency: Consistency) -> Vec<String> {
    let partition = vec![Column::Int(1)];
    let (first, last, rows_max) = (vec![], None, usize::MAX);
    let read = Read { table: TABLE.to_owned(), partition, first, last, rows_max };
    let rows = fake.read(&read, consistency).unwrap();
    rows.iter().map(|row| String::from_utf8(row.data.to_vec()).unwrap()).collect()
}

#[test]
fn the_later_timestamp_stands_then_a_tombstone_then_the_greater_value() {
    let all = [
        (put(1, Some("b"), 1), put(1, Some("a"), 1), vec!["b"]),
        (put(1, Some("a"), 2), put(1, Some("b"), 1), vec!["a"]),
        (put(1, Some("a"), 1), put(1, None, 1), vec![]),
        (put(1, Some("a"), 2), put(1, None, 1), vec!["a"]),
    ];
    for (one, other, expected) in all {
        for order in [[&one, &other], [&other, &one]] {
            let fake = fake(0, Faults::default());
            order.iter().for_each(|write| fake.write(&[(*write).clone()]).unwrap());
            assert_eq!(texts(&fake, Consistency::One), expected);
        }
    }
}

#[test]
fn a_deleted_partition_hides_what_is_not_later_also_what_comes_afterwards() {
    let fake = fake(0, Faults::default());
    let key = Key { partition: vec![Column::Int(1)], row: vec![] };
    fake.write(&[put(1, Some("a"), 1), put(2, Some("b"), 3)]).unwrap();
    fake.write(&[write_of(TABLE, key, None, 2)]).unwrap();
    fake.write(&[put(3, Some("c"), 1)]).unwrap();
    assert_eq!(texts(&fake, Consistency::Quorum), ["b"]);
}

#[test]
fn what_is_acknowledged_is_read_by_every_quorum_and_not_by_every_node() {
    let faults = Faults { write_late: 50, write_unknown: 30, ..Faults::default() };
    let mut missed = 0;
    for seed in 0..200 {
        let fake = fake(seed, faults);
        let is_acknowledged = fake.write(&[put(1, Some("a"), 1)]).is_ok();
        for _ in 0..4 {
            if is_acknowledged {
                assert_eq!(texts(&fake, Consistency::Quorum), ["a"]);
                missed += usize::from(texts(&fake, Consistency::One).is_empty());
            }
        }
    }
    assert!(missed > 20, "{missed} of 800");
}

#[test]
fn a_write_that_timed_out_may_come_later() {
    let faults = Faults { write_unknown: 100, ..Faults::default() };
    let (mut before, mut after) = (0, 0);
    for seed in 0..100 {
        let fake = fake(seed, faults);
        assert!(matches!(fake.write(&[put(1, Some("a"), 1)]), Err(RowsError::Unknown(_))));
        before += texts(&fake, Consistency::Serial).len();
        fake.deliver();
        after += texts(&fake, Consistency::Serial).len();
    }
    assert!(before > 10 && after > before && after <= 100, "{before}, then {after}");
}

#[test]
fn a_change_is_made_once_however_often_it_comes() {
    let faults = Faults { change_unknown: 60, ..Faults::default() };
    for seed in 0..300 {
        let fake = fake(seed, faults);
        let guard = |number: u8| -> Arc<[u8]> { [number].into() };
        let mut at: Option<u8> = None;
        for _ in 0..20 {
            let next = at.map_or(0, |at| at + 1);
            let change = Change {
                table: TABLE.to_owned(),
                partition: vec![Column::Int(1)],
                expected: at.map(guard),
                guard: guard(next),
                rows: vec![(vec![Column::Int(i64::from(next))], Some([next].into()))],
            };
            match fake.change(&change) {
                Ok(Changed::Applied) => at = Some(next),
                Ok(Changed::Refused(found)) => {
                    assert_eq!(found, Some(guard(next)), "only our own is found");
                    at = Some(next);
                }
                Err(_) => {}
            }
        }
        fake.deliver();
        let read = Read {
            table: TABLE.to_owned(),
            partition: vec![Column::Int(1)],
            first: vec![],
            last: None,
            rows_max: usize::MAX,
        };
        let rows = fake.read(&read, Consistency::Serial);
        let Some(rows) = rows.ok().filter(|rows| !rows.is_empty()) else { continue };
        let numbers: Vec<u8> = rows.iter().map(|row| row.data[0]).collect();
        let (guard, made) = numbers.split_first().unwrap();
        assert_eq!(made, (0..=*guard).collect::<Vec<u8>>());
        assert!(at.is_none_or(|at| at <= *guard), "what was acknowledged was made");
    }
}

#[test]
fn a_table_created_twice_loses_its_rows_unless_it_has_the_same_id() {
    let faults = Faults { schema_late: 100, ..Faults::default() };
    for (id, expected) in [(1, vec!["a"]), (2, vec![])] {
        let fake = fake(0, faults);
        fake.write(&[put(1, Some("a"), 1)]).unwrap();
        fake.create_table(TABLE, id).unwrap();
        assert_eq!(texts(&fake, Consistency::Serial), expected);
    }
}

#[test]
fn a_node_that_answers_before_it_syncs_loses_what_it_answered() {
    for (is_periodic, expected) in [(true, vec!["a"]), (false, vec!["a", "b"])] {
        let fake = fake(0, Faults { is_periodic, ..Faults::default() });
        fake.write(&[put(1, Some("a"), 1)]).unwrap();
        fake.sync();
        fake.write(&[put(2, Some("b"), 1)]).unwrap();
        (0..3).for_each(|node| fake.crash(node));
        assert_eq!(texts(&fake, Consistency::Serial), expected);
    }
}
