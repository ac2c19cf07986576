//! The queries that have ended: the heaviest of late, and a log line for each slow one.
//!
//! # Invariants
//! - The newest [`QUERIES_MAX`] queries of all tenants are kept, of each text the first
//!   [`TEXT_BYTES_MAX`] bytes.
//!
//! Not here: the queries that run (`active.rs`).

use crate::active::{Asked, QueryId};
use crate::error::Error;
use model::TenantId;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How many queries are remembered.
const QUERIES_MAX: usize = 4_096;

/// How much of a query's text is kept and shown.
const TEXT_BYTES_MAX: usize = 1_024;

/// The beginning of a query's text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Text(Arc<str>);

impl Text {
    /// The text, or its beginning and an ellipsis.
    pub(crate) fn of(text: &str) -> Self {
        let cut = text.floor_char_boundary(TEXT_BYTES_MAX);
        match text.len() {
            len if len == cut => Self(text.into()),
            _ => Self(format!("{}…", &text[..cut]).into()),
        }
    }

    /// As it is shown.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// One query that has ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// What was asked.
    pub(crate) asked: Asked,
    /// When it ended, in nanoseconds of the process' clock.
    pub(crate) ended_ns: u64,
    /// How long its caller waited.
    pub(crate) took: Duration,
    /// How many samples it read.
    pub(crate) samples_read: u64,
}

/// Queries of one text and one length of time, together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heavy {
    /// Their text.
    pub(crate) text: Text,
    /// From the first step to the last, in milliseconds.
    pub(crate) range_ms: i64,
    /// How many there were.
    pub(crate) count: u64,
    /// How long they took, together.
    pub(crate) took: Duration,
    /// The longest.
    pub(crate) took_max: Duration,
    /// How many samples they read, together.
    pub(crate) samples_read: u64,
}

impl Heavy {
    /// How long one took on average.
    pub(crate) fn took_average(&self) -> Duration {
        self.took / u32::try_from(self.count).unwrap_or(u32::MAX).max(1)
    }
}

/// The queries that have ended of late.
#[derive(Debug, Default)]
pub(crate) struct History {
    // A leaf: held while the list is walked, at most `QUERIES_MAX` entries.
    ended: Mutex<VecDeque<Ended>>,
}

impl History {
    /// Remembers a query; the oldest makes room.
    pub(crate) fn push(&self, query: Ended) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.len() == QUERIES_MAX {
            ended.pop_front();
        }
        ended.push_back(query);
    }

    /// A tenant's queries that ended at `since_ns` or later, equal ones together, in order of text.
    pub(crate) fn of(&self, tenant: &TenantId, since_ns: u64) -> Vec<Heavy> {
        let mut places: HashMap<(Text, i64), usize> = HashMap::new();
        let mut heavy: Vec<Heavy> = Vec::new();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let own = ended.iter().filter(|one| one.asked.tenant == *tenant);
        for one in own.filter(|one| one.ended_ns >= since_ns) {
            let (start_ms, end_ms, _) = one.asked.steps;
            let range_ms = end_ms.saturating_sub(start_ms);
            let text = one.asked.text.clone();
            let place = *places.entry((text.clone(), range_ms)).or_insert(heavy.len());
            if place == heavy.len() {
                let zero = Duration::ZERO;
                let none = (0, zero, zero, 0);
                let (count, took, took_max, samples_read) = none;
                heavy.push(Heavy { text, range_ms, count, took, took_max, samples_read });
            }
            let of = &mut heavy[place];
            of.count += 1;
            of.took = of.took.saturating_add(one.took);
            of.took_max = of.took_max.max(one.took);
            of.samples_read = of.samples_read.saturating_add(one.samples_read);
        }
        heavy.sort_by(|a, b| (&a.text, a.range_ms).cmp(&(&b.text, b.range_ms)));
        heavy
    }
}

