//! One process of many over one database: drives [`cluster::ownership`], and serves the places that the
//! ring gives it, each with a store of its own (`docs/adr/0011-a-store-for-each-place.md`).
//!
//! A *task* is something to be done that blocks: an ask of the database, the opening of a place, a flush.
//! [`Member::due`] says which are due, [`Member::run`] does one; any thread may.
//!
//! # Invariants
//! - A place is answered for only while [`Owner::serves`] says so and its store is open, since the process
//!   owns it. Looked at before a request is taken, and again when its answer is ready to leave: after a
//!   write is durable, after a read is done.
//! - An open store is closed, or let go of, before its place can be another's: a place that comes back is
//!   opened anew.
//! - One opening of a place at a time, by the ring version that gave it.
//! - An ask that has no answer after [`ASK_TIMEOUT_MS`] is unknown, and what comes later is not heard.
//! - A lease that is lost ends this incarnation: everything is let go of, and another begins.
//!
//! Not here: threads (`member/threads.rs`), requests (`member/serve.rs`), which process is asked
//! (`fleet.rs`).

mod open;
mod placing;
mod serve;
#[cfg(test)]
mod tests;
mod threads;

pub use placing::Placing;
pub use serve::Places;
pub use threads::Driver;

use super::agreement::{self, Asker};
use super::rows::{Rows, RowsError};
use super::{Database, RowStore};
use crate::config::Config;
use crate::embedded::{Embedded, EmbeddedParts};
use crate::error::Error;
use crate::telemetry::{StoreSizes, Telemetry};
use cluster::ownership::lease::ASK_TIMEOUT_MS;
use cluster::ownership::owner::Owner;
use cluster::ownership::ring_row::{RingRow, Stage};
use cluster::ownership::{Ask, BootMs, Command, Incarnation, Reply};
use guard::LimitTable;
use model::Clock;
use open::{Open, Served, Share};
use parking_lot::{Mutex, RwLock};
use prometheus::Registry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use store::engine::Parts;

/// How long after a place could not be opened it is tried again.
const OPEN_AGAIN_MS: u64 = 1_000;
/// How long after a flush that failed it is tried again.
const FLUSH_AGAIN_MS: u64 = 1_000;
/// A period of the journal.
const PERIOD_MS: u64 = 3_600_000;
/// A place whose replay would begin so many periods ago is flushed, also if nothing came: else the
/// journals of all would be kept for it.
const PERIODS_MAX: u64 = 3;
/// How long after that it may be flushed for it again.
const ROLL_AGAIN_MS: u64 = 600_000;

/// A machine's clock that only goes forward, also while the machine or the process sleeps.
pub trait BootClock: Debug + Send + Sync {
    /// What it shows.
    fn now(&self) -> BootMs;
}

/// Chance that no two processes share.
pub trait Chance: Debug + Send + Sync {
    /// 128 bits.
    fn draw(&self) -> u128;
}

/// What a member is made of.
#[derive(Clone, Debug)]
pub struct MemberParts {
    /// The process's name, for errors.
    pub name: String,
    /// Where its peers find it.
    pub address: String,
    /// The database.
    pub rows: Arc<dyn Rows>,
    /// How many places the ring has: the same for all processes, for ever.
    pub places: u16,
    /// Whether nodes may answer before they have synced.
    pub accept_periodic: bool,
    /// Seasons the hash of series.
    pub cluster_name: String,
    /// The time of samples.
    pub clock: Arc<dyn Clock>,
    /// The time of leases.
    pub boot: Arc<dyn BootClock>,
    /// Where incarnations come from.
    pub chance: Arc<dyn Chance>,
    /// The tenants' limits.
    pub limits: Arc<LimitTable>,
    /// Where metrics are registered.
    pub registry: Registry,
    /// The settings of all places together.
    pub config: Config,
}

