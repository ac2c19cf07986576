//! What metrics mean, as their senders said last.
//!
//! A tenant has room for so many metrics. When it is taken, that which was said longest ago goes for
//! a new one, and is counted. What came with the same request does not go: of that the rest is not
//! kept, and counted too.
//!
//! What takes more than [`ENTRY_BYTES_MAX`] is not kept, and counted: senders' texts are cut far below
//! it before they come here.
//!
//! That something went is not in the log: after a start it may be there until more is said. A start
//! itself keeps the newest [`RECOVERED_MAX`] of a tenant.
//!
//! Not here: how many a tenant may have (`AppendLimits`).

use model::Text;
use model::mutation::MetricMetadata;
use std::collections::BTreeMap;

/// Such a part of all is looked for at once: the next to go.
const OLDEST_SHARE: usize = 8;

/// So many metrics of a tenant come back at a start, whose limits it does not know.
const RECOVERED_MAX: u64 = 1 << 20;

/// The texts of one entry, in bytes: the longest name that an operator may allow, and what is said of it.
const ENTRY_BYTES_MAX: usize = 128 << 10;

/// The metadata of one tenant.
#[derive(Debug, Default)]
pub(crate) struct Metadata {
    by_metric: BTreeMap<Text, Held>,
    /// Counts what came: what is said later has a greater number.
    said: u64,
    /// The next to go, the oldest last, if they have not been said again since.
    oldest: Vec<(u64, Text)>,
    /// When all there is was found to be said just then.
    none_older: u64,
    lost: u64,
}

#[derive(Debug)]
struct Held {
    entry: MetricMetadata,
    /// When it was said last.
    said: u64,
}

impl Metadata {
    /// Those of `entries` that change anything: they are different, or new and there is room for
    /// them all. They are not kept yet.
    pub(crate) fn news<'e>(
        &mut self,
        entries: &'e [MetricMetadata],
        entries_max: u64,
    ) -> Vec<&'e MetricMetadata> {
        self.said += 1;
        for entry in entries {
            if let Some(held) = self.by_metric.get_mut(&entry.metric) {
                held.said = self.said;
            }
        }
        let mut news = Vec::new();
        let mut more = 0;
        for entry in entries {
            if is_too_long(entry) {
                self.lost += 1;
            } else if let Some(held) = self.by_metric.get(&entry.metric) {
                if held.entry != *entry {
                    news.push(entry);
                }
            } else if self.has_room(more, entries_max) {
                more += 1;
                news.push(entry);
            } else {
                self.lost += 1;
            }
        }
        news
    }

    /// Whether there is room for one beside so many `more`; what is oldest goes for it.
    fn has_room(&mut self, more: u64, entries_max: u64) -> bool {
        while self.by_metric.len() as u64 + more >= entries_max {
            if !self.let_go_of_the_oldest() {
                return false;
            }
        }
        true
    }

    /// False if all there is was said just now.
    fn let_go_of_the_oldest(&mut self) -> bool {
        loop {
            if self.oldest.is_empty() && self.none_older != self.said {
                self.look_for_the_oldest();
            }
            let Some((said, metric)) = self.oldest.pop() else {
                self.none_older = self.said;
                return false;
            };
            if self.by_metric.get(&metric).is_some_and(|held| held.said == said) {
                self.by_metric.remove(&metric);
                self.lost += 1;
                return true;
            }
        }
    }

    fn look_for_the_oldest(&mut self) {
        let before = self.by_metric.iter().filter(|(_, held)| held.said < self.said);
        let mut all: Vec<(u64, Text)> =
            before.map(|(metric, held)| (held.said, metric.clone())).collect();
        let count = all.len().div_ceil(OLDEST_SHARE);
        if count < all.len() {
            all.select_nth_unstable(count);
            all.truncate(count);
        }
        all.sort_unstable_by(|a, b| b.cmp(a));
        self.oldest = all;
    }

    /// Keeps an entry; the last one wins.
    pub(crate) fn insert(&mut self, entry: MetricMetadata) {
        self.by_metric.insert(entry.metric.clone(), Held { entry, said: self.said });
    }

    /// Keeps an entry that was said before now, at a start.
    pub(crate) fn recover(&mut self, entry: MetricMetadata) {
        self.said += 1;
        if is_too_long(&entry) {
            self.lost += 1;
        } else if self.by_metric.contains_key(&entry.metric) || self.has_room(0, RECOVERED_MAX) {
            self.insert(entry);
        }
    }

    /// Lets go of a metric's entry.
    pub(crate) fn remove(&mut self, metric: &str) {
        self.by_metric.remove(metric);
    }

    /// One metric's entry.
    pub(crate) fn get(&self, metric: &str) -> Option<&MetricMetadata> {
        self.by_metric.get(metric).map(|held| &held.entry)
    }

    /// All entries, ascending by metric.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &MetricMetadata> {
        self.by_metric.values().map(|held| &held.entry)
    }

    /// How many entries went for newer ones, or were not kept because there was no room.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }
}

