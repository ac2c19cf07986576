//! What metrics mean, as their senders said last.
//!
//! A tenant has room for so many metrics. When it is taken, those of which nobody has spoken for an
//! hour go for a new one; if all are spoken of, the new one is not kept, and counted.
//!
//! Not here: how many a tenant may have (`AppendLimits`).

use model::Text;
use model::mutation::MetricMetadata;
use std::collections::BTreeMap;

/// What was not said for so long goes when there is no room.
const IDLE_S: u32 = 60 * 60;

/// The metadata of one tenant.
#[derive(Debug, Default)]
pub(crate) struct Metadata {
    by_metric: BTreeMap<Text, Held>,
    /// Nothing is idle before this moment.
    idle_from_s: u32,
    lost: u64,
}

#[derive(Debug)]
struct Held {
    entry: MetricMetadata,
    /// When it was said last.
    said_s: u32,
}

impl Metadata {
    /// Those of `entries` that change anything: they are different, or new and there is room for
    /// them all. They are not kept yet.
    pub(crate) fn news<'e>(
        &mut self,
        entries: &'e [MetricMetadata],
        entries_max: u64,
        now_s: u32,
    ) -> Vec<&'e MetricMetadata> {
        let mut news = Vec::new();
        let mut more = 0;
        for entry in entries {
            if let Some(held) = self.by_metric.get_mut(&entry.metric) {
                held.said_s = now_s;
                if held.entry != *entry {
                    news.push(entry);
                }
            } else if self.has_room(more, entries_max, now_s) {
                more += 1;
                news.push(entry);
            } else {
                self.lost += 1;
            }
        }
        news
    }

    /// Whether there is room for one beside so many `more`.
    fn has_room(&mut self, more: u64, entries_max: u64, now_s: u32) -> bool {
        let is_full = |held: usize| held as u64 + more >= entries_max;
        if is_full(self.by_metric.len()) && self.idle_from_s <= now_s {
            let idle_at = |held: &Held| held.said_s.saturating_add(IDLE_S);
            self.by_metric.retain(|_, held| now_s < idle_at(held));
            self.idle_from_s = self.by_metric.values().map(idle_at).min().unwrap_or(now_s);
        }
        !is_full(self.by_metric.len())
    }

    /// Keeps an entry; the last one wins.
    pub(crate) fn insert(&mut self, entry: MetricMetadata, now_s: u32) {
        self.by_metric.insert(entry.metric.clone(), Held { entry, said_s: now_s });
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

    /// How often an entry was not kept because there was no room.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }
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

    /// Says all of them at a moment; returns what is held then.
    fn say(metadata: &mut Metadata, entries: &[MetricMetadata], now_s: u32) -> Vec<String> {
        let news: Vec<MetricMetadata> =
            metadata.news(entries, 2, now_s).into_iter().cloned().collect();
        news.into_iter().for_each(|entry| metadata.insert(entry, now_s));
        metadata.iter().map(|entry| format!("{} {}", entry.metric, entry.help)).collect()
    }

    #[test]
    fn past_the_limit_a_new_metric_is_not_kept_and_counted_and_known_ones_change() {
        let mut metadata = Metadata::default();
        let three = [entry("a", "1"), entry("b", "1"), entry("c", "1")];
        assert_eq!(say(&mut metadata, &three, 0), ["a 1", "b 1"], "in one request");
        assert_eq!(metadata.lost(), 1);
        assert_eq!(say(&mut metadata, &[entry("b", "2"), entry("d", "1")], 9), ["a 1", "b 2"]);
        assert_eq!((metadata.lost(), metadata.get("d")), (2, None));
    }

    #[test]
    fn what_nobody_says_for_an_hour_goes_for_a_new_metric_and_the_rest_stays() {
        let mut metadata = Metadata::default();
        say(&mut metadata, &[entry("a", "1"), entry("b", "1")], 0);
        say(&mut metadata, &[entry("b", "1")], 100);
        assert_eq!(say(&mut metadata, &[entry("c", "1")], IDLE_S - 1), ["a 1", "b 1"]);
        assert_eq!(say(&mut metadata, &[entry("c", "1")], IDLE_S), ["b 1", "c 1"]);
        assert_eq!(say(&mut metadata, &[entry("d", "1")], IDLE_S + 99), ["b 1", "c 1"]);
        assert_eq!(say(&mut metadata, &[entry("d", "1")], IDLE_S + 100), ["c 1", "d 1"]);
        assert_eq!(metadata.lost(), 2);
    }
}
