//! B10: subqueries whose inner steps are many. Their memory is taken before it is there, within the
//! query's limits, also when their series are worked through in parts.

use super::heavy::server_limits;
use model::read::{Estimate, Selection};
use model::{Column, LabelSet, SeriesColumns};
use promql::{Cancel, EvalParams, Limits, Meter, ParseOptions, Query, SeriesSource, SourceError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tests::memory::MemorySource;

const DAY_MS: i64 = 86_400_000;
/// A column over a day by the second.
const COLUMN_BYTES: u64 = 8 * 86_400;

/// So many series over a day, a sample every five minutes; and how often it was asked.
struct Asked {
    source: MemorySource,
    selects: AtomicU64,
}

fn source(series: u32, in_shards: bool) -> Asked {
    let mut source = MemorySource::default();
    source.says_much = in_shards;
    for number in 0..series {
        let mut labels = LabelSet::default();
        labels.set("__name__", "m");
        labels.set("i", number.to_string().as_str());
        let mut floats = Column::default();
        for tick in 0..288_i32 {
            floats.push(i64::from(tick) * 300_000, f64::from(tick));
        }
        source.add(&SeriesColumns { labels, floats, ..SeriesColumns::default() });
    }
    Asked { source, selects: AtomicU64::new(0) }
}

impl SeriesSource for Asked {
    fn select(&self, selection: &Selection) -> Result<Vec<SeriesColumns>, SourceError> {
        self.selects.fetch_add(1, Ordering::Relaxed);
        self.source.select(selection)
    }

    fn estimate(&self, selection: &Selection) -> Result<Estimate, SourceError> {
        self.source.estimate(selection)
    }
}

/// Memory that is always there, and how much of it was taken at most.
#[derive(Debug, Default)]
struct Taken {
    now: AtomicU64,
    most: AtomicU64,
}

impl promql::Memory for Taken {
    fn reserve(&self, bytes: u64) -> bool {
        let now = self.now.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.most.fetch_max(now, Ordering::Relaxed);
        true
    }

    fn release(&self, bytes: u64) {
        self.now.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What a query says within limits of bytes and samples, how many bytes it had taken at most, and
/// what is still taken behind it.
fn ask(
    source: &Asked,
    text: &str,
    (bytes_max, samples_max): (u64, u64),
) -> (Result<(), String>, u64, u64) {
    let taken = Arc::new(Taken::default());
    let meter = Meter::new(Some(Arc::clone(&taken) as Arc<dyn promql::Memory>));
    let cancel = Cancel::default().with_meter(Arc::new(meter));
    let mut params = EvalParams::instant(DAY_MS);
    params.workers = 2;
    params.limits = Limits { bytes_max, samples_max, ..server_limits() };
    let expr = promql::parse(text, ParseOptions::ALL).unwrap();
    let answer = promql::evaluate(source, Query { text, expr: &expr }, &params, &cancel);
    let said = answer.map(drop).map_err(|error| error.to_string());
    (said, taken.most.load(Ordering::Relaxed), taken.now.load(Ordering::Relaxed))
}

#[test]
fn b10_a_subquery_of_a_day_by_the_second_over_many_series_stays_within_the_querys_memory() {
    const LIMIT: u64 = 64 << 20;
    for (text, in_shards) in [
        ("max_over_time(m[1d:1s])", false),
        ("max_over_time(m[1d:1s])", true),
        ("max_over_time(rate(m[10m])[1d:1s])", false),
        ("max_over_time(rate(m[10m])[1d:1s])", true),
        ("sum(max_over_time(m[1d:1s]))", true),
        ("max_over_time((m > 3)[1d:1s])", true),
    ] {
        let few = source(10, in_shards);
        let (said, most, left) = ask(&few, text, (LIMIT, 50_000_000));
        println!("{text}, in shards {in_shards}: 10 series take {} KiB", most >> 10);
        assert_eq!((said, left), (Ok(()), 0), "{text}");
        assert!(most >= COLUMN_BYTES, "{text}: {most} bytes for a column were taken before it was");

        // A column of each is four times as much as there is.
        let many = source(400, in_shards);
        let (said, most, left) = ask(&many, text, (LIMIT, 50_000_000));
        println!("{text}, in shards {in_shards}: 400 series take {} KiB, {said:?}", most >> 10);
        let said = said.unwrap_err();
        assert!(said.contains("more than 67108864 bytes of memory"), "{text}: {said}");
        assert!(said.contains("a subquery in it has 86400 steps"), "{text}: {said}");
        // A shard on each of two threads has what the ones that are done have left.
        assert!(most <= LIMIT * 3 / 2, "{text}: {most} bytes");
        assert_eq!(left, 0, "{text}: all of it is given back");
        // Those that could not be kept are not fetched.
        let selects = many.selects.load(Ordering::Relaxed);
        assert!(selects < 24, "{text}: {selects} of 64 shards");
    }
}

#[test]
fn b10_a_subquery_of_more_samples_than_a_query_may_hold_is_refused_as_that() {
    for in_shards in [false, true] {
        let source = source(12, in_shards);
        // Present at each of its steps: 12 times 86,400.
        let (said, ..) = ask(&source, "count_over_time(m[1d:1s])", (u64::MAX, 1_000_000));
        let said = said.unwrap_err();
        assert!(said.contains("too many samples into memory"), "{said}");
        let (said, ..) = ask(&source, "count_over_time(m[20h:1s])", (u64::MAX, 1_000_000));
        assert_eq!(said, Ok(()));
    }
}
