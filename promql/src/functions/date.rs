//! Parts of dates: UTC, the Gregorian calendar for ever, seconds since 1970.

const DAY: i64 = 86_400;

/// A date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Date {
    year: i64,
    /// From 1.
    month: i64,
    /// From 1.
    day: i64,
}

/// The function called `name`, if it asks for a part of a date.
pub(super) fn part(name: &str) -> Option<fn(i64) -> f64> {
    Some(match name {
        "minute" => |seconds| (seconds.rem_euclid(3_600) / 60) as f64,
        "hour" => |seconds| (seconds.rem_euclid(DAY) / 3_600) as f64,
        "day_of_week" => |seconds| (seconds.div_euclid(DAY) + 4).rem_euclid(7) as f64,
        "day_of_month" => |seconds| date(seconds).day as f64,
        "day_of_year" => |seconds| {
            let date = date(seconds);
            (seconds.div_euclid(DAY) - days_before(date.year, 1) + 1) as f64
        },
        "days_in_month" => |seconds| {
            let date = date(seconds);
            let (year, month) =
                if date.month == 12 { (date.year + 1, 1) } else { (date.year, date.month + 1) };
            (days_before(year, month) - days_before(date.year, date.month)) as f64
        },
        "month" => |seconds| date(seconds).month as f64,
        "year" => |seconds| date(seconds).year as f64,
        _ => return None,
    })
}

/// The date a moment lies in. Years are counted from March, in eras of 400 years.
fn date(seconds: i64) -> Date {
    let days = seconds.div_euclid(DAY) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Date { year, month, day }
}

/// Days from 1970 to the first of a month.
fn days_before(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let from_march = (month + 9) % 12;
    let day_of_year = (153 * from_march + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// `1970-01-01T00:00:00Z`
pub(crate) fn rfc3339(ms: i64) -> String {
    let seconds = ms / 1000;
    let Date { year, month, day } = date(seconds);
    let of_day = seconds.rem_euclid(DAY);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(name: &str, seconds: i64) -> f64 {
        part(name).unwrap()(seconds)
    }

    #[test]
    fn dates_before_1970_and_leap_days_are_right() {
        assert_eq!(rfc3339(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(-1_000), "1969-12-31T23:59:59Z");
        assert_eq!(ask("day_of_week", 0), 4.0, "a Thursday");
        assert_eq!(ask("day_of_week", -1), 3.0);
        assert_eq!(ask("days_in_month", 951_782_400), 29.0);
        assert_eq!(ask("day_of_year", 951_782_400), 60.0);
        assert_eq!(ask("day_of_month", -1), 31.0);
        assert_eq!(ask("year", 253_402_300_800), 10_000.0);
        assert_eq!((ask("hour", 7_265), ask("minute", 7_265)), (2.0, 1.0));
    }

    #[test]
    fn no_moment_is_too_far() {
        for name in ["year", "month", "day_of_year", "days_in_month", "hour"] {
            for seconds in [i64::MIN, i64::MAX, 0] {
                ask(name, seconds);
            }
        }
    }
}