/// A process that serves places.
#[derive(Debug)]
pub struct Member {
    parts: MemberParts,
    /// The settings of one place.
    config: Config,
    placing: Placing,
    telemetry: Arc<Telemetry>,
    // Taken for a look and for decisions, never while something blocks.
    state: Mutex<State>,
    // Replaced whole. A leaf.
    open: Arc<RwLock<Arc<Open>>>,
    #[cfg(test)]
    plant: tests::Plant,
}

#[derive(Debug)]
struct State {
    owner: Owner,
    database: Arc<Database>,
    /// Asks without an answer yet.
    pending: BTreeMap<u64, Command>,
    tickets: u64,
    /// Places that are being opened, and by which ticket.
    opening: BTreeMap<usize, u64>,
    /// Places whose opening has not come to its end, wanted or not.
    at_work: BTreeSet<usize>,
    /// When places are tried again that could not be opened.
    open_at: BTreeMap<usize, BootMs>,
    /// When places may be flushed again for the journal's sake.
    roll_at: BTreeMap<usize, BootMs>,
    flush: Flush,
    is_leaving: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flush {
    Idle,
    DueAt(BootMs),
    Runs,
}

/// Something to be done.
#[derive(Debug)]
pub enum Task {
    /// Ask the database.
    Ask {
        /// Names the ask.
        ticket: u64,
        /// In whose name: a process that begins again is another.
        me: Incarnation,
        /// What is asked.
        command: Command,
        /// The ring row that it was made from.
        known: Option<RingRow>,
    },
    /// Open the store of a place.
    Open {
        /// Which.
        place: usize,
        /// Names the opening.
        ticket: u64,
        /// The ring version that gave it.
        ring_version: u64,
    },
    /// Flush, and close what is given away.
    Flush,
    /// Flush a place whose journal is long.
    Roll {
        /// Which.
        place: usize,
    },
}

impl Member {
    /// A process that begins: it owns nothing yet. Blocks while tables are created.
    ///
    /// # Errors
    /// What the database says; nodes that answer before they have synced; another number of places than
    /// other processes have; a metric's name that is taken.
    pub fn new(parts: MemberParts) -> Result<Arc<Self>, Error> {
        agreement::create_tables(&*parts.rows)?;
        agreement::agree_on_places(&*parts.rows, parts.places)?;
        let telemetry = Arc::new(Telemetry::new(&parts.registry)?);
        let open = Arc::new(RwLock::new(Arc::new(Open::new(parts.chance.draw()))));
        let stats_of = Arc::clone(&open);
        let sizes = StoreSizes::new(move || Arc::clone(&stats_of.read()).stats())?;
        parts.registry.register(Box::new(sizes))?;
        let (rows, periodic) = (Arc::clone(&parts.rows), parts.accept_periodic);
        // A store's incarnation is not the process's: it has one for each opening.
        let database = Database::new(rows, parts.chance.draw(), parts.places, periodic)?;
        let state = Mutex::new(State::begin(&parts, Arc::new(database)));
        let (config, placing) = (of_place(&parts.config, parts.places), Placing::new(parts.places));
        Ok(Arc::new(Self {
            parts,
            config,
            placing,
            telemetry,
            state,
            open,
            #[cfg(test)]
            plant: tests::Plant::of_this_thread(),
        }))
    }

    /// Whether a bug is planted: nobody looks again before an answer leaves.
    fn is_careless(&self) -> bool {
        #[cfg(test)]
        return self.plant == tests::Plant::NoLookBeforeItLeaves;
        #[cfg(not(test))]
        false
    }

    /// Whether a bug is planted: a place that is not open is answered for.
    fn is_rash(&self) -> bool {
        #[cfg(test)]
        return self.plant == tests::Plant::ServesBeforeItIsOpen;
        #[cfg(not(test))]
        false
    }

