//! What all processes of a database keep to, whatever their own configurations say: how long samples are
//! kept. One partition of `settings`, changed on condition.
//!
//! # Rules
//! - The first process says it, by its configuration. After that it is changed by a person alone
//!   ([`set_retention`]); a process whose configuration says something else keeps to what stands here, and
//!   says so.
//!
//! Not here: when processes look again (`member/keeping.rs`).

use super::guarded::Guard;
use super::rows::{Changed, Column, Rows, persist, refused};
use super::schema::SETTINGS;
use model::{RetentionRules, TenantId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use store::manifest::{Edit, RuleSet};
use store::{Error, Result, RetentionConfig};

/// The partition.
const RETENTION: &str = "retention";
/// The version of its bytes.
const VERSION: u8 = 1;
/// How often a change is tried whose outcome is not known.
const TRIES: usize = 8;
/// So many lengths there may be for which samples are kept: each takes about a dozen tables, and the database has
/// [`TABLES_MAX`](super::upkeep::TABLES_MAX) of ours at most.
const LENGTHS_MAX: usize = 16;

fn guard(rows: &dyn Rows) -> Guard<'_> {
    Guard { rows, table: SETTINGS, partition: vec![Column::Text(RETENTION.to_owned())] }
}

/// How long samples are kept; `None` if nobody has said it yet. Blocks.
///
/// # Errors
/// What the database says; bytes of a later version.
pub fn retention(rows: &dyn Rows) -> Result<Option<RetentionConfig>> {
    let there = persist(SETTINGS, || guard(rows).read())?;
    there.as_deref().map(decode).transpose()
}

/// How long samples are kept by all processes: as `own` says, if nobody has said anything before. Blocks.
///
/// # Errors
/// What the database says; bytes of a later version.
pub fn agree_on_retention(rows: &dyn Rows, own: &RetentionConfig) -> Result<RetentionConfig> {
    let bytes = encode(own)?;
    let there = persist(SETTINGS, || match guard(rows).read()? {
        Some(there) => Ok(there),
        None => match guard(rows).change(None, Arc::clone(&bytes), Vec::new())? {
            Changed::Refused(Some(there)) => Ok(there),
            Changed::Refused(None) | Changed::Applied => Ok(Arc::clone(&bytes)),
        },
    })?;
    decode(&there)
}

/// From now on samples are kept for so long; processes that run see it within a minute. Blocks.
///
/// # Errors
/// What the database says; if somebody else changes it at the same time.
pub fn set_retention(rows: &dyn Rows, wanted: &RetentionConfig) -> Result<()> {
    let bytes = encode(wanted)?;
    for _ in 0..TRIES {
        let there = persist(SETTINGS, || guard(rows).read())?;
        if there.as_ref() == Some(&bytes) {
            return Ok(());
        }
        // What came of it is seen by the next look.
        if let Ok(Changed::Applied) = guard(rows).change(there, Arc::clone(&bytes), Vec::new()) {
            return Ok(());
        }
    }
    Err(refused("change", SETTINGS, "no answer, or somebody else changes it now; try again"))
}

/// One line for each whose rules are not the same in both.
#[must_use]
pub fn differences(holds: &RetentionConfig, own: &RetentionConfig) -> Vec<String> {
    let of = |config: &RetentionConfig, tenant: &TenantId| {
        config.tenants.get(tenant).unwrap_or(&config.default).clone()
    };
    let mut lines = Vec::new();
    if holds.default != own.default {
        let (holds, own) = (said(&holds.default), said(&own.default));
        lines.push(format!("by default {holds} holds, and this configuration says {own}"));
    }
    let mut tenants: Vec<&TenantId> = holds.tenants.keys().chain(own.tenants.keys()).collect();
    tenants.sort_unstable();
    tenants.dedup();
    for tenant in tenants {
        let (there, here) = (of(holds, tenant), of(own, tenant));
        if there != here {
            let (there, here) = (said(&there), said(&here));
            lines.push(format!(
                "for tenant `{tenant}` {there} holds, and this configuration says {here}"
            ));
        }
    }
    lines
}

/// Rules in words.
fn said(rules: &RetentionRules) -> String {
    let default = match rules.default.as_ms() {
        0 => "for ever".to_owned(),
        ms if ms.is_multiple_of(86_400_000) => format!("{} d", ms / 86_400_000),
        ms => format!("{} s", ms / 1_000),
    };
    match rules.rules.len() {
        0 => default,
        count => format!("{default} with {count} retention_rules"),
    }
}

/// Refuses more lengths than the database can have tables for.
///
/// # Errors
/// How many there are.
pub fn check_retention(config: &RetentionConfig) -> Result<()> {
    let all = config.tenants.values().chain([&config.default]);
    let lengths = all.flat_map(|rules| {
        rules.rules.iter().map(|rule| rule.retention.as_ms()).chain([rules.default.as_ms()])
    });
    let count = lengths.collect::<BTreeSet<u64>>().len();
    if count <= LENGTHS_MAX {
        return Ok(());
    }
    let why = format!(
        "retentions of {count} different lengths: each takes a dozen tables of the database, so there may be \
         {LENGTHS_MAX}"
    );
    Err(refused("set", SETTINGS, why))
}

