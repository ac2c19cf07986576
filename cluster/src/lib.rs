//! Who owns what, and what the replies add up to: tables and arithmetic, no I/O.
//!
//! `ALGORITHM.md` says the rules and why they hold.

pub mod consistency;
pub mod depth;
pub mod layout;
pub mod liveness;
pub mod members;
pub mod ownership;
pub mod placement;
pub mod token;
pub mod topology;

pub use consistency::{Consistency, Tally, Unavailable, Verdict};
pub use layout::Layout;
pub use members::{Member, Members, NodeIndex, Roles};
pub use placement::{NodeSet, Placement};
pub use token::{Ring, TokenRange, VNODES_PER_NODE};
pub use topology::{Fault, Topology, TopologyConfig};
