//! What this process says about itself, and the fixed answers of a server that scrapes nothing.

use crate::call::Call;
use crate::error::Error;
use crate::json;
use crate::querier::Querier;
use crate::render::{Annotations, Data, success};
use axum::response::Response;
use guard::Tenancy;
use model::{Kind, TimestampMs};
use std::io::Write;

/// The level of Prometheus' API that we answer like. Clients switch features on by it.
const API_LEVEL: &str = "3.14.0";

/// The name that `buildinfo` gives.
const APPLICATION: &str = "cumae";

fn fixed(json: &str) -> Result<Response, Error> {
    Ok(success(Data::Json(json.as_bytes().to_vec()), &Annotations::default()))
}

/// An object of texts.
fn object(fields: &[(&str, &str)]) -> Response {
    let mut out = vec![b'{'];
    for (index, (key, value)) in fields.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        json::push_string(&mut out, key);
        out.push(b':');
        json::push_string(&mut out, value);
    }
    out.push(b'}');
    success(Data::Json(out), &Annotations::default())
}

pub(crate) async fn buildinfo(querier: Querier, _: Call) -> Result<Response, Error> {
    Ok(object(&[
        ("version", API_LEVEL),
        ("revision", &querier.inner.version),
        ("branch", ""),
        ("buildUser", ""),
        ("buildDate", ""),
        ("goVersion", ""),
        ("application", APPLICATION),
    ]))
}

pub(crate) async fn flags(querier: Querier, call: Call) -> Result<Response, Error> {
    let limits = querier.limits_of(&call.context.tenant);
    let settings = &querier.inner.settings;
    Ok(object(&[
        ("query.lookback-delta", &duration_text(settings.lookback_delta_ms)),
        ("query.max-concurrency", &limits.max_concurrency.0.to_string()),
        ("query.max-samples", &limits.max_samples.0.to_string()),
        ("query.timeout", &duration_text(i64::try_from(limits.timeout_ms.0).unwrap_or(i64::MAX))),
    ]))
}

/// `5m`, `1m30s`: largest units first, none twice.
fn duration_text(ms: i64) -> String {
    let mut rest = ms;
    let mut text = String::new();
    for (unit, unit_ms) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if rest / unit_ms > 0 {
            text.push_str(&format!("{}{unit}", rest / unit_ms));
            rest %= unit_ms;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

pub(crate) async fn runtimeinfo(querier: Querier, _: Call) -> Result<Response, Error> {
    let mut out = b"{\"startTime\":".to_vec();
    json::push_string(&mut out, &rfc3339(querier.inner.started));
    out.extend_from_slice(b",\"CWD\":\"\",\"hostname\":\"\",\"serverTime\":");
    json::push_string(&mut out, &rfc3339(querier.inner.clock.now()));
    out.extend_from_slice(b",\"reloadConfigSuccess\":true,\"lastConfigTime\":");
    json::push_string(&mut out, &rfc3339(querier.inner.started));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // Writing into memory does not fail.
    let _ = write!(
        out,
        ",\"corruptionCount\":0,\"goroutineCount\":0,\"GOMAXPROCS\":{threads},\"GOMEMLIMIT\":0,\
         \"GOGC\":\"\",\"GODEBUG\":\"\",\"storageRetention\":\"\"}}"
    );
    Ok(success(Data::Json(out), &Annotations::default()))
}

/// A time as `2026-01-02T03:04:05Z`; what is below a second is cut off.
#[must_use]
pub fn rfc3339(moment: TimestampMs) -> String {
    let seconds = moment.0.div_euclid(1_000).rem_euclid(86_400);
    // Days since 0000-03-01, cut into eras of 400 years.
    let days = i64::from(moment.day().0) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The configuration in force. With several tenants nobody who asks can be known to be an operator
/// as long as authentication is off, so nobody is told.
pub(crate) async fn config(querier: Querier, _: Call) -> Result<Response, Error> {
    match querier.inner.tenancy {
        Tenancy::Single(_) => Ok(object(&[("yaml", &querier.inner.config_yaml)])),
        Tenancy::Multi => {
            Err(Error::new(Kind::Denied, "only operators may read the configuration"))
        }
    }
}

pub(crate) async fn walreplay(_: Querier, _: Call) -> Result<Response, Error> {
    fixed(r#"{"min":0,"max":0,"current":0}"#)
}

pub(crate) async fn targets(_: Querier, _: Call) -> Result<Response, Error> {
    fixed(r#"{"activeTargets":[],"droppedTargets":[],"droppedTargetCounts":{}}"#)
}

pub(crate) async fn scrape_pools(_: Querier, _: Call) -> Result<Response, Error> {
    fixed(r#"{"scrapePools":[]}"#)
}

pub(crate) async fn alertmanagers(_: Querier, _: Call) -> Result<Response, Error> {
    fixed(r#"{"activeAlertmanagers":[],"droppedAlertmanagers":[]}"#)
}

/// `notifications`, `targets/metadata`.
pub(crate) async fn empty_list(_: Querier, _: Call) -> Result<Response, Error> {
    fixed("[]")
}

pub(crate) async fn features(_: Querier, _: Call) -> Result<Response, Error> {
    fixed("{}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time_param::parse_time;

    #[test]
    fn a_moment_reads_back_as_the_second_it_lies_in() {
        for text in ["1970-01-01T00:00:00Z", "2024-02-29T23:59:59Z", "1969-12-31T23:59:59Z"] {
            assert_eq!(rfc3339(parse_time(text).unwrap()), text);
        }
        for day in (-30_000..60_000).step_by(97) {
            let moment = TimestampMs(day * 86_400_000 + 12_345_000);
            assert_eq!(parse_time(&rfc3339(moment)), Ok(moment));
        }
    }

    #[test]
    fn durations_are_written_as_prometheus_flags_are() {
        let table = [(300_000, "5m"), (90_000, "1m30s"), (1_500, "1s500ms"), (0, "0s")];
        for (ms, text) in table {
            assert_eq!(duration_text(ms), text);
        }
    }
}