fn encode(config: &RetentionConfig) -> Result<Arc<[u8]>> {
    check_retention(config)?;
    // The first one is everybody's, whatever its name.
    let anybody = TenantId::parse("default").map_err(|error| refused("use", SETTINGS, error))?;
    let mut bytes = vec![VERSION];
    let mut push = |tenant: &TenantId, rules: &RetentionRules| {
        let set = RuleSet { version: 0, until_ms: None, rules: rules.clone() };
        let edit = Edit::SetRetentionRules(tenant.clone(), vec![set]).to_bytes();
        bytes.extend(u32::try_from(edit.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend(edit);
    };
    push(&anybody, &config.default);
    config.tenants.iter().for_each(|(tenant, rules)| push(tenant, rules));
    Ok(bytes.into())
}

fn decode(bytes: &[u8]) -> Result<RetentionConfig> {
    let of = || -> Option<RetentionConfig> {
        let (&VERSION, mut rest) = bytes.split_first()? else { return None };
        let mut all = Vec::new();
        while !rest.is_empty() {
            let (len, behind) = rest.split_first_chunk()?;
            let (edit, behind) = behind.split_at_checked(u32::from_be_bytes(*len) as usize)?;
            let Edit::SetRetentionRules(tenant, sets) = Edit::of_bytes(edit)? else { return None };
            let [RuleSet { rules, .. }] = <[RuleSet; 1]>::try_from(sets).ok()?;
            all.push((tenant, rules));
            rest = behind;
        }
        let mut all = all.into_iter();
        let (_, default) = all.next()?;
        Some(RetentionConfig { default, tenants: all.collect::<BTreeMap<_, _>>() })
    };
    let why = "not a retention that this release knows; use the one that wrote it";
    of().ok_or_else(|| Error::corrupt(SETTINGS, 0, why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cassandra::fake::{Fake, Faults};
    use crate::cassandra::rows::create;
    use model::{Matcher, Retention, RetentionRule};

    fn days(days: u64) -> RetentionConfig {
        let default = RetentionRules::all(Retention::from_ms(days * 86_400_000));
        let matchers = vec![Matcher::equal("env", "prod")];
        let rule = RetentionRule { matchers, retention: Retention::FOR_EVER };
        let rules = RetentionRules { rules: vec![rule], ..default.clone() };
        let tenants = BTreeMap::from([(TenantId::parse("t").unwrap(), rules)]);
        RetentionConfig { default, tenants }
    }

    #[test]
    fn the_first_process_says_how_long_samples_are_kept_and_another_one_keeps_to_it() {
        for seed in 0..50 {
            let fake = Fake::new(seed, Faults::default());
            create(&fake, SETTINGS).unwrap();
            assert_eq!(retention(&fake).unwrap(), None);
            fake.set_faults(Faults { change_unknown: 40, read_unknown: 20, ..Faults::default() });
            let mut said = None;
            for own in [days(30), days(7), days(30)] {
                match (agree_on_retention(&fake, &own), &said) {
                    (Ok(holds), None) => said = Some(holds),
                    (Ok(holds), Some(first)) => assert_eq!(&holds, first),
                    (Err(_), _) => {}
                }
            }
            fake.set_faults(Faults::default());
            let holds = agree_on_retention(&fake, &days(7)).unwrap();
            said.iter().for_each(|first| assert_eq!(first, &holds));
            set_retention(&fake, &days(90)).unwrap();
            assert_eq!(retention(&fake).unwrap(), Some(days(90)));
        }
    }

    #[test]
    fn differences_are_named_and_equal_ones_are_none() {
        let lines = differences(&days(30), &days(7));
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains("30 d holds") && lines[0].contains("says 7 d"), "{lines:?}");
        assert!(lines[1].contains("tenant `t`"), "{lines:?}");
        assert_eq!(differences(&days(7), &days(7)), Vec::<String>::new());
        // A tenant that has what everybody has is not different.
        let bare = |tenants| RetentionConfig { tenants, ..RetentionConfig::default() };
        let same = [(TenantId::parse("t").unwrap(), RetentionRules::default())];
        assert!(differences(&bare(same.into()), &bare(BTreeMap::new())).is_empty());
    }

    #[test]
    fn retentions_of_more_lengths_than_there_can_be_tables_for_are_refused() {
        let tenants = |count: u64| {
            let all = (0..count).map(|n| {
                let rules = RetentionRules::all(Retention::from_ms((n % 16 + 1) * 86_400_000));
                (TenantId::parse(&format!("t{n}")).unwrap(), rules)
            });
            let default = RetentionRules::all(Retention::from_ms(86_400_000));
            RetentionConfig { default, tenants: all.collect() }
        };
        let fake = Fake::new(1, Faults::default());
        create(&fake, SETTINGS).unwrap();
        // Many tenants of few lengths are none too many.
        set_retention(&fake, &tenants(100)).unwrap();
        let mut more = tenants(100);
        more.default = RetentionRules::default();
        let error = set_retention(&fake, &more).unwrap_err().to_string();
        assert!(error.contains("retentions of 17 different lengths"), "{error}");
        assert_eq!(retention(&fake).unwrap(), Some(tenants(100)));
    }

    #[test]
    fn bytes_that_are_no_retention_are_refused() {
        let bytes = encode(&days(30)).unwrap();
        for len in 0..bytes.len() {
            // A part may be a whole one of fewer tenants.
            if let Ok(config) = decode(&bytes[..len]) {
                assert!(config.tenants.is_empty());
            }
        }
        assert!(decode(&[2]).is_err());
    }
}
