use super::*;
use proptest::prelude::*;

fn cache(entries_max: usize) -> SeriesCache {
    SeriesCache::new(1, entries_max)
}

fn hash_of(number: u64) -> LabelHash {
    LabelHash::of_parts(number, number, 10)
}

fn add(cache: &mut SeriesCache, hash: u64, epoch: u32) -> u32 {
    cache.insert(hash_of(hash), &format!("m{}", hash % 3).into(), epoch)
}

#[test]
fn an_entry_is_small() {
    assert!(size_of::<Entry>() <= 32);
}

#[test]
fn entries_that_share_half_of_a_hash_or_all_but_the_length_stay_apart() {
    let mut cache = cache(10);
    let hash = |low, high, len| LabelHash::of_parts(low, high, len);
    let first = cache.insert(hash(7, 1, 10), &"m".into(), 9);
    let second = cache.insert(hash(7, 2, 10), &"m".into(), 9);
    let third = cache.insert(hash(7, 1, 11), &"m".into(), 9);
    assert_eq!(cache.len(), 3);
    assert_eq!(cache.find(hash(7, 1, 10), 9), Some(first));
    assert_eq!(cache.find(hash(7, 2, 10), 9), Some(second));
    assert_eq!(cache.find(hash(7, 1, 11), 9), Some(third));
    assert_eq!(cache.find(hash(8, 1, 10), 9), None);
}

#[test]
fn the_successor_is_what_followed_last() {
    let mut cache = cache(10);
    let (a, b, c) = (add(&mut cache, 1, 9), add(&mut cache, 2, 9), add(&mut cache, 3, 9));
    assert_eq!(cache.predict(a), None);
    cache.follow(a, b);
    cache.follow(a, c);
    assert_eq!(cache.predict(a), Some((c, 10)));
}

#[test]
fn a_full_cache_takes_nothing_new_while_all_of_it_is_in_use() {
    let mut cache = cache(4);
    for hash in 0..4 {
        assert_ne!(add(&mut cache, hash, 9), UNCACHED);
    }
    assert_eq!(add(&mut cache, 4, 9), UNCACHED);
    assert_eq!(cache.len(), 4);
    assert_eq!(cache.find(hash_of(4), 9), None);
}

#[test]
fn what_was_idle_for_long_makes_room_and_is_counted() {
    let mut cache = cache(4);
    for hash in 0..4 {
        add(&mut cache, hash, 9);
    }
    cache.learn(0, 5, 1, 77);
    assert!(cache.find(hash_of(2), 12).is_some());
    let before = cache.evictions();

    assert_ne!(add(&mut cache, 9, 13), UNCACHED);
    assert_eq!(cache.len(), 2);
    assert_ne!(cache.evictions(), before);
    assert_eq!(cache.find(hash_of(1), 13), None);
    assert_eq!(cache.numbers(0).1[1], UNKNOWN);
    assert!(cache.find(hash_of(2), 13).is_some());
}

#[test]
fn a_cache_at_its_bound_sweeps_even_when_its_memory_has_room() {
    let mut cache = cache(3);
    for hash in 0..3 {
        add(&mut cache, hash, 9);
    }
    assert!(cache.entries.capacity() > 3);
    assert_ne!(add(&mut cache, 9, 20), UNCACHED);
}

#[test]
fn a_metric_without_an_entry_is_forgotten() {
    let mut cache = cache(4);
    for hash in 0..4 {
        add(&mut cache, hash, 9);
    }
    add(&mut cache, 7, 20);
    assert_eq!(cache.metric_places.len(), 1);
}

#[test]
fn what_was_evicted_is_not_predicted_and_not_confirmed() {
    let mut cache = cache(8);
    let (a, b, c) = (add(&mut cache, 1, 9), add(&mut cache, 2, 9), add(&mut cache, 3, 9));
    cache.follow(a, b);
    cache.follow(b, c);
    assert!(cache.confirm(a, hash_of(1), 13));
    cache.sweep(13);
    assert_eq!((cache.predict(a), cache.predict(b)), (None, None));
    assert!(!cache.confirm(b, hash_of(2), 13) && !cache.confirm(c, hash_of(3), 13));
    let free = LabelHash::of_parts(0, 0, FREE_LEN);
    assert!(!cache.confirm(b, free, 13) && cache.find(free, 13).is_none());
    // Told too late.
    cache.learn(0, 0, b, 77);
    cache.learn(0, 0, c, 78);
    let anew = [add(&mut cache, 4, 13), add(&mut cache, 5, 13)];
    assert!(anew.contains(&b) && anew.contains(&c), "their places are used again");
    assert!(anew.iter().all(|entry| cache.numbers(0).1[*entry as usize] == UNKNOWN));
}

