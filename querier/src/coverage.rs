//! Coverage: whom to ask so that a read has heard enough, and whom next when one does not answer.
//!
//! A *need* is a set of replicas of which `required` have to answer: those of one partition, or,
//! for a question without a metric name, those of one range of the ring. An *ask* is one request to
//! one node for the sake of some needs.
//!
//! # Invariants
//! - A node is asked at most once for a need.
//! - `Unavailable` is said as soon as some need can no longer be met; never before.
//! - Same answers, same asks: no clock and no socket here.
//!
//! Not here: sending, waiting, when a node counts as slow (`select.rs`).

use cluster::{Consistency, NodeIndex, NodeSet, Placement, Unavailable};
use model::matcher::CompiledMatcher;
use model::partition::token_of;
use model::{DayBucket, METRIC_NAME, Matcher, TenantId, Text, TimeRange, TimestampMs};
use std::collections::{BTreeMap, BTreeSet};

/// Above so many partitions it is cheaper to ask by ranges of the ring.
const PARTITIONS_MAX: usize = 512;

/// A request to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Whom.
    pub node: NodeIndex,
    /// For which days; `None` is every day.
    pub days: Option<Vec<DayBucket>>,
    needs: Vec<usize>,
}

/// How far a read has come.
#[derive(Clone, Debug)]
pub struct Coverage {
    required: usize,
    prefer: Option<NodeIndex>,
    /// Asked last: they failed in this read, or were slow in an earlier one.
    avoided: NodeSet,
    needs: Vec<Need>,
    /// The days of all needs, `None` without one. A node that is asked for each is asked for every
    /// day: the range of the question bounds it as well.
    days: Option<BTreeSet<DayBucket>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Need {
    day: Option<DayBucket>,
    replicas: Vec<(NodeIndex, State)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Idle,
    Asked,
    /// Asked, and so slow that others are asked too; its answer still counts.
    Slow,
    Answered,
    Failed,
}

impl Need {
    fn count(&self, states: &[State]) -> usize {
        self.replicas.iter().filter(|(_, state)| states.contains(state)).count()
    }
}

impl Coverage {
    /// One need for each of the partitions.
    #[must_use]
    pub fn of_partitions(
        placement: &Placement,
        level: Consistency,
        prefer: Option<NodeIndex>,
        tenant: &TenantId,
        partitions: &[(Text, DayBucket)],
    ) -> Self {
        let needs = partitions.iter().map(|(metric, day)| {
            let token = token_of(tenant, metric, *day, 0, 0);
            (Some(*day), placement.replicas(token))
        });
        Self::new(placement, level, prefer, needs)
    }

    /// One need for each range of the ring.
    #[must_use]
    pub fn of_ring(placement: &Placement, level: Consistency, prefer: Option<NodeIndex>) -> Self {
        let needs = placement.ranges().map(|(_, replicas)| (None, replicas));
        Self::new(placement, level, prefer, needs)
    }

    fn new<'a>(
        placement: &Placement,
        level: Consistency,
        prefer: Option<NodeIndex>,
        needs: impl Iterator<Item = (Option<DayBucket>, &'a [NodeIndex])>,
    ) -> Self {
        let idle = |nodes: &[NodeIndex]| nodes.iter().map(|node| (*node, State::Idle)).collect();
        let needs: BTreeSet<Need> =
            needs.map(|(day, nodes)| Need { day, replicas: idle(nodes) }).collect();
        let required = level.required(placement.replication_factor());
        let days = needs.iter().map(|need| need.day).collect();
        let needs = needs.into_iter().collect();
        Self { required, prefer, avoided: NodeSet::default(), needs, days }
    }

    /// What to ask now. Empty if what is out can still do, or all is there.
    ///
    /// # Errors
    /// [`Unavailable`] if some need can no longer be met.
    pub fn plan(&mut self) -> Result<Vec<Ask>, Unavailable> {
        let mut chosen: BTreeMap<NodeIndex, Vec<usize>> = BTreeMap::new();
        for index in 0..self.needs.len() {
            let need = &self.needs[index];
            let alive = need.replicas.len() - need.count(&[State::Failed]);
            if alive < self.required {
                return Err(Unavailable { required: self.required, alive });
            }
            let counted = need.count(&[State::Asked, State::Answered]);
            for place in self.candidates(need, &chosen).into_iter().take(
                // Those that are slow are not counted: others are asked beside them.
                self.required.saturating_sub(counted),
            ) {
                self.needs[index].replicas[place].1 = State::Asked;
                let node = self.needs[index].replicas[place].0;
                chosen.entry(node).or_default().push(index);
            }
        }
        Ok(chosen.into_iter().map(|(node, needs)| self.ask(node, needs)).collect())
    }

