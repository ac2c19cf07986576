//! The journal over the fake.

use super::line::ROW_BYTES_MAX;
use super::*;
use crate::cassandra::fake::{Fake, Faults};
use crate::cassandra::rows::{
    Change, Changed, Column, CommitLogSync, Consistency, Read, Row, RowsError, Write, create,
};
use crate::cassandra::schema::ints;

fn whose(place: u16, period: u64) -> Whose {
    let periods = Arc::new(Periods::default());
    periods.set_hour(period);
    Whose {
        place,
        places: 2,
        periods,
        floor: Arc::default(),
        pending_bytes: Arc::default(),
        gathering: Arc::new(Gathering::new(u128::from(place) + 7)),
        is_used: Arc::default(),
    }
}

/// A period's table is there.
fn begin(fake: &Fake, whose: &Whose, period: u64) {
    create(fake, &journal_table(period)).unwrap();
    whose.periods.is_there(period);
}

fn first(life: u64, period: u64) -> u64 {
    Segment { life, period, stretch: 0 }.number()
}

fn replayed(fake: &Fake, place: u16, from_segment: u64) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    let report = replay(fake, &whose(place, 0), 9, from_segment, &mut |record| {
        records.push(record.to_vec());
        Ok(())
    });
    assert!(report.unwrap().damage.is_empty());
    records
}

fn journals(fake: &Fake) -> Vec<u64> {
    fake.tables().unwrap().iter().filter_map(|name| journal_of(name)).collect()
}

fn opened(fake: &Fake, whose: &Whose, life: u64) -> Journal {
    let (rows, config) = (Arc::new(fake.clone()), commit_log::Config::default());
    Journal::open(rows, whose.clone(), life, 0, &config).unwrap()
}

fn write(journal: &Journal, record: u8) {
    journal.append(&[record]).unwrap();
    journal.sync().unwrap();
}

#[test]
fn a_segment_s_number_rises_with_time_and_says_where_it_is() {
    let segments = [(1, 490_000, 7), (1, 490_001, 0), (2, 3, 65_535)];
    let segments = segments.map(|(life, period, stretch)| Segment { life, period, stretch });
    assert!(segments.map(Segment::number).is_sorted());
    assert_eq!(segments.map(|segment| Segment::of(segment.number())), segments);
}

#[test]
fn a_record_that_is_larger_than_a_row_comes_back_whole_and_in_its_place() {
    let fake = Fake::new(1, Faults::default());
    let journal = opened(&fake, &whose(0, 0), 1);
    let large: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).take(2_500_000).collect();
    let records = [vec![1; 10], large, vec![2], vec![3; ROW_BYTES_MAX]];
    for record in &records {
        journal.append(record).unwrap();
    }
    assert_eq!(journal.sync().unwrap(), 4);
    assert_eq!(replayed(&fake, 0, 0), records);
}

#[test]
fn what_timed_out_is_written_again_and_comes_once_and_in_order() {
    let mut refused = 0;
    for seed in 0..50 {
        let faults = Faults { write_unknown: 30, write_twice: 50, ..Faults::default() };
        let fake = Fake::new(seed, faults);
        let journal = opened(&fake, &whose(0, 0), 1);
        for number in 0..20_u8 {
            journal.append(&[number]).unwrap();
            refused += u32::from(journal.sync().is_err());
        }
        assert!((0..200).any(|_| journal.sync().is_ok()), "it comes through");
        fake.deliver();
        let expected: Vec<Vec<u8>> = (0..20).map(|number| vec![number]).collect();
        assert_eq!(replayed(&fake, 0, 0), expected);
    }
    assert!(refused > 0, "some syncs fail");
}

#[test]
fn a_replay_begins_at_its_segment_and_goes_on_through_later_lives_and_periods() {
    let fake = Fake::new(1, Faults::default());
    let whose = whose(1, 5);
    let life = opened(&fake, &whose, 1);
    write(&life, 1);
    let segment = life.roll();
    assert_eq!(life.roll(), segment, "a stretch without a row is not left");
    write(&life, 2);
    begin(&fake, &whose, 7);
    write(&life, 3);
    // A life that wrote nothing.
    opened(&fake, &whose, 2);
    let third = opened(&fake, &whose, 3);
    write(&third, 4);
    assert_eq!(replayed(&fake, 1, 0), [[1], [2], [3], [4]]);
    assert_eq!(replayed(&fake, 1, segment), [[2], [3], [4]]);
    assert_eq!(replayed(&fake, 1, first(1, 7)), [[3], [4]]);
    assert_eq!(replayed(&fake, 1, first(3, 7)), [[4]]);
    assert_eq!(replayed(&fake, 0, 0), [[0; 0]; 0], "nothing of another place");
    assert_eq!(journals(&fake), [5, 7]);
}

