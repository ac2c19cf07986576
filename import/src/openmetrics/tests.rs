use super::*;
use crate::Sink;
use model::{Exemplar, HistogramSample};
use proptest::prelude::*;

#[derive(Debug, Default)]
struct Seen {
    samples: Vec<(String, i64, f64)>,
    exemplars: Vec<(String, Exemplar)>,
    metadata: Vec<MetricMetadata>,
}

impl Sink for Seen {
    fn samples(&mut self, labels: &LabelSet, samples: &[Sample]) -> store::Result<()> {
        let rows = samples.iter().map(|s| (format!("{labels:?}"), s.timestamp_ms, s.value));
        self.samples.extend(rows);
        Ok(())
    }
    fn histograms(&mut self, _: &LabelSet, _: &[HistogramSample]) -> store::Result<()> {
        unreachable!("the text has no native histograms")
    }
    fn exemplar(&mut self, labels: &LabelSet, exemplar: Exemplar) {
        self.exemplars.push((format!("{labels:?}"), exemplar));
    }
    fn metadata(&mut self, entry: MetricMetadata) {
        self.metadata.push(entry);
    }
    fn day_is_complete(&mut self) -> store::Result<()> {
        Ok(())
    }
}

fn parse(text: &str) -> (Seen, Result<Report>) {
    let mut seen = Seen::default();
    let report = read_from(Path::new("f"), text.as_bytes(), Options::default(), &mut seen);
    (seen, report)
}

const GOOD: &str = r#"# TYPE http_requests counter
# HELP http_requests Requests, with a \\ and a line\nfeed.
# UNIT http_requests seconds
http_requests_total{code="200",path="/a\"b\\c\n,}"} 17 1700000000.123 # {trace_id="x,}"} 0.5 1700000000
http_requests_created{code="200"} 1.6e9 1700000000
{"utf-8.name",a="b"} -Inf 1.5e3
x NaN -1.0019
x 2 3 # {} 7
# EOF
"#;

#[test]
fn a_text_is_read_with_its_metadata_and_exact_moments() {
    let (seen, report) = parse(GOOD);
    let report = report.unwrap();
    assert_eq!((report.samples, report.exemplars), (5, 2));
    let mut moments: Vec<i64> = seen.samples.iter().map(|row| row.1).collect();
    moments.sort_unstable();
    assert_eq!(moments, [-1001, 3_000, 1_500_000, 1_700_000_000_000, 1_700_000_000_123]);
    assert!(seen.samples.iter().any(|row| row.0.contains("utf-8.name") && row.2 < 0.0));
    let exemplars = seen
        .exemplars
        .iter()
        .map(|(_, e)| (e.timestamp_ms, e.value, e.labels.get("trace_id").map(|id| id.to_string())));
    let expected = [(1_700_000_000_000, 0.5, Some("x,}".to_owned())), (3_000, 7.0, None)];
    assert_eq!(exemplars.collect::<Vec<_>>(), expected);
    assert!(seen.exemplars[0].0.contains("http_requests_total"));
    assert_eq!(seen.metadata.len(), 1);
    assert_eq!(&*seen.metadata[0].help, "Requests, with a \\ and a line\nfeed.");
}

#[test]
fn a_name_in_quotes_may_have_blanks_where_a_comment_tells_of_it() {
    let text = r#"# TYPE "a b" gauge
# HELP "a b" what it is
# UNIT "a b" seconds
{"a b"} 1 2
# EOF
"#;
    let (seen, report) = parse(text);
    report.unwrap();
    let [told] = &seen.metadata[..] else { panic!("{:?}", seen.metadata) };
    assert_eq!((&*told.metric, &*told.help, &*told.unit), ("a b", "what it is", "seconds"));
    assert_eq!(
        parse("# HELP \"a b\n# EOF\n").1.unwrap_err().to_string().matches("line 1").count(),
        1
    );
}

#[test]
fn what_is_wrong_is_named_by_its_line() {
    for (text, line, what) in [
        ("a 1 2\nb 1\n# EOF\n", 2, "it has no timestamp"),
        ("a 1 2\n", 2, "# EOF"),
        ("a 1 2\n# EOF\na 1 2\n", 3, "behind # EOF"),
        ("a{b=\"c} 1 2\n# EOF\n", 1, "a quote is not closed"),
        ("a{b=\"c\",b=\"d\"} 1 2\n# EOF\n", 1, "a label occurs twice"),
        ("{b=\"c\"} 1 2\n# EOF\n", 1, "needs a metric's name"),
        ("a{b=\"c\" d=\"e\"} 1 2\n# EOF\n", 1, "a comma is missing"),
        ("a x 2\n# EOF\n", 1, "not a number"),
        ("a 1 9e99\n# EOF\n", 1, "not a timestamp"),
        ("a 1 2 # {b=\"c\",b=\"d\"} 1\n# EOF\n", 1, "a label occurs twice"),
        ("a 1 2 # {} 1 2 3\n# EOF\n", 1, "more behind an exemplar"),
        ("# TYPE a nonsense\n# EOF\n", 1, "no type of metric"),
    ] {
        let error = parse(text).1.unwrap_err().to_string();
        assert!(error.contains(&format!("line {line}")) && error.contains(what), "{text} {error}");
    }
}

#[test]
fn bad_lines_are_left_out_and_counted_only_if_asked_for() {
    let text = "a 1 2\nb\nc 3 4\n# EOF\n";
    let mut seen = Seen::default();
    let options = Options { skip_damaged: true };
    let report = read_from(Path::new("f"), text.as_bytes(), options, &mut seen).unwrap();
    assert_eq!((report.samples, report.damaged, seen.samples.len()), (2, 1, 2));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[a-c{}=\",\\\\ #0-9.\n-]{0,120}", bytes: Vec<u8>) {
        let _ = parse(&text);
        let mut seen = Seen::default();
        let _ = read_from(Path::new("f"), &bytes[..], Options { skip_damaged: true }, &mut seen);
    }
}
