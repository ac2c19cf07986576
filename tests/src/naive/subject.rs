//! The naive evaluator as something that scripts can be run against: it has to pass upstream's own,
//! or it is no yardstick.

use super::{Data, evaluate};
use crate::memory::MemorySource;
use crate::promqltest::{Answer, Ask, Subject};
use model::SeriesColumns;
use promql::{EvalParams, ParseOptions};

/// The naive evaluator over a table that can be filled.
#[derive(Clone, Debug)]
pub struct NaiveSubject {
    source: MemorySource,
    params: EvalParams,
}

impl NaiveSubject {
    /// With names dropped at the end or at once.
    #[must_use]
    pub fn new(delayed_name_removal: bool) -> Self {
        let params = EvalParams {
            delayed_name_removal,
            use_start_timestamps: true,
            ..EvalParams::instant(0)
        };
        Self { source: MemorySource::default(), params }
    }
}

impl Subject for NaiveSubject {
    fn clear(&mut self) {
        self.source.clear();
    }

    fn load(&mut self, series: &[SeriesColumns]) -> Result<(), String> {
        series.iter().for_each(|series| self.source.add(series));
        Ok(())
    }

    fn ask(&self, ask: Ask<'_>) -> Result<Answer, String> {
        let expr =
            promql::parse(ask.query, ParseOptions::ALL).map_err(|error| error.to_string())?;
        let params = EvalParams {
            start_ms: ask.start_ms,
            end_ms: ask.end_ms,
            step_ms: ask.step_ms,
            ..self.params.clone()
        };
        let data = Data::new(&self.source.all());
        evaluate(&data, ask.query, &expr, &params).map(Answer::from)
    }
}
