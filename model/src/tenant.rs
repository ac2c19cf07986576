//! Tenants: whose data it is.

use crate::label::Text;
use std::collections::BTreeSet;
use std::fmt;

/// The name of a tenant: 1 to 150 bytes of `A-Za-z0-9!-_.*'()`, neither `.` nor `..`; or those of
/// several that are read as one, with `|` between them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId {
    // Invariant: as above. `parse` and `union` are the only ways in, so a tenant can stand in a path
    // or a log line.
    name: Text,
}

/// Stands between the names of several tenants, and in no name.
const SEPARATOR: char = '|';

/// A name that no tenant can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTenantId {
    /// No byte or more than 150.
    #[error("tenant ID must have 1 to {TENANT_BYTES_MAX} bytes, this has {0}")]
    Length(usize),
    /// A character outside of the allowed ones.
    #[error("tenant ID contains unsupported character {0:?}")]
    Character(char),
    /// `.` or `..`.
    #[error("tenant ID is '.' or '..'")]
    Dots,
}

/// The longest name of a tenant, in bytes.
pub const TENANT_BYTES_MAX: usize = 150;

impl TenantId {
    /// Checks `name`.
    ///
    /// # Errors
    /// [`BadTenantId`] says what is wrong with it.
    pub fn parse(name: &str) -> Result<Self, BadTenantId> {
        if name.is_empty() || name.len() > TENANT_BYTES_MAX {
            return Err(BadTenantId::Length(name.len()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "!-_.*'()".contains(c);
        if let Some(c) = name.chars().find(|c| !allowed(*c)) {
            return Err(BadTenantId::Character(c));
        }
        if name == "." || name == ".." {
            return Err(BadTenantId::Dots);
        }
        Ok(Self { name: name.into() })
    }

    /// Several tenants as one that is read: nothing is stored under such a name. `None` of none.
    #[must_use]
    pub fn union(tenants: &BTreeSet<Self>) -> Option<Self> {
        let names: Vec<&str> = tenants.iter().flat_map(|of| of.name.split(SEPARATOR)).collect();
        (!names.is_empty()).then(|| Self { name: names.join("|").into() })
    }

    /// Whether it is several.
    #[must_use]
    pub fn is_union(&self) -> bool {
        self.name.contains(SEPARATOR)
    }

    /// Each of the tenants, ascending; mostly this one.
    #[must_use]
    pub fn members(&self) -> Vec<Self> {
        self.name.split(SEPARATOR).map(|name| Self { name: name.into() }).collect()
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantId({})", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_id_can_never_be_a_path() {
        for bad in ["", ".", "..", "a/b", "a\\b", "../x", "a b", "a\0", "a|b", "é"] {
            assert!(TenantId::parse(bad).is_err(), "{bad:?}");
        }
        assert!(TenantId::parse(&"a".repeat(151)).is_err());
        assert!(TenantId::parse(&"a".repeat(150)).is_ok());
        assert!(TenantId::parse("a-b_c.d*!'()").is_ok());
    }

    #[test]
    fn several_tenants_are_named_in_order_and_taken_apart_again() {
        let set = |names: &[&str]| -> BTreeSet<TenantId> {
            names.iter().map(|name| TenantId::parse(name).unwrap()).collect()
        };
        let both = TenantId::union(&set(&["b", "a", "b"])).unwrap();
        assert_eq!((both.as_str(), both.is_union()), ("a|b", true));
        assert_eq!(both.members(), set(&["a", "b"]).into_iter().collect::<Vec<_>>());
        let one = TenantId::union(&set(&["a"])).unwrap();
        assert_eq!(one, TenantId::parse("a").unwrap());
        assert_eq!((one.is_union(), one.members()), (false, vec![one.clone()]));
        assert_eq!(TenantId::union(&set(&[])), None);
    }
}