    /// The idle replicas of a need, the best first: one that is not avoided, one that is
    /// asked anyway, this node itself, then in the order of the ring.
    fn candidates(&self, need: &Need, chosen: &BTreeMap<NodeIndex, Vec<usize>>) -> Vec<usize> {
        let idle = |(_, (_, state)): &(usize, &(NodeIndex, State))| *state == State::Idle;
        let mut places: Vec<usize> =
            need.replicas.iter().enumerate().filter(idle).map(|(place, _)| place).collect();
        places.sort_by_key(|place| {
            let node = need.replicas[*place].0;
            (
                self.avoided.contains(node),
                !(chosen.contains_key(&node) || self.prefer == Some(node)),
                self.prefer != Some(node),
            )
        });
        places
    }

    fn ask(&self, node: NodeIndex, needs: Vec<usize>) -> Ask {
        let days: Option<BTreeSet<DayBucket>> =
            needs.iter().map(|need| self.needs[*need].day).collect();
        let days = if days == self.days { None } else { days };
        Ask { node, days: days.map(|days| days.into_iter().collect()), needs }
    }

    /// The node answered.
    pub fn answered(&mut self, ask: &Ask) {
        self.set(ask, |_| State::Answered);
    }

    /// The node did not, and will not.
    pub fn failed(&mut self, ask: &Ask) {
        self.avoided.insert(ask.node);
        self.set(ask, |_| State::Failed);
    }

    /// All that are out take long; which these are.
    pub fn slow(&mut self) -> NodeSet {
        let states = self.needs.iter_mut().flat_map(|need| &mut need.replicas);
        let mut slow = NodeSet::default();
        for (node, state) in states.filter(|(_, state)| *state == State::Asked) {
            *state = State::Slow;
            slow.insert(*node);
        }
        slow
    }

    /// Every node that holds a copy of what is read.
    #[must_use]
    pub fn nodes(&self) -> NodeSet {
        let replicas = self.needs.iter().flat_map(|need| &need.replicas);
        replicas.map(|(node, _)| *node).collect()
    }

    /// Asks these last.
    pub fn avoid(&mut self, nodes: NodeSet) {
        self.avoided = nodes;
    }

    /// Whether every need has heard enough.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.needs.iter().all(|need| need.count(&[State::Answered]) >= self.required)
    }

    fn set(&mut self, ask: &Ask, state: impl Fn(State) -> State) {
        for need in &ask.needs {
            let replicas = &mut self.needs[*need].replicas;
            for (_, have) in replicas.iter_mut().filter(|(node, _)| *node == ask.node) {
                *have = state(*have);
            }
        }
    }
}

/// The partitions that a selection can touch, or `None` if it names no metric or they are too many.
/// No partition at all means that nothing can match.
#[must_use]
pub fn partitions_of<'a>(
    matcher_sets: impl IntoIterator<Item = &'a [Matcher]>,
    range: TimeRange,
) -> Option<Vec<(Text, DayBucket)>> {
    let mut names = BTreeSet::new();
    for matchers in matcher_sets {
        names.extend(metric_names(matchers)?);
    }
    // Without a name the days are not walked: all time has billions of them.
    if range.is_empty() || names.is_empty() {
        return Some(Vec::new());
    }
    let (first, last) = (range.start.day(), TimestampMs(range.end.0.saturating_sub(1)).day());
    let days = usize::try_from(i64::from(last.0) - i64::from(first.0) + 1).ok()?;
    if days.checked_mul(names.len())? > PARTITIONS_MAX {
        return None;
    }
    let days = (first.0..=last.0).map(DayBucket);
    Some(days.flat_map(|day| names.iter().map(move |name| (name.clone(), day))).collect())
}