/// Whether the texts of an entry take more than they may.
fn is_too_long(MetricMetadata { metric, help, unit, .. }: &MetricMetadata) -> bool {
    metric.len() + help.len() + unit.len() > ENTRY_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::mutation::MetricType;

    fn entry(metric: &str, help: &str) -> MetricMetadata {
        MetricMetadata {
            metric: metric.into(),
            metric_type: MetricType::Counter,
            help: help.into(),
            unit: Text::default(),
        }
    }

    /// Says all of them at once; returns what is held then.
    fn say(metadata: &mut Metadata, entries: &[MetricMetadata], max: u64) -> Vec<String> {
        let news: Vec<MetricMetadata> = metadata.news(entries, max).into_iter().cloned().collect();
        news.into_iter().for_each(|entry| metadata.insert(entry));
        metadata.iter().map(|entry| format!("{} {}", entry.metric, entry.help)).collect()
    }

    #[test]
    fn past_the_limit_what_was_said_longest_ago_goes_and_is_counted() {
        let mut metadata = Metadata::default();
        assert_eq!(say(&mut metadata, &[entry("a", "1"), entry("b", "1")], 2), ["a 1", "b 1"]);
        assert_eq!(metadata.lost(), 0, "at the limit");
        assert_eq!(say(&mut metadata, &[entry("a", "1")], 2), ["a 1", "b 1"]);
        assert_eq!(say(&mut metadata, &[entry("c", "1")], 2), ["a 1", "c 1"], "one past it");
        assert_eq!(say(&mut metadata, &[entry("d", "1"), entry("a", "2")], 2), ["a 2", "d 1"]);
        assert_eq!((metadata.lost(), metadata.get("c")), (2, None));
    }

    #[test]
    fn a_request_of_more_than_there_is_room_for_looks_for_the_oldest_once() {
        let many = |from: usize, len: usize| -> Vec<MetricMetadata> {
            (from..from + len).map(|number| entry(&format!("m{number:06}"), "1")).collect()
        };
        let mut metadata = Metadata::default();
        assert_eq!(say(&mut metadata, &many(0, 20_000), 20_000).len(), 20_000);
        assert_eq!(say(&mut metadata, &many(0, 100_000), 20_000).len(), 20_000);
        assert_eq!(metadata.lost(), 80_000);
        assert_eq!(metadata.none_older, metadata.said, "else each of the 80,000 would look at all");
    }

    #[test]
    fn of_one_request_those_that_there_is_no_room_for_are_not_kept_and_counted() {
        let mut metadata = Metadata::default();
        let three = [entry("a", "1"), entry("b", "1"), entry("c", "1")];
        assert_eq!(say(&mut metadata, &three, 2), ["a 1", "b 1"]);
        assert_eq!(metadata.lost(), 1);
        assert_eq!(
            say(&mut metadata, &[entry("d", "1"), entry("a", "1"), entry("b", "1")], 2),
            ["a 1", "b 1"]
        );
        assert_eq!(metadata.lost(), 2);
    }

    #[test]
    fn what_is_too_long_is_not_kept_nor_brought_back_at_a_start_and_is_counted() {
        let mut metadata = Metadata::default();
        let long = entry("long", &"h".repeat(ENTRY_BYTES_MAX - 3));
        let longest = entry("long", &"h".repeat(ENTRY_BYTES_MAX - 4));
        assert!(metadata.news(std::slice::from_ref(&long), 9).is_empty());
        metadata.recover(long.clone());
        assert_eq!((metadata.iter().len(), metadata.lost()), (0, 2));
        assert_eq!(say(&mut metadata, &[entry("a", "1"), longest], 9).len(), 2);
        assert_eq!(say(&mut metadata, &[long], 9).len(), 2);
        assert_eq!(
            (metadata.get("long").map(|held| held.help.len()), metadata.lost()),
            (Some(ENTRY_BYTES_MAX - 4), 3)
        );
    }

    #[test]
    fn of_many_the_oldest_go_one_by_one_in_the_order_in_which_they_were_said() {
        let mut metadata = Metadata::default();
        let name = |number: u32| format!("m{number:03}");
        for number in (0..100).rev() {
            say(&mut metadata, &[entry(&name(number), "")], 100);
        }
        // One that is next to go is said again.
        say(&mut metadata, &[entry("new-0", "")], 100);
        say(&mut metadata, &[entry(&name(98), "")], 100);
        for number in 1..10 {
            say(&mut metadata, &[entry(&format!("new-{number}"), "")], 100);
        }
        let held = |number: u32| metadata.get(&name(number)).is_some();
        let gone: Vec<u32> = (0..100).filter(|number| !held(*number)).collect();
        assert_eq!(gone, [89, 90, 91, 92, 93, 94, 95, 96, 97, 99]);
        assert_eq!((metadata.iter().len(), metadata.lost()), (100, 10));
    }
}