    /// The store of a place, by a version of the ring row.
    fn store_of(&self, place: u16, ring_version: u64) -> Result<RowStore, Error> {
        #[cfg(test)]
        if self.plant == tests::Plant::NoFence {
            // Whoever opens the place is the same life of it.
            let rows = Arc::clone(&self.parts.rows);
            return Ok(Database::new(rows, 7, self.parts.places, true)?.place(place, 0));
        }
        let database = Arc::clone(&self.state.lock().database);
        Ok(database.place(place, ring_version))
    }

    /// Begins to leave: hands over all places, then gives up the lease.
    pub fn leave(&self) {
        let mut state = self.state.lock();
        state.is_leaving = true;
        state.owner.leave();
    }

    /// Whether it has left.
    #[must_use]
    pub fn has_left(&self) -> bool {
        let state = self.state.lock();
        state.is_leaving && state.owner.is_over()
    }

    /// The newest ring row that it knows.
    #[must_use]
    pub fn ring(&self) -> Option<RingRow> {
        self.state.lock().owner.row().cloned()
    }

    /// Which incarnation it is just now.
    #[must_use]
    pub fn me(&self) -> Incarnation {
        self.state.lock().owner.me()
    }

    /// Where its peers find it.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.parts.address
    }

    /// Where places are.
    #[must_use]
    pub fn placing(&self) -> &Placing {
        &self.placing
    }

    /// Why it does not answer for all that is its own, if it does not.
    #[must_use]
    pub fn why_not_ready(&self) -> Option<String> {
        let state = self.state.lock();
        let Some(row) = state.owner.row() else {
            return Some("the ring is not known yet".to_owned());
        };
        if state.is_leaving {
            return Some("this process is leaving".to_owned());
        }
        let now = self.parts.boot.now();
        if !state.owner.is_trusted(now) {
            return Some("the lease is not trusted".to_owned());
        }
        let open = self.open.read();
        let is_shut =
            |place: &usize| state.owner.keeps(*place) && !open.by_place.contains_key(place);
        let shut = row.places_of(state.owner.me()).filter(is_shut).count();
        (shut > 0).then(|| format!("{shut} places are being opened"))
    }

    /// Whether it answers for a place just now.
    #[must_use]
    pub fn serves(&self, place: usize) -> bool {
        let is_open = self.open.read().by_place.contains_key(&place);
        is_open && self.state.lock().owner.serves_place(place, self.parts.boot.now())
    }

    /// Somebody knows this version of the ring row.
    pub fn heard_of(&self, version: u64) {
        self.state.lock().owner.heard_of(version);
    }

    /// Where another process is found by its peers, if it ever began. Blocks.
    ///
    /// # Errors
    /// What the database says.
    pub fn address_of(&self, who: Incarnation) -> Result<Option<String>, RowsError> {
        agreement::address(&*self.parts.rows, who)
    }

    /// What is to be done now. To be called after each task, and at least every half second.
    pub fn due(&self) -> Vec<Task> {
        let now = self.parts.boot.now();
        let mut state = self.state.lock();
        state.database.set_period(self.hours());
        state.give_up_late_asks(now);
        if state.owner.is_over() {
            self.let_go(|_, _| true);
            if state.is_leaving {
                return Vec::new();
            }
            state.begin_again(&self.parts);
        }
        let open = Arc::clone(&self.open.read());
        open.by_place.keys().for_each(|place| state.owner.has_opened(*place));
        let mut tasks = state.poll(&open, now);
        self.reconcile(&mut state, now, &mut tasks);
        tasks
    }