/// The metric names that can match, if the matchers pin them to a list.
fn metric_names(matchers: &[Matcher]) -> Option<Vec<Text>> {
    let on_name = matchers.iter().filter(|matcher| &*matcher.name == METRIC_NAME);
    let lists = on_name.filter_map(|matcher| matcher.compile().ok()?.literals());
    lists.min_by_key(Vec::len).map(|names| {
        let compiled: Vec<CompiledMatcher> = matchers
            .iter()
            .filter(|matcher| &*matcher.name == METRIC_NAME)
            .filter_map(|matcher| matcher.compile().ok())
            .collect();
        names.into_iter().filter(|name| compiled.iter().all(|m| m.matches(name))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::{Member, Members, Roles};
    use model::matcher::MatchOp;
    use model::time::DAY_MS;

    fn placement(nodes: u16, rf: usize) -> Placement {
        let member = |i: u16| Member {
            name: format!("n{i}"),
            address: format!("127.0.0.1:{}", 1000 + i),
            roles: Roles::ALL,
            rack: String::new(),
        };
        Placement::new(&Members::new((0..nodes).map(member).collect()).unwrap(), rf)
    }

    fn tenant() -> TenantId {
        TenantId::parse("t").unwrap()
    }

    fn up(day: i32) -> (Text, DayBucket) {
        ("up".into(), DayBucket(day))
    }

    fn nodes(asks: &[Ask]) -> Vec<u16> {
        asks.iter().map(|ask| ask.node.0).collect()
    }

    #[test]
    fn a_partition_asks_just_a_quorum_of_its_replicas_this_node_among_them() {
        let placement = placement(5, 3);
        let replicas = placement.replicas(token_of(&tenant(), "up", DayBucket(1), 0, 0));
        for prefer in replicas {
            let mut coverage = Coverage::of_partitions(
                &placement,
                Consistency::Quorum,
                Some(*prefer),
                &tenant(),
                &[up(1)],
            );
            let asks = coverage.plan().unwrap();
            assert_eq!(asks.len(), 2);
            assert!(asks.iter().all(|ask| replicas.contains(&ask.node)));
            assert!(asks.iter().any(|ask| ask.node == *prefer));
            assert!(asks.iter().all(|ask| ask.days.is_none()), "the only day is every day");
            asks.iter().for_each(|ask| coverage.answered(ask));
            assert!(coverage.is_complete() && coverage.plan().unwrap().is_empty());
        }
    }

    #[test]
    fn when_one_fails_the_third_is_asked_and_a_second_failure_ends_the_read() {
        let placement = placement(3, 3);
        let level = Consistency::Quorum;
        let mut coverage = Coverage::of_partitions(&placement, level, None, &tenant(), &[up(1)]);
        let first = coverage.plan().unwrap();
        coverage.failed(&first[0]);
        coverage.answered(&first[1]);
        assert!(!coverage.is_complete());
        let second = coverage.plan().unwrap();
        assert_eq!(second.len(), 1);
        assert!(!nodes(&first).contains(&second[0].node.0));
        coverage.failed(&second[0]);
        assert_eq!(coverage.plan(), Err(Unavailable { required: 2, alive: 1 }));
    }

    #[test]
    fn a_slow_node_is_doubled_and_its_answer_still_counts() {
        let placement = placement(3, 3);
        let mut coverage = Coverage::of_ring(&placement, Consistency::Quorum, None);
        let first = coverage.plan().unwrap();
        assert_eq!(first.len(), 2);
        coverage.answered(&first[0]);
        assert_eq!(coverage.slow().iter().collect::<Vec<_>>(), [first[1].node]);
        let second = coverage.plan().unwrap();
        assert_eq!(second.len(), 1);
        coverage.failed(&second[0]);
        assert!(coverage.plan().unwrap().is_empty(), "the slow one may still do");
        coverage.answered(&first[1]);
        assert!(coverage.is_complete());
    }

    #[test]
    fn a_node_that_is_avoided_is_asked_only_when_nobody_else_is_left() {
        let placement = placement(3, 3);
        let mut coverage = Coverage::of_ring(&placement, Consistency::Quorum, Some(NodeIndex(0)));
        coverage.avoid([NodeIndex(1)].into_iter().collect());
        let first = coverage.plan().unwrap();
        assert_eq!(nodes(&first), [0, 2]);
        coverage.failed(&first[1]);
        assert_eq!(nodes(&coverage.plan().unwrap()), [1]);
    }

    #[test]
    fn without_a_metric_name_every_range_of_the_ring_needs_its_quorum() {
        let placement = placement(5, 3);
        let mut coverage = Coverage::of_ring(&placement, Consistency::Quorum, Some(NodeIndex(0)));
        let mut heard = NodeSet::default();
        while !coverage.is_complete() {
            for ask in coverage.plan().unwrap() {
                assert_eq!(ask.days, None);
                coverage.answered(&ask);
                heard.insert(ask.node);
            }
        }
        assert!(placement.fewest_replicas_in(&heard) >= 2);
    }

    #[test]
    fn with_two_of_three_dead_no_read_is_enough() {
        let placement = placement(3, 3);
        let mut coverage = Coverage::of_ring(&placement, Consistency::Quorum, None);
        for _ in 0..2 {
            let asks = coverage.plan().unwrap();
            coverage.failed(&asks[0]);
        }
        assert!(coverage.plan().is_err());
    }

    #[test]
    fn each_node_is_asked_for_the_days_that_lie_there() {
        let placement = placement(5, 1);
        let partitions: Vec<_> = (0..40).map(up).collect();
        let level = Consistency::One;
        let mut coverage = Coverage::of_partitions(&placement, level, None, &tenant(), &partitions);
        let mut days = 0;
        for ask in coverage.plan().unwrap() {
            for day in ask.days.unwrap() {
                let token = token_of(&tenant(), "up", day, 0, 0);
                assert_eq!(placement.replicas(token), [ask.node]);
                days += 1;
            }
        }
        assert_eq!(days, 40);
    }

    #[test]
    fn only_a_short_list_of_names_and_days_becomes_partitions() {
        let day = TimeRange { start: TimestampMs(-1), end: TimestampMs(DAY_MS) };
        let of = |matchers: &[Matcher], range| partitions_of([matchers], range);
        let name = Matcher::equal(METRIC_NAME, "up");
        assert_eq!(of(std::slice::from_ref(&name), day), Some(vec![up(-1), up(0)]));
        assert_eq!(of(std::slice::from_ref(&name), TimeRange::ALL), None);
        assert_eq!(of(&[Matcher::equal("job", "a")], day), None);
        assert_eq!(of(&[Matcher::new(METRIC_NAME, MatchOp::Regex, "up.*")], day), None);
        let either = Matcher::new(METRIC_NAME, MatchOp::Regex, "up|down");
        assert_eq!(of(std::slice::from_ref(&either), day).unwrap().len(), 4);
        assert_eq!(of(&[either, name.clone()], day), Some(vec![up(-1), up(0)]));
        // Two names at once match nothing, on none of the billions of days there are.
        let other = Matcher::equal(METRIC_NAME, "other");
        assert_eq!(of(&[name, other], TimeRange::ALL), Some(Vec::new()));
    }

    /// A small generator of chance, so that a seed is a schedule.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: u64) -> u64 {
            self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (self.0 >> 33) % sides
        }
    }

    /// A write under random deaths: the nodes that keep it, if it was acknowledged.
    fn write(placement: &Placement, day: i32, dice: &mut Dice) -> Option<NodeSet> {
        let token = token_of(&tenant(), "up", DayBucket(day), 0, 0);
        let mut tally = cluster::Tally::new(Consistency::Quorum, placement.replication_factor());
        let mut kept = NodeSet::default();
        for node in placement.replicas(token) {
            match dice.roll(4) {
                0 => tally.fail(),
                // Kept, but the answer was lost.
                1 => {
                    kept.insert(*node);
                    tally.fail();
                }
                _ => {
                    kept.insert(*node);
                    tally.succeed();
                }
            }
        }
        (tally.verdict() == cluster::Verdict::Satisfied).then_some(kept)
    }

    /// A read under random deaths and delays: the nodes that were heard for `day`, if it was enough.
    fn read(mut coverage: Coverage, day: i32, dice: &mut Dice) -> Option<NodeSet> {
        let mut heard = NodeSet::default();
        let mut out = Vec::new();
        while !coverage.is_complete() {
            out.extend(coverage.plan().ok()?);
            assert!(!out.is_empty(), "somebody is asked until it is enough");
            if dice.roll(4) == 0 {
                drop(coverage.slow());
                continue;
            }
            let place = usize::try_from(dice.roll(out.len() as u64)).unwrap();
            let ask = out.swap_remove(place);
            if dice.roll(3) == 0 {
                coverage.failed(&ask);
                continue;
            }
            coverage.answered(&ask);
            if ask.days.as_ref().is_none_or(|days| days.contains(&DayBucket(day))) {
                heard.insert(ask.node);
            }
        }
        Some(heard)
    }

    #[test]
    fn every_read_that_is_enough_hears_a_node_that_keeps_what_was_acknowledged() {
        let rfs = [1, 3, 5].into_iter();
        let placements: Vec<Placement> =
            rfs.flat_map(|rf| (0..3).map(move |more| placement(rf + more, rf.into()))).collect();
        let (mut reads, mut refused) = (0, 0);
        for seed in 0..20_000 {
            let mut dice = Dice(seed);
            let placement = &placements[usize::try_from(dice.roll(9)).unwrap()];
            let day = i32::try_from(dice.roll(3)).unwrap();
            let Some(kept) = write(placement, day, &mut dice) else { continue };
            let level = Consistency::Quorum;
            let prefer = Some(NodeIndex(u16::try_from(dice.roll(3)).unwrap()));
            let coverage = if dice.roll(2) == 0 {
                Coverage::of_ring(placement, level, prefer)
            } else {
                let partitions = [up(0), up(1), up(2)];
                Coverage::of_partitions(placement, level, prefer, &tenant(), &partitions)
            };
            match read(coverage, day, &mut dice) {
                Some(heard) => {
                    reads += 1;
                    let meets = heard.iter().any(|node| kept.contains(node));
                    assert!(meets, "seed {seed}: kept {kept:?}, heard {heard:?}");
                }
                None => refused += 1,
            }
        }
        assert!(reads > 1_000 && refused > 1_000, "{reads} reads, {refused} refused");
    }
}