/// What a sender's requests find, one series after the other, as `resolve` asks.
fn resolve(cache: &mut SeriesCache, before: u32, hash: u64, epoch: u32) -> u32 {
    let predicted = cache.predict(before).map(|(entry, _)| entry);
    let predicted = predicted.filter(|entry| cache.confirm(*entry, hash_of(hash), epoch));
    let entry = predicted.unwrap_or_else(|| {
        let entry = cache.find(hash_of(hash), epoch);
        entry.unwrap_or_else(|| add(cache, hash, epoch))
    });
    cache.follow(before, entry);
    entry
}

proptest! {
    #[test]
    fn whatever_comes_and_goes_a_series_has_its_own_number_and_fate(
        // How many epochs later, the first series and how many of those that come behind it.
        requests in prop::collection::vec((0..3_u32, 0..24_u64, 1..6_u64), 1..60),
        entries_max in 4..20_usize,
    ) {
        let (mut cache, mut epoch) = (cache(entries_max), 9);
        let fate_of = |hash| if hash % 5 == 0 { Fate::DROPPED } else { Fate::GOES_ON };
        for (later, first, count) in requests {
            epoch += later;
            let mut before = UNCACHED;
            for hash in first..first + count {
                let entry = resolve(&mut cache, before, hash, epoch);
                before = entry;
                if entry == UNCACHED {
                    continue;
                }
                let number = u32::try_from(hash).unwrap();
                let told = cache.numbers(0).1[entry as usize];
                prop_assert!(told == number || told == UNKNOWN, "{told} of {number}");
                let is_new = told == UNKNOWN;
                prop_assert!(cache.fate(entry) == fate_of(hash) || is_new);
                cache.learn(0, 0, entry, number);
                cache.decide(entry, fate_of(hash));
            }
        }
    }
}

#[test]
fn numbers_of_another_generation_replace_all_of_the_old_ones() {
    let mut cache = cache(4);
    let (a, b) = (add(&mut cache, 1, 9), add(&mut cache, 2, 9));
    cache.learn(0, 5, a, 70);
    cache.learn(0, 5, b, 71);
    cache.learn(0, 6, b, 1);
    assert_eq!(cache.numbers(0), (6, &[UNKNOWN, 1][..]));
}

#[test]
fn a_fate_lasts_as_long_as_its_entry_and_costs_nothing_until_there_is_one() {
    let mut cache = cache(4);
    let (a, b) = (add(&mut cache, 1, 9), add(&mut cache, 2, 9));
    cache.decide(a, Fate::GOES_ON);
    assert_eq!(cache.fates.capacity(), 0);
    cache.decide(b, Fate::DROPPED);
    assert_eq!((cache.fate(a), cache.fate(b)), (Fate::GOES_ON, Fate::DROPPED));
    let later = add(&mut cache, 3, 9);
    assert_eq!(cache.fate(later), Fate::GOES_ON);
    cache.sweep(20);
    let anew = [4, 5, 6].map(|hash| add(&mut cache, hash, 20));
    assert!(anew.contains(&b), "the place is used again");
    assert!(anew.iter().all(|entry| cache.fate(*entry) == Fate::GOES_ON));
}

#[test]
fn a_route_is_looked_up_once_a_day() {
    let mut cache = cache(4);
    let entry = add(&mut cache, 1, 9);
    let asked = |day: i32, answer: u32| {
        let mut was_asked = false;
        let set = cache.route(entry, day, |_| {
            was_asked = true;
            answer
        });
        (was_asked, set)
    };
    assert_eq!(asked(-1, 4), (true, 4));
    assert_eq!(asked(-1, 5), (false, 4));
    assert_eq!(asked(2, 6), (true, 6));
}
