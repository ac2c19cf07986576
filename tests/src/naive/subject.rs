//! The naive evaluator as something that scripts can be run against: it has to pass upstream's own,
//! or it is no yardstick.

use super::{Data, evaluate};
use crate::promqltest::{Ask, Subject};
use model::SeriesColumns;
use promql::{EvalParams, Evaluation, ParseOptions};

/// The naive evaluator over a table that can be filled.
#[derive(Clone, Debug)]
pub struct NaiveSubject {
    data: Data,
    params: EvalParams,
}

impl NaiveSubject {
    /// With names dropped at the end or at once.
    #[must_use]
    pub fn new(delayed_name_removal: bool) -> Self {
        let params = EvalParams { delayed_name_removal, ..EvalParams::instant(0) };
        Self { data: Data::default(), params }
    }
}

impl Subject for NaiveSubject {
    fn clear(&mut self) {
        self.data = Data::default();
    }

    fn load(&mut self, series: &[SeriesColumns]) -> Result<(), String> {
        series.iter().for_each(|series| self.data.add(series));
        Ok(())
    }

    fn ask(&self, ask: Ask<'_>) -> Result<Evaluation, String> {
        let expr =
            promql::parse(ask.query, ParseOptions::ALL).map_err(|error| error.to_string())?;
        let params = EvalParams {
            start_ms: ask.start_ms,
            end_ms: ask.end_ms,
            step_ms: ask.step_ms,
            ..self.params.clone()
        };
        evaluate(&self.data, ask.query, &expr, &params)
    }
}
