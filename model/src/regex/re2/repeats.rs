//! What repetitions may repeat in RE2: no other repetition, and nothing more than 1000 times, however
//! groups with counts lie in each other.

/// The largest count, and the largest product of counts that lie in each other.
pub(super) const COUNT_MAX: u64 = 1000;

/// What has been read, as far as a repetition has to know it.
#[derive(Debug)]
pub(super) struct Repeats {
    /// How often the most repeated part of each open group is, the pattern itself first.
    open: Vec<u64>,
    /// How often the most repeated part of the last part is.
    last: u64,
    behind: Behind,
}

#[derive(Debug)]
enum Behind {
    Nothing,
    Part,
    /// A repetition that begins here.
    Repetition(usize),
}

impl Repeats {
    pub(super) fn new() -> Self {
        Self { open: vec![1], last: 0, behind: Behind::Nothing }
    }

    /// A character, a class or an assertion follows.
    pub(super) fn part(&mut self) {
        self.settle();
        (self.last, self.behind) = (1, Behind::Part);
    }

    /// A group begins.
    pub(super) fn open(&mut self) {
        self.settle();
        self.open.push(1);
        self.behind = Behind::Nothing;
    }

    /// A group ends, and is a part of the one around it.
    pub(super) fn close(&mut self) {
        self.settle();
        self.behind = Behind::Part;
        if self.open.len() > 1 {
            self.last = self.open.pop().unwrap_or(1);
        }
    }

    /// Another alternative begins.
    pub(super) fn alternative(&mut self) {
        self.settle();
        self.behind = Behind::Nothing;
    }

    /// Where the repetition begins that stands right before this place.
    pub(super) fn repeated_at(&self) -> Option<usize> {
        match self.behind {
            Behind::Repetition(at) => Some(at),
            Behind::Nothing | Behind::Part => None,
        }
    }

    /// Whether there is something to repeat.
    pub(super) fn has_part(&self) -> bool {
        !matches!(self.behind, Behind::Nothing)
    }

    /// The last part is repeated by what begins at `at`; false if that is too often. What is repeated
    /// no time counts for nothing.
    pub(super) fn repeat(&mut self, at: usize, times: u64) -> bool {
        self.last = self.last.saturating_mul(times);
        self.behind = Behind::Repetition(at);
        self.last <= COUNT_MAX
    }

    fn settle(&mut self) {
        if let Some(group) = self.open.last_mut() {
            *group = self.last.max(*group);
        }
        self.last = 0;
    }
}

/// The least and the most of `3}`, `3,}` or `3,5}`, and what follows; `None` if it is none of these.
/// A number is no larger than one that is too large.
pub(super) fn counts(text: &str) -> Option<(u64, Option<u64>, &str)> {
    let (least, rest) = count(text)?;
    if let Some(behind) = rest.strip_prefix('}') {
        return Some((least, Some(least), behind));
    }
    let rest = rest.strip_prefix(',')?;
    if let Some(behind) = rest.strip_prefix('}') {
        return Some((least, None, behind));
    }
    let (most, rest) = count(rest)?;
    Some((least, Some(most), rest.strip_prefix('}')?))
}

/// The number at the start, and what follows it. With zeros before it, it is none.
fn count(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    Some((digits.parse().unwrap_or(u64::MAX).min(COUNT_MAX + 1), rest))
}
