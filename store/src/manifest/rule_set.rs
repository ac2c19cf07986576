//! A tenant's rules of retention as the manifest keeps them. `FORMAT.md` draws them.

use crate::bytes::{Damaged, Input, put_ivarint, put_text, put_uvarint};
use model::{MatchOp, Matcher, Retention, RetentionRule, RetentionRules, TenantId};

/// Rules that are in force, or whose work is not undone yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSet {
    /// Above that of every set before.
    pub version: u64,
    /// When others came in their place, in milliseconds since 1970; `None` while they are in force.
    pub until_ms: Option<i64>,
    /// The rules.
    pub rules: RetentionRules,
}

/// The payload of an edit.
pub(super) fn encode(tenant: &TenantId, sets: &[RuleSet]) -> Vec<u8> {
    let mut out = Vec::new();
    put_text(&mut out, tenant.as_str());
    put_uvarint(&mut out, sets.len() as u64);
    for set in sets {
        put_uvarint(&mut out, set.version);
        out.push(u8::from(set.until_ms.is_some()));
        put_ivarint(&mut out, set.until_ms.unwrap_or(0));
        put_uvarint(&mut out, set.rules.default.as_ms());
        put_uvarint(&mut out, set.rules.rules.len() as u64);
        for rule in &set.rules.rules {
            put_uvarint(&mut out, rule.retention.as_ms());
            put_uvarint(&mut out, rule.matchers.len() as u64);
            for matcher in &rule.matchers {
                put_text(&mut out, &matcher.name);
                out.push(matcher.op.to_byte());
                put_text(&mut out, &matcher.value);
            }
        }
    }
    out
}

/// Reads a payload.
pub(super) fn decode(payload: &[u8]) -> Result<(TenantId, Vec<RuleSet>), Damaged> {
    let mut input = Input::new(payload);
    let tenant = TenantId::parse(input.text()?).map_err(|_| Damaged("not a tenant's name"))?;
    let sets = (0..input.count(5)?).map(|_| set(&mut input)).collect::<Result<Vec<_>, _>>()?;
    let ascends = sets.is_sorted_by(|a, b| a.version < b.version);
    match ascends && input.is_empty() {
        true => Ok((tenant, sets)),
        false => Err(Damaged("rules of retention are not in order")),
    }
}

fn set(input: &mut Input<'_>) -> Result<RuleSet, Damaged> {
    let version = input.uvarint()?;
    let (is_over, until_ms) = (input.u8()?, input.ivarint()?);
    let default = Retention::from_ms(input.uvarint()?);
    let rules = (0..input.count(2)?).map(|_| {
        let retention = Retention::from_ms(input.uvarint()?);
        let matchers = (0..input.count(3)?).map(|_| matcher(input));
        Ok(RetentionRule { matchers: matchers.collect::<Result<_, _>>()?, retention })
    });
    let rules = RetentionRules { default, rules: rules.collect::<Result<_, Damaged>>()? };
    Ok(RuleSet { version, until_ms: (is_over == 1).then_some(until_ms), rules })
}

fn matcher(input: &mut Input<'_>) -> Result<Matcher, Damaged> {
    let name = input.text()?;
    let op = MatchOp::from_byte(input.u8()?).ok_or(Damaged("an unknown operator"))?;
    Ok(Matcher::new(name, op, input.text()?))
}