/// Writes a line about a query that took `slow_ms` or longer; 0 is never.
pub(crate) fn log_slow(
    slow_ms: u64,
    id: QueryId,
    query: &Ended,
    queued: Duration,
    error: Option<&Error>,
) {
    let took_ms = u64::try_from(query.took.as_millis()).unwrap_or(u64::MAX);
    if slow_ms == 0 || took_ms < slow_ms {
        return;
    }
    let queued_ms = u64::try_from(queued.as_millis()).unwrap_or(u64::MAX);
    let (tenant, text) = (query.asked.tenant.as_str(), query.asked.text.as_str());
    let (start_ms, end_ms, step_ms) = query.asked.steps;
    let samples_read = query.samples_read;
    let outcome = error.map_or("success", |error| wire::http_error::error_type(error.kind()));
    tracing::warn!(
        query_id = %id,
        tenant,
        query = text,
        start_ms,
        end_ms,
        step_ms,
        took_ms,
        queued_ms,
        samples_read,
        outcome,
        "slow query"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(tenant: &str, text: &str, at_ns: u64, took_ms: u64) -> Ended {
        let tenant = TenantId::parse(tenant).unwrap();
        let asked = Asked { tenant, text: Text::of(text), steps: (0, 60_000, 15_000) };
        Ended { asked, ended_ns: at_ns, took: Duration::from_millis(took_ms), samples_read: 10 }
    }

    #[test]
    fn equal_queries_count_together_and_other_tenants_and_times_do_not() {
        let history = History::default();
        for query in [
            ended("a", "old", 1, 900),
            ended("a", "up", 5, 10),
            ended("b", "up", 5, 70),
            ended("a", "down", 6, 1),
            ended("a", "up", 7, 30),
        ] {
            history.push(query);
        }
        let [down, up] = &history.of(&TenantId::parse("a").unwrap(), 5)[..] else { panic!("two") };
        assert_eq!((down.text.as_str(), down.count), ("down", 1));
        assert_eq!((up.text.as_str(), up.count, up.samples_read), ("up", 2, 20));
        assert_eq!((up.took, up.took_max), (Duration::from_millis(40), Duration::from_millis(30)));
        assert_eq!((up.took_average(), up.range_ms), (Duration::from_millis(20), 60_000));
    }

    /// Keeps what is logged on this thread.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    impl tracing::Subscriber for Lines {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn event(&self, event: &tracing::Event<'_>) {
            let mut line = event.metadata().level().to_string();
            event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
                line.push_str(&format!(" {field}={value:?}"));
            });
            self.0.lock().unwrap().push(line);
        }
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }

    #[test]
    fn the_line_of_a_slow_query_says_whose_it_was_what_it_asked_and_what_it_took() {
        let lines = Lines::default();
        let logged = |slow_ms, took_ms, error: Option<&Error>| {
            let query = ended("team-a", "sum(rate(x[5m]))", 1, took_ms);
            let queued = Duration::from_millis(40);
            tracing::subscriber::with_default(lines.clone(), || {
                log_slow(slow_ms, QueryId(0xab), &query, queued, error);
            });
            std::mem::take(&mut *lines.0.lock().unwrap())
        };
        let [line] = &logged(1_000, 1_500, None)[..] else { panic!("one line") };
        for part in [
            "WARN message=slow query",
            "query_id=00000000000000ab",
            "tenant=\"team-a\"",
            "query=\"sum(rate(x[5m]))\"",
            "start_ms=0 end_ms=60000 step_ms=15000",
            "took_ms=1500 queued_ms=40",
            "samples_read=10",
            "outcome=\"success\"",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
        let timeout = Error::new(model::Kind::Timeout, "query timed out");
        assert!(logged(1_000, 1_000, Some(&timeout))[0].contains("outcome=\"timeout\""));
        assert!(logged(1_000, 999, None).is_empty() && logged(0, 9_999, None).is_empty());
    }

    #[test]
    fn the_oldest_makes_room_and_long_texts_are_cut_at_a_character() {
        let history = History::default();
        for n in 0..QUERIES_MAX as u64 + 5 {
            history.push(ended("a", "up", n, 1));
        }
        let all = history.of(&TenantId::parse("a").unwrap(), 0);
        assert_eq!(all[0].count, QUERIES_MAX as u64);
        let text = Text::of(&format!("{}é", "a".repeat(TEXT_BYTES_MAX - 1)));
        assert_eq!(text.as_str(), format!("{}…", "a".repeat(TEXT_BYTES_MAX - 1)));
        assert_eq!(Text::of("é").as_str(), "é");
    }
}
