//! Who serves what, in words.

use cluster::ownership::ring_row::Stage;
use ingester::cassandra::oversight::{Holder, Oversight};
use ingester::cassandra::settings;
use std::fmt::Write as _;
use store::RetentionConfig;

/// So many obligations are named.
const OBLIGATIONS_MAX: usize = 20;

/// Tells all of it; `own` is what this configuration says of retention. Writing to a string cannot fail.
pub(super) fn tell(seen: &Oversight, own: &RetentionConfig, text: &mut String) {
    let datacenter = seen.datacenter.as_deref().unwrap_or("that no process has named yet");
    let _ = match seen.ring_version {
        0 => writeln!(text, "no process has served yet"),
        version => writeln!(
            text,
            "ring version {version}: {} places, agreed on in data centre {datacenter}",
            seen.places
        ),
    };
    for holder in &seen.holders {
        tell_holder(holder, text);
    }
    let owed = seen.obligations.len();
    if seen.ring_version > 0 {
        let _ = writeln!(text, "{owed} obligations to journals of processes that have died");
    }
    for (debt, stage) in seen.obligations.iter().take(OBLIGATIONS_MAX) {
        let how_far = match stage {
            Stage::Replay => "to be read and flushed",
            Stage::Tail => "flushed",
        };
        let _ = writeln!(text, "  place {} for {:032x}: {how_far}", debt.place, debt.dead.0);
    }
    if let (Some(oldest), Some(newest)) = (seen.journals.first(), seen.journals.last()) {
        let tables = seen.journals.len();
        let age = match seen.hour {
            Some(hour) => format!("the oldest began {} h ago", hour.saturating_sub(*oldest)),
            None => format!("of the hours {oldest} to {newest} since 1970"),
        };
        let _ = writeln!(text, "{tables} journal tables, {age}");
    }
    tell_retention(seen.retention.as_ref(), own, text);
}

fn tell_holder(holder: &Holder, text: &mut String) {
    let address = holder.address.as_deref().unwrap_or("an unknown address");
    let places = holder.places;
    let leaving = if holder.is_leaving { ", leaving" } else { "" };
    let lease = match (holder.is_fenced, holder.renewed_ms.zip(holder.left_ms())) {
        (true, _) => "its lease has ended".to_owned(),
        (false, Some((renewed_ms, left_ms))) => format!(
            "lease renewed {} ms ago, others take over in {left_ms} ms if it is not renewed",
            renewed_ms
        ),
        (false, None) => "has a lease".to_owned(),
    };
    let _ =
        writeln!(text, "  {:032x} at {address}: {places} places{leaving}; {lease}", holder.who.0);
}

/// Tells which retention holds, and where this configuration says another one.
pub(super) fn tell_retention(
    holds: Option<&RetentionConfig>,
    own: &RetentionConfig,
    text: &mut String,
) {
    let Some(holds) = holds else {
        let _ = writeln!(text, "retention: the first process that serves says it");
        return;
    };
    let differences = settings::differences(holds, own);
    if differences.is_empty() {
        let _ = writeln!(text, "retention: as this configuration says");
    }
    for difference in differences {
        let _ = writeln!(text, "retention: {difference}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::ownership::Incarnation;
    use cluster::ownership::ring_row::Debt;

    #[test]
    fn leases_the_ring_debts_and_journals_are_told() {
        let holder = Holder {
            who: Incarnation(7),
            address: Some("10.0.0.1:9010".to_owned()),
            places: 16,
            is_leaving: false,
            is_fenced: false,
            renewed_ms: Some(1_200),
        };
        let seen = Oversight {
            ring_version: 12,
            places: 16,
            datacenter: Some("dc1".to_owned()),
            holders: vec![holder.clone(), Holder { is_fenced: true, ..holder }],
            obligations: vec![(Debt { place: 3, dead: Incarnation(1) }, Stage::Replay)],
            journals: vec![489_999, 490_000, 490_001],
            hour: Some(490_002),
            retention: None,
        };
        let (mut text, own) = (String::new(), RetentionConfig::default());
        tell(&seen, &own, &mut text);
        for words in [
            "ring version 12: 16 places, agreed on in data centre dc1",
            "07 at 10.0.0.1:9010: 16 places; lease renewed 1200 ms ago, others take over in 8800 ms",
            "its lease has ended",
            "1 obligations",
            "place 3 for 00000000000000000000000000000001: to be read and flushed",
            "3 journal tables, the oldest began 3 h ago",
            "the first process that serves says it",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let mut text = String::new();
        tell(&Oversight { hour: None, ..seen }, &own, &mut text);
        assert!(
            text.contains("3 journal tables, of the hours 489999 to 490001 since 1970"),
            "{text}"
        );
    }
}