#[test]
fn a_table_of_journals_that_somebody_dropped_is_told_and_one_that_nobody_needs_is_not_missed() {
    let fake = Fake::new(1, Faults::default());
    let (knowing, unknowing) = (whose(0, 5), whose(0, 0));
    let life = opened(&fake, &knowing, 1);
    write(&life, 1);
    begin(&fake, &knowing, 7);
    write(&life, 2);
    let told = |whose: &Whose, from| {
        let report = replay(&fake, whose, 9, from, &mut |_| Ok(())).unwrap();
        report.damage.into_iter().map(|damage| damage.path).collect::<Vec<_>>()
    };
    assert!(told(&unknowing, first(1, 5)).is_empty());
    fake.drop_table(&journal_table(5)).unwrap();
    assert_eq!(told(&unknowing, first(1, 5)), [format!("{}: it is not there", journal_table(5))]);
    assert!(told(&unknowing, first(1, 7)).is_empty(), "all of it had been flushed");
    fake.drop_table(&journal_table(7)).unwrap();
    assert_eq!(told(&knowing, first(1, 5)).len(), 2, "this process knows that it was there");
}

#[test]
fn a_clock_that_lags_behind_writes_no_row_where_none_is_looked_for() {
    let fake = Fake::new(1, Faults::default());
    let (rows, config) = (Arc::new(fake.clone()), commit_log::Config::default());
    let from = first(1, 9);
    write(&Journal::open(rows, whose(0, 4), 2, from, &config).unwrap(), 1);
    assert_eq!(replayed(&fake, 0, from), [[1]]);
}

#[test]
fn a_table_goes_when_every_place_is_past_its_period() {
    let fake = Fake::new(1, Faults::default());
    let tables = || fake.tables().unwrap();
    let rows: Arc<dyn Rows> = Arc::new(fake.clone());
    let database = super::super::Database::new(rows, 1, 2, false).unwrap();
    let open = |place| {
        let store = database.place(place, 0);
        let parts = store::engine::Parts {
            disk: store.disk(),
            cluster_name: "c".to_owned(),
            generation_seed: 1,
        };
        let now = model::TimestampMs(1_700_000_000_000);
        let config = store::Config::default();
        let engine = store::Engine::open_on(&store, parts, config, now).unwrap().0;
        move || drop(engine.flush(now).unwrap())
    };
    database.set_hour(5);
    let (one, other) = (open(0), open(1));
    other();
    database.set_hour(6);
    database.make_next_period().unwrap();
    one();
    assert!(tables().contains(&journal_table(5)), "the other place may need it");
    other();
    assert!(!tables().contains(&journal_table(5)), "both are past it: {:?}", tables());
}

#[test]
fn rows_whose_place_is_given_stay_in_their_period_until_they_are_written() {
    let fake = Fake::new(1, Faults { write_unknown: 100, ..Faults::default() });
    let whose = whose(0, 5);
    let journal = opened(&fake, &whose, 1);
    journal.append(&[1]).unwrap();
    assert!(journal.sync().is_err());
    begin(&fake, &whose, 6);
    assert_eq!(Segment::of(journal.roll()).period, 5);
    fake.set_faults(Faults::default());
    write(&journal, 2);
    write(&journal, 3);
    assert_eq!(replayed(&fake, 0, 0), [[1], [2], [3]]);
    assert_eq!(replayed(&fake, 0, first(1, 6)), [[3]]);
}

/// A database that holds up writes to journals, and refuses those of a writer.
#[derive(Debug)]
struct Slow {
    fake: Fake,
    is_held: Mutex<bool>,
    changed: parking_lot::Condvar,
    waiting: AtomicU64,
    refuses: Mutex<Option<Column>>,
}

impl Slow {
    fn new(fake: &Fake) -> Arc<Self> {
        let (changed, waiting) = (parking_lot::Condvar::new(), AtomicU64::new(0));
        let (is_held, refuses) = (Mutex::new(true), Mutex::default());
        Arc::new(Self { fake: fake.clone(), is_held, changed, waiting, refuses })
    }

    fn until_one_waits(&self) {
        while self.waiting.load(Ordering::Acquire) == 0 {
            std::thread::yield_now();
        }
    }

    fn let_go(&self) {
        *self.is_held.lock() = false;
        self.changed.notify_all();
    }
}