    /// Lets go of what is another's or has been taken over, and opens what is not open.
    fn reconcile(&self, state: &mut State, now: BootMs, tasks: &mut Vec<Task>) {
        let Some(row) = state.owner.row().cloned() else { return };
        let me = state.owner.me();
        self.let_go(|place, served| row.owner(place) != me || served.is_fenced());
        let open = Arc::clone(&self.open.read());
        state.opening.retain(|place, _| row.owner(*place) == me);
        for place in row.places_of(me) {
            let is_wanted = state.owner.keeps(place) && !open.by_place.contains_key(&place);
            let is_time = state.open_at.get(&place).is_none_or(|at| now >= *at);
            if !is_wanted
                || !is_time
                || state.at_work.contains(&place)
                || !state.owner.is_trusted(now)
            {
                continue;
            }
            state.tickets += 1;
            let ticket = state.tickets;
            state.opening.insert(place, ticket);
            state.at_work.insert(place);
            tasks.push(Task::Open { place, ticket, ring_version: row.version() });
        }
        self.roll(state, &open, now, tasks);
        if let Flush::DueAt(at) = state.flush
            && now >= at
        {
            state.flush = Flush::Runs;
            tasks.push(Task::Flush);
        }
    }

    fn roll(&self, state: &mut State, open: &Open, now: BootMs, tasks: &mut Vec<Task>) {
        let hours = self.hours();
        for (place, served) in &open.by_place {
            let is_long = served.store.replay_from() + PERIODS_MAX <= hours;
            let is_time = state.roll_at.get(place).is_none_or(|at| now >= *at);
            if is_long && is_time && state.owner.keeps(*place) {
                state.roll_at.insert(*place, now.plus_ms(ROLL_AGAIN_MS));
                tasks.push(Task::Roll { place: *place });
            }
        }
    }

    fn hours(&self) -> u64 {
        self.parts.clock.now().0.unsigned_abs() / PERIOD_MS
    }

    /// Lets go of open places, without a flush: whoever opens one next reads its journal.
    fn let_go(&self, is_gone: impl Fn(usize, &Served) -> bool) {
        let open = Arc::clone(&self.open.read());
        let gone = open.by_place.iter().filter(|(place, served)| is_gone(**place, served));
        let gone: BTreeSet<usize> = gone.map(|(place, _)| *place).collect();
        if !gone.is_empty() {
            *self.open.write() = Arc::new(open.without(&gone));
        }
    }

    /// Does a task. Blocks.
    pub fn run(&self, task: Task) {
        match task {
            Task::Ask { ticket, me, command, known } => {
                // What was given up while it waited is not asked any more.
                if !self.state.lock().pending.contains_key(&ticket) {
                    return;
                }
                let (rows, address) = (&*self.parts.rows, self.parts.address.as_str());
                let asker = Asker { rows, me, address };
                let reply = asker.put(&command.ask, known.as_ref());
                let mut state = self.state.lock();
                if let Some(command) = state.pending.remove(&ticket) {
                    state.owner.answered(&command, &reply, self.parts.boot.now());
                }
            }
            Task::Open { place, ticket, ring_version } => self.open(place, ticket, ring_version),
            Task::Flush => self.flush_owed(),
            Task::Roll { place } => {
                let served = self.open.read().by_place.get(&place).cloned();
                if let Some(Err(error)) = served.map(|served| served.embedded.flush_now()) {
                    tracing::warn!(place, %error, "a place is not flushed, its journal grows");
                }
            }
        }
    }

    /// A task will not be done.
    fn give_up(&self, task: &Task) {
        let mut state = self.state.lock();
        match task {
            // In time it is called unknown.
            Task::Ask { .. } => {}
            Task::Open { place, .. } => {
                state.at_work.remove(place);
                state.opening.remove(place);
            }
            Task::Flush => state.flush = Flush::DueAt(self.parts.boot.now()),
            Task::Roll { .. } => {}
        }
    }

