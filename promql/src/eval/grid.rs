//! The steps an expression is evaluated at.

use crate::eval::error::EvalError;

/// Evenly spaced moments: `start`, `start + step`, … , `len` of them, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    /// The first moment, in milliseconds since 1970.
    pub(crate) start_ms: i64,
    /// The distance; at least 1.
    pub(crate) step_ms: i64,
    /// How many moments there are.
    pub(crate) len: usize,
    /// Whether it ends where it begins. A range that ends before its second step is no instant.
    pub(crate) is_instant: bool,
}

impl Grid {
    /// The moments from `start_ms` up to `end_ms`, both included; `None` if there are none.
    pub(crate) fn new(start_ms: i64, end_ms: i64, step_ms: i64) -> Option<Self> {
        let step_ms = step_ms.max(1);
        if end_ms < start_ms {
            return None;
        }
        let steps = end_ms.saturating_sub(start_ms) / step_ms;
        let len = usize::try_from(steps).ok()?.saturating_add(1);
        Some(Self { start_ms, step_ms, len, is_instant: start_ms == end_ms })
    }

    /// Only the first moment.
    pub(crate) fn first(self) -> Self {
        Self { len: 1, is_instant: true, ..self }
    }

    /// The moment of the step with this index.
    #[inline]
    pub(crate) fn at(self, index: usize) -> i64 {
        let index = i64::try_from(index).unwrap_or(i64::MAX);
        self.start_ms.saturating_add(self.step_ms.saturating_mul(index))
    }

    /// The last moment.
    pub(crate) fn end_ms(self) -> i64 {
        self.at(self.len.saturating_sub(1))
    }

    /// The steps of a subquery whose results feed windows of `range_ms` that end `offset_ms` before
    /// the moments from `first_ms` to `last_ms`. They lie on multiples of `step_ms`.
    pub(crate) fn subquery(
        first_ms: i64,
        last_ms: i64,
        range_ms: i64,
        offset_ms: i64,
        step_ms: i64,
    ) -> Result<Option<Self>, EvalError> {
        let too_far = || EvalError::unexecutable("subquery time range overflows");
        let open_left = first_ms
            .checked_sub(offset_ms)
            .and_then(|end| end.checked_sub(range_ms))
            .ok_or_else(too_far)?;
        let end = last_ms.checked_sub(offset_ms).ok_or_else(too_far)?;
        let step_ms = step_ms.max(1);
        let mut start = step_ms * (open_left / step_ms);
        if start <= open_left {
            start = start.checked_add(step_ms).ok_or_else(too_far)?;
        }
        Ok(Self::new(start, end, step_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_ends_at_or_before_its_end() {
        let grid = Grid::new(10, 34, 10).unwrap();
        assert_eq!((grid.len, grid.end_ms()), (3, 30));
        assert_eq!(Grid::new(10, 9, 10), None);
        assert_eq!(Grid::new(10, 10, 0).unwrap(), Grid { step_ms: 1, ..grid.first() });
        assert!(!Grid::new(10, 19, 10).unwrap().is_instant);
    }

    #[test]
    fn steps_of_a_subquery_lie_on_multiples_inside_the_open_window() {
        let grid = Grid::subquery(100, 100, 50, 0, 20).unwrap().unwrap();
        assert_eq!((grid.start_ms, grid.end_ms()), (60, 100));
        let open = Grid::subquery(100, 100, 40, 0, 20).unwrap().unwrap();
        assert_eq!(open.start_ms, 80, "60 lies on the open left edge");
        let before = Grid::subquery(-30, -30, 25, 0, 20).unwrap().unwrap();
        assert_eq!(before.start_ms, -40, "division goes toward zero, as upstream's");
    }
}