impl Rows for Slow {
    fn tables(&self) -> Result<Vec<String>, RowsError> {
        self.fake.tables()
    }
    fn is_everywhere(&self, table: &str) -> Result<bool, RowsError> {
        self.fake.is_everywhere(table)
    }
    fn clock_ms(&self) -> Result<Option<i64>, RowsError> {
        self.fake.clock_ms()
    }
    fn create_table(&self, name: &str, id: u128) -> Result<(), RowsError> {
        self.fake.create_table(name, id)
    }
    fn drop_table(&self, name: &str) -> Result<(), RowsError> {
        self.fake.drop_table(name)
    }
    fn write(&self, rows: &[Write]) -> Result<(), RowsError> {
        let mut is_held = self.is_held.lock();
        self.waiting.fetch_add(1, Ordering::Release);
        while *is_held {
            self.changed.wait(&mut is_held);
        }
        drop(is_held);
        let refused = self.refuses.lock().clone();
        if rows.iter().any(|row| refused.is_some() && row.key.row.first() == refused.as_ref()) {
            return Err(RowsError::Refused("planted".to_owned()));
        }
        self.fake.write(rows)
    }
    fn read(&self, read: &Read, consistency: Consistency) -> Result<Vec<Row>, RowsError> {
        self.fake.read(read, consistency)
    }
    fn change(&self, change: &Change) -> Result<Changed, RowsError> {
        self.fake.change(change)
    }
    fn commit_log_sync(&self) -> Result<Vec<(String, CommitLogSync)>, RowsError> {
        self.fake.commit_log_sync()
    }
}

#[test]
fn a_segment_ends_and_records_come_in_line_while_a_group_is_under_way() {
    let fake = Fake::new(1, Faults::default());
    let (whose, slow) = (whose(0, 5), Slow::new(&fake));
    let config = commit_log::Config::default();
    let rows = Arc::clone(&slow) as Arc<dyn Rows>;
    let journal = Arc::new(Journal::open(rows, whose.clone(), 1, 0, &config).unwrap());
    journal.append(&[1]).unwrap();
    let syncing = Arc::clone(&journal);
    let sync = std::thread::spawn(move || syncing.sync().unwrap());
    slow.until_one_waits();
    // In time, on a thread that would wait for ever.
    let (told, heard) = std::sync::mpsc::sync_channel(1);
    let asked = (Arc::clone(&journal), whose.clone(), fake.clone());
    std::thread::spawn(move || {
        let (journal, whose, fake) = asked;
        let before = journal.roll();
        begin(&fake, &whose, 6);
        let after = journal.roll();
        let count = journal.segments_through(u64::MAX).unwrap();
        told.send((before, after, journal.append(&[2]).unwrap(), count)).unwrap();
    });
    let heard = heard.recv_timeout(std::time::Duration::from_secs(20));
    let (before, after, ticket, count) = heard.expect("nobody waits for the database");
    assert_eq!((ticket, count), (2, 1));
    assert_eq!(before, Segment { life: 1, period: 5, stretch: 1 }.number());
    assert_eq!(after, before, "nor is a period, under rows that have their place");
    slow.let_go();
    assert_eq!(sync.join().unwrap(), 1);
    assert_eq!(Segment::of(journal.roll()), Segment { life: 1, period: 6, stretch: 0 });
    journal.sync().unwrap();
    assert_eq!(replayed(&fake, 0, 0), [[1], [2]]);
    assert_eq!(replayed(&fake, 0, first(1, 6)), [[2]]);
}

/// Journals of three places of a process, over a database that is slow.
fn three(slow: &Arc<Slow>) -> [Arc<Journal>; 3] {
    let (one, config) = (whose(0, 5), commit_log::Config::default());
    [0, 1, 2].map(|place| {
        let rows = Arc::clone(slow) as Arc<dyn Rows>;
        let whose = Whose { place, ..one.clone() };
        Arc::new(Journal::open(rows, whose, 1, 0, &config).unwrap())
    })
}

#[test]
fn what_places_have_while_a_request_is_under_way_is_one_request_behind_it() {
    let fake = Fake::new(1, Faults::default());
    let slow = Slow::new(&fake);
    let journals = three(&slow);
    let synced = |journal: &Arc<Journal>| {
        let journal = Arc::clone(journal);
        std::thread::spawn(move || journal.sync().unwrap())
    };
    journals[0].append(&[1]).unwrap();
    let first = synced(&journals[0]);
    slow.until_one_waits();
    for (journal, record) in journals.iter().zip([2, 3, 4]) {
        journal.append(&[record]).unwrap();
    }
    let second = synced(&journals[1]);
    slow.let_go();
    assert_eq!((first.join().unwrap(), second.join().unwrap()), (1, 1));
    assert_eq!(journals.each_ref().map(|journal| journal.synced_sequence()), [2, 1, 1]);
    assert_eq!(slow.waiting.load(Ordering::Acquire), 2, "requests");
    assert_eq!(journals[2].sync().unwrap(), 1, "is there already");
    assert_eq!(
        [0, 1, 2].map(|place| replayed(&fake, place, 0).concat()),
        [vec![1, 2], vec![3], vec![4]]
    );
}