    fn open(&self, place: usize, ticket: u64, ring_version: u64) {
        let began_ns = self.parts.clock.monotonic_ns();
        let opened = self.try_open(place, ring_version);
        let now = self.parts.boot.now();
        let mut state = self.state.lock();
        state.at_work.remove(&place);
        let is_wanted = state.opening.get(&place) == Some(&ticket) && state.owner.keeps(place);
        match opened {
            Ok(served) if is_wanted => {
                state.opening.remove(&place);
                state.open_at.remove(&place);
                let (life, samples) = (served.store.life(), served.samples);
                let open = Arc::clone(&self.open.read());
                *self.open.write() = Arc::new(open.with(place, served));
                let ns = self.parts.clock.monotonic_ns().saturating_sub(began_ns);
                let milliseconds = ns / 1_000_000;
                tracing::info!(place, life, ring_version, samples, milliseconds, "place opened");
            }
            Ok(_) => tracing::info!(place, "a place was opened that is not wanted any more"),
            Err(error) => {
                tracing::warn!(place, %error, "a place could not be opened, it is tried again");
                state.opening.remove(&place);
                state.open_at.insert(place, now.plus_ms(OPEN_AGAIN_MS));
            }
        }
    }

    fn try_open(&self, place: usize, ring_version: u64) -> Result<Served, Error> {
        let number = u16::try_from(place).unwrap_or(u16::MAX);
        let store = self.store_of(number, ring_version)?;
        let [seed, ..] = halves(self.parts.chance.draw());
        let share = Share::new(Arc::clone(&self.open), place, self.parts.places);
        let parts = EmbeddedParts {
            name: self.parts.name.clone(),
            store: Parts {
                disk: store.disk(),
                cluster_name: self.parts.cluster_name.clone(),
                generation_seed: seed,
            },
            clock: Arc::clone(&self.parts.clock),
            limits: Arc::clone(&self.parts.limits),
            share: Arc::new(share),
            registry: self.parts.registry.clone(),
        };
        let telemetry = Arc::clone(&self.telemetry);
        let (embedded, report) = Embedded::open_on(&store, parts, telemetry, &self.config)?;
        for (path, error) in &report.sstables_damaged {
            tracing::error!(place, path, %error, "an sstable cannot be read; its samples are missing");
        }
        let (samples, records) = (report.samples_without_series, report.records_damaged);
        if samples + records > 0 {
            tracing::error!(place, samples, records, "the journal is damaged; these are lost here");
        }
        Ok(Served { embedded, store, samples: report.samples })
    }

    /// Flushes what the ring row still owes, and closes what is given away.
    fn flush_owed(&self) {
        let (cover, given, owed) = {
            let mut state = self.state.lock();
            let cover = state.owner.flush_began();
            let open = Arc::clone(&self.open.read());
            let (mut given, mut owed) = (Vec::new(), Vec::new());
            let (mut gone, debts) = (BTreeSet::new(), state.owed_places());
            for (place, served) in &open.by_place {
                if !state.owner.keeps(*place) {
                    gone.insert(*place);
                    given.push((*place, Arc::clone(served)));
                } else if debts.contains(place) {
                    owed.push((*place, Arc::clone(served)));
                }
            }
            *self.open.write() = Arc::new(open.without(&gone));
            // What is being opened is not wanted any more.
            let State { owner, opening, .. } = &mut *state;
            opening.retain(|place, _| owner.keeps(*place));
            (cover, given, owed)
        };
        for (place, served) in given {
            // What could not be flushed stands in the journal, and is read by who opens the place.
            if let Err(error) = served.embedded.end() {
                tracing::warn!(place, %error, "a place is given away unflushed");
            }
        }
        let flushed = owed.into_iter().try_for_each(|(place, served)| {
            let flushed = served.embedded.flush_now().map(drop);
            flushed.inspect_err(|error| tracing::warn!(place, %error, "a place is not flushed yet"))
        });
        let mut state = self.state.lock();
        match flushed {
            Ok(()) => {
                state.owner.flush_done(cover);
                state.flush = Flush::Idle;
            }
            Err(_) => {
                state.flush = Flush::DueAt(self.parts.boot.now().plus_ms(FLUSH_AGAIN_MS));
            }
        }
    }
}

