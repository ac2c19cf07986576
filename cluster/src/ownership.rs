//! Who owns which tokens when processes hold nothing and a database is the agreement (DESIGN.md
//! D14): leases, ring versions, obligations, takeover, hand-over,
//! claims. Machines without I/O.
//!
//! An *incarnation* is one life of one process. A *place* is one of the ring's ranges, which never
//! change; their owners do. An *obligation* is a place whose samples may still stand in the journal
//! of a dead incarnation and nowhere else; it goes with the place, whoever owns that.
//!
//! What must hold, and who keeps it:
//! - At most one process answers for a place: its lease is trusted for less time than anyone waits
//!   before taking over (`lease.rs`, `watch.rs`), and a place leaves a live owner only by the owner's
//!   own update (`owner.rs`).
//! - What was acknowledged is in the answers of whoever owns its place: it stood in the journal
//!   before it was acknowledged, the lease was checked after that, and a successor reads the journal
//!   to its end before it answers (`replay.rs`), or finds it in a manifest that was acknowledged
//!   before the progress that skips it (`publication.rs`).
//! - Nothing that a fenced process still writes does harm: journal rows are read again later, a
//!   segment and a progress say what is true, and updates are conditional.
//!
//! A machine takes the time and what came of what it asked, and says what to ask next. Each ask goes
//! back with its reply, so an ask that is lost is a reply that says so: the caller answers each ask
//! once, with [`Reply::Unknown`] after [`lease::ASK_TIMEOUT_MS`].
//!
//! Not here: CQL, the bytes of a row, the driver; tables per window and who creates them.

pub mod claim;
pub mod journal;
pub mod lease;
pub mod owner;
pub mod publication;
pub mod replay;
pub mod ring_row;
pub mod sealing;
pub mod watch;

#[cfg(test)]
mod simulation;

use claim::{ClaimAsk, ClaimRow};
use journal::Position;
use lease::{LeaseAsk, LeaseRow};
use ring_row::RingRow;
use watch::WatchAsk;

/// One life of one process: random bits drawn at its start, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u128);

/// Milliseconds of one machine's clock that only goes forward, also while the machine or the process
/// sleeps (`CLOCK_BOOTTIME`). No process compares its own with another's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootMs(pub u64);

impl BootMs {
    /// This moment `ms` later.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// How long ago `earlier` was; 0 if it is yet to come.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// What a process asks for, and when it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// By the process's own clock, before the request left.
    pub asked_at: BootMs,
    /// What.
    pub ask: Ask,
}

/// What can be asked for. Conditional updates and reads of their rows are at SERIAL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The process's own lease row.
    Lease(LeaseAsk),
    /// The lease row of another.
    Watch(Incarnation, WatchAsk),
    /// The row of a claim.
    Claim(String, ClaimAsk),
    /// Read the ring row.
    ReadRing,
    /// Replace the ring row by this one, if it has the version before this one's; create it if this
    /// is version 1 and there is none.
    UpdateRing(Box<RingRow>),
    /// Read how far an incarnation's journal stands in manifests, at QUORUM.
    ReadProgress(Incarnation),
    /// Read the rows of one bucket of a journal that lie after a position, at QUORUM, and take the
    /// samples of places that the process owns into the memtable before the reply.
    ReadBucket {
        /// Whose journal.
        dead: Incarnation,
        /// Which bucket.
        bucket: u64,
        /// Rows up to here are skipped.
        after: Option<Position>,
    },
    /// Flush the memtable soon ([`owner::Owner::flush_began`]). Has no reply.
    Flush,
}

/// What came of an ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The conditional update was applied.
    Applied,
    /// A lease row, read, or found instead of the one that the update expected.
    Lease(Option<LeaseRow>),
    /// The ring row, read, or found instead of the one that the update expected.
    Ring(Option<Box<RingRow>>),
    /// The row of a claim, read, or found instead of the one that the update expected.
    Claim(Option<ClaimRow>),
    /// A progress row.
    Progress(Option<Position>),
    /// A bucket was read whole and its samples are in the memtable; how many rows there were.
    Bucket(usize),
    /// A time-out, a cut connection, an error: an update may have been applied, may be later, or never.
    Unknown,
}
