//! What a caller settles before an evaluation: times, options, limits, and how to stop it.

use crate::ast::Expr;
use crate::eval::error::EvalError;
use crate::eval::meter::Meter;
use model::read::SelectBounds;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A parsed query and the text it was parsed from; annotations name places in the text.
#[derive(Clone, Copy, Debug)]
pub struct Query<'q> {
    /// The text.
    pub text: &'q str,
    /// What it means.
    pub expr: &'q Expr,
}

/// How to evaluate a query.
#[derive(Clone, Debug)]
pub struct EvalParams {
    /// The first step, in milliseconds since 1970.
    pub start_ms: i64,
    /// No step lies behind it. Not before `start_ms`.
    pub end_ms: i64,
    /// The distance of steps; 0 makes an instant query at `start_ms`.
    pub step_ms: i64,
    /// How long a sample stands for its series, if nothing newer comes.
    pub lookback_ms: i64,
    /// The step of subqueries that have none of their own.
    pub subquery_step_ms: i64,
    /// Whether metric names are dropped at the end of the evaluation instead of in each operation.
    pub delayed_name_removal: bool,
    /// Whether the start timestamps of samples tell resets.
    pub use_start_timestamps: bool,
    /// Whether the label `__type__` tells what is a counter, instead of the metric's name.
    pub type_and_unit_labels: bool,
    /// On how many threads the evaluation may be at once; 1 keeps it on the caller's.
    pub workers: usize,
    /// The most that the evaluation may use.
    pub limits: Limits,
}

/// The most that one evaluation may use. Beyond it the answer is an error, never a cut.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Samples in memory at once, counted as Prometheus counts them.
    pub samples_max: u64,
    /// Series of one selector.
    pub series_max: u64,
    /// Samples that one selector may fetch.
    pub fetched_samples_max: u64,
    /// Bytes of columns in memory at once.
    pub bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            samples_max: 50_000_000,
            series_max: u64::MAX,
            fetched_samples_max: u64::MAX,
            bytes_max: 4 << 30,
        }
    }
}

impl Limits {
    pub(crate) fn select_bounds(&self) -> SelectBounds {
        let (series_max, samples_max) = (self.series_max, self.fetched_samples_max);
        SelectBounds { series_max, samples_max, ..SelectBounds::NONE }
    }
}

impl EvalParams {
    /// An instant query at `time_ms` with the defaults of Prometheus.
    #[must_use]
    pub fn instant(time_ms: i64) -> Self {
        Self::range(time_ms, time_ms, 0)
    }

    /// A range query with the defaults of Prometheus.
    #[must_use]
    pub fn range(start_ms: i64, end_ms: i64, step_ms: i64) -> Self {
        Self {
            start_ms,
            end_ms,
            step_ms,
            lookback_ms: 300_000,
            subquery_step_ms: 60_000,
            delayed_name_removal: false,
            use_start_timestamps: false,
            type_and_unit_labels: false,
            workers: 1,
            limits: Limits::default(),
        }
    }

    /// Whether it is an instant query.
    #[must_use]
    pub fn is_instant(&self) -> bool {
        self.step_ms == 0
    }
}

/// Stops an evaluation from outside: by a flag, or when a deadline has passed; or lets it wait.
#[derive(Clone, Default)]
pub struct Cancel {
    flag: Arc<AtomicBool>,
    turns: Option<Arc<dyn Fn() + Send + Sync>>,
    meter: Option<Arc<Meter>>,
    expired: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
}

impl Cancel {
    /// Stops once `flag` is set.
    #[must_use]
    pub fn new(flag: Arc<AtomicBool>) -> Self {
        Self { flag, ..Self::default() }
    }

    /// Stops too once `expired` says that the time is up. It is asked often: make it cheap.
    #[must_use]
    pub fn with_deadline(self, expired: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { expired: Some(Arc::new(expired)), ..self }
    }

    /// Lets the evaluation take turns with others: `go_on` is called wherever it may stop, and may
    /// block until it is to go on. It is called often: make it cheap.
    #[must_use]
    pub fn with_turns(self, go_on: impl Fn() + Send + Sync + 'static) -> Self {
        Self { turns: Some(Arc::new(go_on)), ..self }
    }

    /// Measures the evaluation, which ends too when the meter's memory is used up.
    #[must_use]
    pub fn with_meter(self, meter: Arc<Meter>) -> Self {
        Self { meter: Some(meter), ..self }
    }

    /// What measures the evaluation.
    pub(crate) fn meter(&self) -> Option<&Meter> {
        self.meter.as_deref()
    }

    /// Asks whether to stop.
    pub(crate) fn check(&self) -> Result<(), EvalError> {
        if let Some(go_on) = &self.turns {
            go_on();
        }
        if self.flag.load(Ordering::Relaxed) {
            return Err(EvalError::Canceled);
        }
        match &self.expired {
            Some(expired) if expired() => Err(EvalError::Timeout),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancel")
            .field("flag", &self.flag)
            .field("deadline", &self.expired.is_some())
            .finish()
    }
}