impl State {
    fn begin(parts: &MemberParts, database: Arc<Database>) -> Self {
        Self {
            owner: Owner::new(Incarnation(parts.chance.draw()), parts.places),
            database,
            pending: BTreeMap::new(),
            tickets: 0,
            opening: BTreeMap::new(),
            at_work: BTreeSet::new(),
            open_at: BTreeMap::new(),
            roll_at: BTreeMap::new(),
            flush: Flush::Idle,
            is_leaving: false,
        }
    }

    /// The lease is lost: another incarnation begins.
    fn begin_again(&mut self, parts: &MemberParts) {
        tracing::warn!("the lease is lost: this process begins anew, as another incarnation");
        let next = Self::begin(parts, Arc::clone(&self.database));
        let before = std::mem::replace(self, next);
        // What is at work is at work still, and no ticket comes twice.
        (self.tickets, self.at_work) = (before.tickets, before.at_work);
    }

    fn give_up_late_asks(&mut self, now: BootMs) {
        let is_late = |command: &Command| now.since(command.asked_at) >= ASK_TIMEOUT_MS;
        let late: Vec<u64> =
            self.pending.iter().filter(|(_, c)| is_late(c)).map(|(ticket, _)| *ticket).collect();
        for command in late.iter().filter_map(|ticket| self.pending.remove(ticket)) {
            self.owner.answered(&command, &Reply::Unknown, now);
        }
    }

    /// Asks the owner what it wants; what needs no database is answered at once.
    fn poll(&mut self, open: &Open, now: BootMs) -> Vec<Task> {
        let mut tasks = Vec::new();
        for command in self.owner.poll(now) {
            let reply = match &command.ask {
                Ask::Flush => {
                    self.flush = Flush::DueAt(now);
                    continue;
                }
                // A place's own manifest says where its replay begins, and its opening reads to the end.
                Ask::ReadProgress(_) => Reply::Progress(None),
                Ask::ReadBucket { dead, .. } if self.is_open_to(*dead, open) => Reply::Bucket(0),
                Ask::ReadBucket { .. } => Reply::Unknown,
                _ => {
                    self.tickets += 1;
                    self.pending.insert(self.tickets, command.clone());
                    let known = self.owner.row().cloned();
                    let (ticket, me) = (self.tickets, self.owner.me());
                    tasks.push(Task::Ask { ticket, me, command, known });
                    continue;
                }
            };
            self.owner.answered(&command, &reply, now);
        }
        tasks
    }

    /// Whether every place is open that is owed to a dead incarnation.
    fn is_open_to(&self, dead: Incarnation, open: &Open) -> bool {
        let Some(row) = self.owner.row() else { return false };
        let mut debts = row.obligations_of(self.owner.me()).filter(|(debt, _)| debt.dead == dead);
        debts.all(|(debt, _)| open.by_place.contains_key(&debt.place))
    }

    /// The places whose acknowledged samples may still stand in journals alone.
    fn owed_places(&self) -> BTreeSet<usize> {
        let Some(row) = self.owner.row() else { return BTreeSet::new() };
        let debts = row.obligations_of(self.owner.me());
        debts.filter(|(_, stage)| *stage == Stage::Replay).map(|(debt, _)| debt.place).collect()
    }
}

/// 64 bits twice.
fn halves(bits: u128) -> [u64; 2] {
    let low = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0);
    [low(bits), low(bits >> 64)]
}

/// The settings of one place, so that all of them together keep to those of a process.
fn of_place(config: &Config, places: u16) -> Config {
    let mut config = config.clone();
    let places = u64::from(places.max(1));
    let store = &mut config.store;
    store.cache_bytes_max /= usize::from(u16::try_from(places).unwrap_or(1));
    store.head_bytes_max /= places;
    store.tail_samples_max /= places;
    // The database has its own limits.
    store.disk_reserve_bytes = Some(0);
    config.compaction_bytes_per_second = (config.compaction_bytes_per_second / places).max(1 << 20);
    config
}
