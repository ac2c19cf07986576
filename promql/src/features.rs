//! Feature switches, with the names and the defaults of Prometheus: all off.

use crate::eval::EvalParams;
use crate::parse::ParseOptions;

/// Which parts of the language and of the engine are switched on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Functions and aggregations that are marked experimental.
    pub experimental_functions: bool,
    /// `anchored` and `smoothed`.
    pub extended_range_selectors: bool,
    /// `fill`, `fill_left`, `fill_right`.
    pub binop_fill_modifiers: bool,
    /// Metric names are dropped at the end of an evaluation.
    pub delayed_name_removal: bool,
    /// The start timestamps of samples tell resets.
    pub use_start_timestamps: bool,
    /// The label `__type__` tells what is a counter, instead of the metric's name.
    pub type_and_unit_labels: bool,
}

/// A feature's name, and where it is.
type Named = (&'static str, fn(&mut Features) -> &mut bool);

const NAMED: [Named; 6] = [
    ("promql-experimental-functions", |of| &mut of.experimental_functions),
    ("promql-extended-range-selectors", |of| &mut of.extended_range_selectors),
    ("promql-binop-fill-modifiers", |of| &mut of.binop_fill_modifiers),
    ("promql-delayed-name-removal", |of| &mut of.delayed_name_removal),
    ("use-start-timestamps", |of| &mut of.use_start_timestamps),
    ("type-and-unit-labels", |of| &mut of.type_and_unit_labels),
];

/// Features of Prometheus that are always on here, or that have become part of the language.
const ALWAYS_ON: [&str; 3] = ["promql-duration-expr", "promql-per-step-stats", "st-storage"];

impl Features {
    /// The features of a list like `promql-delayed-name-removal,use-start-timestamps`.
    ///
    /// # Errors
    /// The name that is no feature's, and those that are.
    pub fn parse(list: &str) -> Result<Self, String> {
        let mut features = Self::default();
        let names = list.split(',').map(str::trim);
        for name in names.filter(|name| !name.is_empty() && !ALWAYS_ON.contains(name)) {
            let known = NAMED.iter().find(|(known, _)| *known == name);
            let (_, place) = known.ok_or_else(|| {
                let names = NAMED.map(|(name, _)| name).join(", ");
                format!("unknown feature {name:?}; there are {names}")
            })?;
            *place(&mut features) = true;
        }
        Ok(features)
    }

    /// The names of those that are on, as [`Features::parse`] reads them.
    #[must_use]
    pub fn list(mut self) -> String {
        let is_on = |(_, place): &&Named| *place(&mut self);
        let names: Vec<&str> = NAMED.iter().filter(is_on).map(|(name, _)| *name).collect();
        names.join(",")
    }

    /// Which parts of the language are on.
    #[must_use]
    pub fn parse_options(self) -> ParseOptions {
        ParseOptions {
            experimental_functions: self.experimental_functions,
            extended_range_selectors: self.extended_range_selectors,
            binop_fill_modifiers: self.binop_fill_modifiers,
            ..ParseOptions::default()
        }
    }

    /// How to evaluate with them.
    #[must_use]
    pub fn applied(self, params: EvalParams) -> EvalParams {
        EvalParams {
            delayed_name_removal: self.delayed_name_removal,
            use_start_timestamps: self.use_start_timestamps,
            type_and_unit_labels: self.type_and_unit_labels,
            ..params
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_have_the_names_of_prometheus_and_are_off() {
        assert_eq!(Features::parse(" ").unwrap(), Features::default());
        assert_eq!(Features::default().parse_options(), ParseOptions::default());
        let some = Features::parse("use-start-timestamps, promql-experimental-functions").unwrap();
        assert!(some.use_start_timestamps && some.parse_options().experimental_functions);
        assert!(some.applied(EvalParams::instant(0)).use_start_timestamps);
        assert_eq!(some.list(), "promql-experimental-functions,use-start-timestamps");
        let all = NAMED.map(|(name, _)| name).join(",");
        assert_eq!(Features::parse(&all).unwrap().list(), all);
        let on = Features::parse("promql-per-step-stats, st-storage,promql-duration-expr");
        assert_eq!(on, Ok(Features::default()), "they are on already");
        assert!(Features::parse("promql-everything").unwrap_err().contains("promql-everything"));
    }
}
