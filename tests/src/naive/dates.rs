//! Parts of dates in UTC, by walking the calendar.

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64) -> i64 {
    if is_leap(year) { 366 } else { 365 }
}

fn days_in(year: i64, month: usize) -> i64 {
    let days = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1];
    if month == 2 && is_leap(year) { 29 } else { days }
}

/// Year, month and day of month of a moment, in seconds since 1970.
pub(super) fn date(seconds: i64) -> (i64, usize, i64) {
    let mut days = seconds.div_euclid(86_400);
    // 400 years are 146,097 days; from there on day by day.
    let mut year = 1970 + 400 * days.div_euclid(146_097);
    days = days.rem_euclid(146_097);
    while days >= days_of(year) {
        days -= days_of(year);
        year += 1;
    }
    let mut month = 1;
    while days >= days_in(year, month) {
        days -= days_in(year, month);
        month += 1;
    }
    (year, month, days + 1)
}

/// What the function `name` answers for a moment in seconds since 1970; `None` if it is not about
/// dates.
pub(super) fn part(name: &str, seconds: i64) -> Option<f64> {
    let (year, month, day) = date(seconds);
    let part = match name {
        "year" => year,
        "month" => i64::try_from(month).unwrap_or(0),
        "day_of_month" => day,
        "days_in_month" => days_in(year, month),
        "day_of_year" => (1..month).map(|month| days_in(year, month)).sum::<i64>() + day,
        // 1970 began on a Thursday.
        "day_of_week" => (seconds.div_euclid(86_400) + 4).rem_euclid(7),
        "hour" => seconds.rem_euclid(86_400) / 3600,
        "minute" => seconds.rem_euclid(3600) / 60,
        _ => return None,
    };
    Some(part as f64)
}
