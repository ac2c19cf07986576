//! Which tenant a request is for.
//!
//! A header never grants anything by itself: it only chooses among what the caller has. While
//! authentication is off, the caller has the one tenant of `Tenancy::Single`, or any tenant of
//! `Tenancy::Multi` but [`SYSTEM_TENANT`], which is read and never written from outside.
//!
//! Not here: tokens and rights, which come with authentication.

use crate::error::Error;
use model::TenantId;
use std::collections::BTreeSet;

/// The header that names the tenant.
pub const TENANT_HEADER: &str = "x-scope-orgid";

/// The tenant of our own metrics when there are several tenants.
pub const SYSTEM_TENANT: &str = "__system";

/// The tenant there is when nobody says otherwise.
pub const DEFAULT_TENANT: &str = "default";

/// So many tenants can be read at once.
pub const TENANTS_MAX: usize = 64;

/// One tenant or many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenancy {
    /// Everything belongs to this tenant; the header may be left out.
    Single(TenantId),
    /// The header is required, and a tenant begins with its first write.
    Multi,
}

/// What a request wants to do with the tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Look at data.
    Read,
    /// Write, delete or configure.
    Write,
}

impl Tenancy {
    /// The tenant of a request, from every value of its `X-Scope-OrgID` header. Of several that are
    /// to be read (`a|b`) it is their [union](TenantId::union).
    ///
    /// # Errors
    /// [`Error`] of kind `Unauthenticated` if no tenant is named and one has to be, `Denied` if it
    /// is not the caller's, `Invalid` if the header is malformed or names several.
    pub fn tenant<'h>(
        &self,
        header_values: impl IntoIterator<Item = &'h [u8]>,
        access: Access,
    ) -> Result<TenantId, Error> {
        let mut values = header_values.into_iter();
        let Some(value) = values.next() else {
            return match self {
                Self::Single(tenant) => Ok(tenant.clone()),
                Self::Multi => Err(Error::NoOrgId),
            };
        };
        if values.next().is_some() {
            return Err(Error::RepeatedHeader);
        }
        let named = named(value, access)?;
        match self {
            Self::Single(tenant) if *tenant == named => Ok(named),
            Self::Multi if access == Access::Read || named.as_str() != SYSTEM_TENANT => Ok(named),
            Self::Single(_) | Self::Multi => Err(Error::Denied),
        }
    }
}

fn named(value: &[u8], access: Access) -> Result<TenantId, Error> {
    let text = std::str::from_utf8(value).map_err(|_| Error::NotText)?;
    if !text.contains('|') {
        return Ok(TenantId::parse(text)?);
    }
    if access == Access::Write {
        return Err(Error::MultipleOrgIds);
    }
    // Said twice is said once: `a|a` reads one tenant.
    let named = text.split('|').map(TenantId::parse).collect::<Result<BTreeSet<_>, _>>()?;
    if named.len() > TENANTS_MAX {
        return Err(Error::TooManyOrgIds(named.len()));
    }
    TenantId::union(&named).ok_or(Error::NoOrgId)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Kind;

    fn id(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    fn ask(tenancy: &Tenancy, values: &[&str], access: Access) -> Result<TenantId, Error> {
        tenancy.tenant(values.iter().map(|value| value.as_bytes()), access)
    }

    fn single() -> Tenancy {
        Tenancy::Single(id("default"))
    }

    #[test]
    fn alone_the_header_may_be_left_out_or_name_the_one_tenant() {
        for access in [Access::Read, Access::Write] {
            assert_eq!(ask(&single(), &[], access), Ok(id("default")));
            assert_eq!(ask(&single(), &["default"], access), Ok(id("default")));
        }
    }

    #[test]
    fn alone_every_other_tenant_is_denied() {
        for name in ["a", "Default", "__system"] {
            let error = ask(&single(), &[name], Access::Write).unwrap_err();
            assert_eq!(error, Error::Denied, "{name}");
            assert_eq!(error.kind(), Kind::Denied);
        }
    }

    #[test]
    fn with_many_tenants_a_missing_header_is_401_no_org_id() {
        let error = ask(&Tenancy::Multi, &[], Access::Write).unwrap_err();
        assert_eq!(error.kind(), Kind::Unauthenticated);
        assert_eq!(error.to_string(), "no org id");
    }

    #[test]
    fn with_many_tenants_the_header_chooses() {
        assert_eq!(ask(&Tenancy::Multi, &["a"], Access::Write), Ok(id("a")));
    }

    #[test]
    fn nobody_writes_to_the_system_tenant_and_it_can_be_read() {
        assert_eq!(ask(&Tenancy::Multi, &["__system"], Access::Write), Err(Error::Denied));
        assert_eq!(ask(&Tenancy::Multi, &["__system"], Access::Read), Ok(id("__system")));
    }

    #[test]
    fn a_repeated_header_is_refused_even_when_both_agree() {
        for tenancy in [single(), Tenancy::Multi] {
            let error = ask(&tenancy, &["default", "default"], Access::Read).unwrap_err();
            assert_eq!(error, Error::RepeatedHeader);
            assert_eq!(error.kind(), Kind::Invalid);
        }
    }

    #[test]
    fn several_tenants_on_a_write_are_400_multiple_org_ids_present() {
        for value in ["a|b", "a|a", "default|default", "|"] {
            let error = ask(&Tenancy::Multi, &[value], Access::Write).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid);
            assert_eq!(error.to_string(), "multiple org IDs present", "{value}");
        }
    }

    #[test]
    fn several_tenants_are_read_as_one_and_one_said_twice_is_one() {
        let both = ask(&Tenancy::Multi, &["b|a|b"], Access::Read).unwrap();
        assert_eq!(both.members(), [id("a"), id("b")]);
        assert_eq!(ask(&single(), &["default|a"], Access::Read), Err(Error::Denied));
        assert_eq!(ask(&Tenancy::Multi, &["a|a"], Access::Read), Ok(id("a")));
        assert_eq!(ask(&single(), &["default|default"], Access::Read), Ok(id("default")));
    }

    #[test]
    fn as_many_tenants_as_are_allowed_are_read_at_once_and_one_more_is_400() {
        let names: Vec<String> = (0..=TENANTS_MAX).map(|number| number.to_string()).collect();
        let most = ask(&Tenancy::Multi, &[&names[1..].join("|")], Access::Read).unwrap();
        assert_eq!(most.members().len(), TENANTS_MAX);
        let error = ask(&Tenancy::Multi, &[&names.join("|")], Access::Read).unwrap_err();
        assert_eq!((error.kind(), error), (Kind::Invalid, Error::TooManyOrgIds(TENANTS_MAX + 1)));
    }

    #[test]
    fn a_bad_tenant_id_is_400_under_either_tenancy() {
        let long = "x".repeat(151);
        let bad =
            ["", ".", "..", "../../x", "%2e%2e", "a/b", "a\\b", "a\0", "a,b", "ü", "a b", &long];
        for tenancy in [single(), Tenancy::Multi] {
            for name in bad {
                for access in [Access::Read, Access::Write] {
                    let error = ask(&tenancy, &[name], access).unwrap_err();
                    assert_eq!(error.kind(), Kind::Invalid, "{name:?}");
                }
            }
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_400() {
        let error = Tenancy::Multi.tenant([&[0xff_u8, 0xfe][..]], Access::Read).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
    }
}
