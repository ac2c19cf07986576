//! Which strategy, and the scaling parameters of UCS, as users write them.

use std::fmt;
use std::str::FromStr;

/// The largest fan factor that is taken. Above it sstables would pile up without use.
const FAN_FACTOR_MAX: i32 = 1024;

/// The scaling parameters of UCS by level; the last one goes for all further levels.
///
/// Written as Cassandra does: `T4` tiered, `L10` levelled, `N` in between, or the number `W` itself
/// (`T4` is 2, `L10` is -8, `N` is 0); several with commas are for the levels from 0 on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scaling {
    // Invariant: not empty, each within ±(FAN_FACTOR_MAX - 2).
    parameters: Vec<i32>,
}

impl Scaling {
    /// Tiered with one fan factor on all levels; a factor below 2 is 2.
    #[must_use]
    pub fn tiered(fan_factor: u8) -> Self {
        Self { parameters: vec![i32::from(fan_factor.max(2)) - 2] }
    }

    /// Levelled with one fan factor on all levels; a factor below 2 is 2.
    #[must_use]
    pub fn levelled(fan_factor: u8) -> Self {
        Self { parameters: vec![2 - i32::from(fan_factor.max(2))] }
    }

    /// `W` of a level: negative is levelled, positive is tiered.
    #[must_use]
    pub fn parameter(&self, level: usize) -> i32 {
        let last = self.parameters.len() - 1;
        self.parameters[level.min(last)]
    }

    /// By how much a level is denser than the one below; 2 or more.
    #[must_use]
    pub fn fanout(&self, level: usize) -> u32 {
        2 + self.parameter(level).unsigned_abs()
    }

    /// How many overlapping sstables of a level are compacted; 2 or more.
    #[must_use]
    pub fn threshold(&self, level: usize) -> u32 {
        2 + self.parameter(level).max(0).unsigned_abs()
    }
}

impl FromStr for Scaling {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parameters: Result<Vec<i32>, String> = text.split(',').map(parameter).collect();
        Ok(Self { parameters: parameters? })
    }
}

fn parameter(text: &str) -> Result<i32, String> {
    let text = text.trim();
    let wrong = || {
        format!(
            "`{text}` is no scaling parameter: wanted N, L or T with a fan factor, or a whole number"
        )
    };
    let digits = |digits: &str| {
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse::<i32>().ok()).flatten().ok_or_else(wrong)
    };
    let fan_factor = |text: &str| match digits(text)? {
        2..=FAN_FACTOR_MAX => Ok(digits(text)? - 2),
        other => Err(format!("the fan factor {other} is not between 2 and {FAN_FACTOR_MAX}")),
    };
    if text == "N" {
        return Ok(0);
    }
    if let Some(rest) = text.strip_prefix('L') {
        return fan_factor(rest).map(|w| -w);
    }
    if let Some(rest) = text.strip_prefix('T') {
        return fan_factor(rest);
    }
    let w = match text.strip_prefix('-') {
        Some(rest) => -digits(rest)?,
        None => digits(text.strip_prefix('+').unwrap_or(text))?,
    };
    let is_sound = w.abs() <= FAN_FACTOR_MAX - 2;
    is_sound.then_some(w).ok_or_else(|| format!("{w} is not within ±{}", FAN_FACTOR_MAX - 2))
}

impl fmt::Display for Scaling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, w) in self.parameters.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            match w {
                0 => f.write_str("N")?,
                1.. => write!(f, "T{}", w + 2)?,
                _ => write!(f, "L{}", 2 - w)?,
            }
        }
        Ok(())
    }
}

/// Which decider, by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Unified compaction with the scaling parameters of the settings.
    #[default]
    Ucs,
    /// Unified compaction, T4: what size-tiered compaction does.
    Stcs,
    /// Unified compaction, L10: what levelled compaction does.
    Lcs,
    /// Time-window compaction.
    Twcs,
}

impl Strategy {
    /// Every strategy.
    pub const ALL: [Self; 4] = [Self::Ucs, Self::Stcs, Self::Lcs, Self::Twcs];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ucs => "ucs",
            Self::Stcs => "stcs",
            Self::Lcs => "lcs",
            Self::Twcs => "twcs",
        }
    }
}

impl FromStr for Strategy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|strategy| strategy.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is no strategy: wanted ucs, stcs, lcs or twcs"))
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling_parameters_are_read_in_every_form_and_written_back() {
        for (text, w, f, t, again) in [
            ("T4", 2, 4, 4, "T4"),
            ("L10", -8, 10, 2, "L10"),
            ("N", 0, 2, 2, "N"),
            ("T2", 0, 2, 2, "N"),
            ("L2", 0, 2, 2, "N"),
            ("+6", 6, 8, 8, "T8"),
            ("-2", -2, 4, 2, "L4"),
            ("0", 0, 2, 2, "N"),
        ] {
            let scaling: Scaling = text.parse().unwrap();
            let found = (scaling.parameter(0), scaling.fanout(0), scaling.threshold(0));
            assert_eq!(found, (w, f, t), "{text}");
            assert_eq!(scaling.to_string(), again);
        }
    }

    #[test]
    fn the_last_scaling_parameter_goes_for_all_further_levels() {
        let scaling: Scaling = "T8, T4,N".parse().unwrap();
        let thresholds = [0, 1, 2, 3, 31].map(|level| scaling.threshold(level));
        assert_eq!(thresholds, [8, 4, 2, 2, 2]);
        assert_eq!(scaling.to_string(), "T8,T4,N");
    }

    #[test]
    fn what_is_no_scaling_parameter_is_refused_by_name() {
        for text in
            ["", "T", "T1", "L0", "T4,", "Q4", "t4", "T-4", "--1", "T99999999999", "5000", "T4;N"]
        {
            assert!(text.parse::<Scaling>().is_err(), "{text}");
        }
        assert!("T1".parse::<Scaling>().unwrap_err().contains("between 2 and"));
    }

    #[test]
    fn strategies_are_known_by_name() {
        for strategy in Strategy::ALL {
            assert_eq!(strategy.as_str().parse(), Ok(strategy));
        }
        assert!("dtcs".parse::<Strategy>().unwrap_err().contains("ucs, stcs, lcs or twcs"));
    }
}