#[test]
fn a_place_whose_rows_are_refused_holds_up_no_other() {
    let fake = Fake::new(1, Faults::default());
    let slow = Slow::new(&fake);
    slow.let_go();
    let journals = three(&slow);
    *slow.refuses.lock() = Some(Column::Int((1 << LIFE_BITS) | 1));
    for round in 0..3 {
        for journal in &journals {
            journal.append(&[round]).unwrap();
        }
        let outcomes = journals.each_ref().map(|journal| journal.sync().is_ok());
        assert_eq!(outcomes, [true, false, true], "round {round}");
    }
    *slow.refuses.lock() = None;
    assert_eq!(journals[1].sync().unwrap(), 3);
    assert_eq!([0, 1, 2].map(|place| replayed(&fake, place, 0).concat()), [[0, 1, 2]; 3]);
}

#[test]
fn a_signpost_that_is_damaged_is_told() {
    let fake = Fake::new(1, Faults::default());
    write(&opened(&fake, &whose(0, 5), 1), 1);
    let key = super::super::Key { partition: ints([1, 0]), row: ints([0, 1]) };
    let data = Some(vec![7; 20].into());
    fake.write(&[Write { table: journal_table(5), key, data, timestamp: 2 }]).unwrap();
    let report = replay(&fake, &whose(0, 0), 9, 0, &mut |_| Ok(())).unwrap();
    assert_eq!((report.records, report.damage.len()), (0, 1), "{:?}", report.damage);
}

#[test]
fn a_period_whose_table_is_not_made_holds_up_no_write() {
    let fake = Fake::new(1, Faults::default());
    let whose = whose(0, 5);
    let journal = opened(&fake, &whose, 1);
    write(&journal, 1);
    fake.set_faults(Faults { create_unknown: 100, ..Faults::default() });
    whose.periods.set_hour(6);
    assert!(whose.periods.make_next(&fake, 6).is_err());
    write(&journal, 2);
    assert_eq!(Segment::of(journal.roll()).period, 5);
    assert_eq!(journals(&fake), [5]);
    fake.set_faults(Faults { create_apart: 100, ..Faults::default() });
    assert!(whose.periods.make_next(&fake, 6).is_err(), "made, but the nodes do not agree");
    assert_eq!(replayed(&fake, 0, 0), [[1], [2]], "who takes a place over does not wait for them");
    assert_eq!(whose.periods.newest(), 5);
    fake.set_faults(Faults::default());
    assert_eq!(whose.periods.make_next(&fake, 6).unwrap(), 6);
    write(&journal, 3);
    assert_eq!(replayed(&fake, 0, first(1, 6)), [[3]]);
    assert_eq!(replayed(&fake, 0, 0), [[1], [2], [3]]);
}

#[test]
fn what_waits_is_bounded_over_all_places_of_a_process() {
    let fake = Fake::new(1, Faults { write_unknown: 100, ..Faults::default() });
    let config = commit_log::Config { pending_bytes_max: 100, ..Default::default() };
    let one = whose(0, 5);
    let open = |whose: &Whose| {
        Journal::open(Arc::new(fake.clone()), whose.clone(), 1, 0, &config).unwrap()
    };
    let place = |place| open(&Whose { place, ..one.clone() });
    let (first, second, third) = (place(0), place(1), place(2));
    let full = |appended, bytes, bytes_max| {
        matches!(appended, Err(store::Error::LogFull { pending_bytes, pending_bytes_max })
            if (pending_bytes, pending_bytes_max) == (bytes, bytes_max))
    };
    first.append(&[0; 50]).unwrap();
    assert!(full(first.append(&[0]), 51, 50), "half is left to the others");
    assert!(full(second.append(&[0; 51]), 101, 100));
    second.append(&[0; 50]).unwrap();
    assert!(first.sync().is_err() && full(first.append(&[0]), 51, 50), "it waits still");
    assert!(full(third.append(&[0]), 101, 100));
    drop(second);
    third.append(&[0; 50]).unwrap();
    fake.set_faults(Faults::default());
    first.sync().unwrap();
    third.sync().unwrap();
    first.append(&[0; 100]).unwrap();
}
