//! May this request go ahead, and who asks: tenants, limits, identity.
