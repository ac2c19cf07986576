//! Consistency levels: is this write durable, is this read enough, can it still become so?
//!
//! Writes go to all replicas and reads to just enough; the level is only what is awaited. With a
//! write level and a read level that add up to more than the copies, a read sees every acknowledged
//! write: QUORUM with QUORUM, the default, does.
//!
//! # Invariants
//! - A verdict never changes once it is not `Pending`.
//! - `Impossible` is said as soon as it is true, so nobody waits for answers that cannot help.
//!
//! Not here: hints (a hint is no answer), several data centres (LOCAL_QUORUM is QUORUM in one).

use std::fmt;
use std::str::FromStr;

/// How many replicas have to answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Consistency {
    /// One.
    One,
    /// Two.
    Two,
    /// Three.
    Three,
    /// More than half of the copies.
    #[default]
    Quorum,
    /// More than half of the copies in this data centre; there is only one.
    LocalQuorum,
    /// Each copy.
    All,
}

impl Consistency {
    const NAMES: [(&'static str, Self); 6] = [
        ("ONE", Self::One),
        ("TWO", Self::Two),
        ("THREE", Self::Three),
        ("QUORUM", Self::Quorum),
        ("LOCAL_QUORUM", Self::LocalQuorum),
        ("ALL", Self::All),
    ];

    /// The answers that are awaited, of `replication_factor` copies. TWO of one copy is two: it can
    /// never be met, and [`Tally`] says so.
    #[must_use]
    pub fn required(self, replication_factor: usize) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Three => 3,
            Self::Quorum | Self::LocalQuorum => replication_factor / 2 + 1,
            Self::All => replication_factor,
        }
    }

    /// The answers that a write awaits while `pending` more replicas are on their way in: theirs come on
    /// top, so that whoever they replace may leave.
    #[must_use]
    pub fn required_with_pending(self, replication_factor: usize, pending: usize) -> usize {
        self.required(replication_factor) + pending
    }
}

impl fmt::Display for Consistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, level)| level == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

/// A level that is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown consistency level {0:?}, want one of ONE, TWO, THREE, QUORUM, LOCAL_QUORUM, ALL")]
pub struct UnknownConsistency(pub String);

impl FromStr for Consistency {
    type Err = UnknownConsistency;

    fn from_str(text: &str) -> Result<Self, UnknownConsistency> {
        let upper = text.to_ascii_uppercase();
        let found = Self::NAMES.iter().find(|(name, _)| *name == upper);
        found.map(|(_, level)| *level).ok_or_else(|| UnknownConsistency(text.to_owned()))
    }
}

/// Too few replicas can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{required} replicas have to answer and {alive} can")]
pub struct Unavailable {
    /// How many have to answer.
    pub required: usize,
    /// How many answered or still may.
    pub alive: usize,
}

/// What the answers so far add up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Enough said yes.
    Satisfied,
    /// More answers are needed and may come.
    Pending,
    /// Too many said no or nothing.
    Impossible(Unavailable),
}

/// Counts the answers to one write or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    required: usize,
    replicas: usize,
    succeeded: usize,
    failed: usize,
}

impl Tally {
    /// Nothing heard yet from `replicas` replicas.
    #[must_use]
    pub fn new(level: Consistency, replicas: usize) -> Self {
        Self { required: level.required(replicas), replicas, succeeded: 0, failed: 0 }
    }

    /// One replica said yes.
    pub fn succeed(&mut self) {
        self.succeeded += 1;
        debug_assert!(self.succeeded + self.failed <= self.replicas, "a replica answers once");
    }

    /// One replica said no, or is known not to answer.
    pub fn fail(&mut self) {
        self.failed += 1;
        debug_assert!(self.succeeded + self.failed <= self.replicas, "a replica answers once");
    }

    /// What it adds up to.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let alive = self.replicas.saturating_sub(self.failed);
        if self.succeeded >= self.required {
            Verdict::Satisfied
        } else if alive < self.required {
            Verdict::Impossible(Unavailable { required: self.required, alive })
        } else {
            Verdict::Pending
        }
    }

    /// How many have to say yes.
    #[must_use]
    pub fn required(&self) -> usize {
        self.required
    }

    /// How many said yes.
    #[must_use]
    pub fn succeeded(&self) -> usize {
        self.succeeded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The story is in `quorums.txt`: what each line of replies adds up to.
    #[test]
    fn the_quorum_script_holds() {
        let mut lines = 0;
        for (number, line) in include_str!("quorums.txt").lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (given, want) = line.split_once("->").unwrap();
            assert_eq!(outcome(given), want.trim(), "line {}: {line}", number + 1);
            lines += 1;
        }
        assert_eq!(lines, 36);
    }

    fn outcome(given: &str) -> String {
        let mut words = given.split_whitespace();
        let what = words.next().unwrap();
        let rf = words.next().unwrap().strip_prefix("rf=").unwrap().parse().unwrap();
        let level = words.next().unwrap().strip_prefix("cl=").unwrap().parse().unwrap();
        assert_eq!(words.next(), Some("replies:"));
        let mut tally = Tally::new(level, rf);
        for reply in words {
            let before = tally.verdict();
            match reply.split_once('=').unwrap().1 {
                "ok" => tally.succeed(),
                "dead" | "timeout" => tally.fail(),
                "silent" => {}
                other => panic!("unknown reply {other}"),
            }
            assert!(before == Verdict::Pending || before_holds(before, tally.verdict()), "{given}");
        }
        match (tally.verdict(), what) {
            (Verdict::Satisfied, "write") => "durable".into(),
            (Verdict::Satisfied, _) => "enough".into(),
            (Verdict::Pending, _) => "waits".into(),
            (Verdict::Impossible(Unavailable { required, alive }), _) => {
                format!("unavailable {required} of {alive}")
            }
        }
    }

    fn before_holds(before: Verdict, after: Verdict) -> bool {
        std::mem::discriminant(&before) == std::mem::discriminant(&after)
    }

    #[test]
    fn golden_quorums_of_1_to_5_copies_are_1_2_2_3_3() {
        assert_eq!([1, 2, 3, 4, 5].map(|rf| Consistency::Quorum.required(rf)), [1, 2, 2, 3, 3]);
    }

    #[test]
    fn golden_quorums_await_each_pending_replica_on_top() {
        let with = |pending| {
            [1, 2, 3, 4, 5].map(|rf| Consistency::Quorum.required_with_pending(rf, pending))
        };
        assert_eq!(with(0), [1, 2, 2, 3, 3]);
        assert_eq!(with(1), [2, 3, 3, 4, 4]);
    }

    #[test]
    fn a_level_reads_back_from_its_name() {
        for (name, level) in Consistency::NAMES {
            assert_eq!(level.to_string(), name);
            assert_eq!(name.to_lowercase().parse(), Ok(level));
        }
        assert_eq!("MOST".parse::<Consistency>(), Err(UnknownConsistency("MOST".into())));
    }

    #[test]
    fn a_quorum_read_meets_every_quorum_write() {
        for rf in 1..=9 {
            assert!(2 * Consistency::Quorum.required(rf) > rf, "rf {rf}");
        }
    }
}
