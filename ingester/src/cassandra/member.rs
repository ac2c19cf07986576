//! One process of many over one database: drives [`cluster::ownership`], and serves the places that the
//! ring gives it, each with a store of its own (`docs/adr/0011-a-store-for-each-place.md`).
//!
//! A *task* is something to be done that blocks: an ask of the database, the opening of a place, a flush.
//! [`Member::due`] says which are due, [`Member::run`] does one; any thread may.
//!
//! # Invariants
//! - A place is answered for only while [`Owner::serves`](cluster::ownership::owner::Owner::serves) says so and its store is open, since the process
//!   owns it. Looked at before a request is taken, and again when its answer is ready to leave: after a
//!   write is durable, after a read is done.
//! - An open store is closed, or let go of, before its place can be another's: a place that comes back is
//!   opened anew.
//! - One opening of a place at a time, by the ring version that gave it.
//! - An ask that has no answer after [`ASK_TIMEOUT_MS`](cluster::ownership::lease::ASK_TIMEOUT_MS) is unknown, and what comes later is not heard.
//! - A lease that is lost ends this incarnation: everything is let go of, and another begins.
//!
//! Not here: what is asked and when (`member/state.rs`), where members are found (`member/addresses.rs`), opening (`member/opening.rs`), giving away
//! (`member/giving.rs`), upkeep (`member/keeping.rs`), threads (`member/threads.rs`), requests (`member/serve.rs`), which process is asked
//! (`fleet.rs`).

mod addresses;
mod backoff;
mod giving;
mod keeping;
mod open;
mod opening;
mod placing;
mod serve;
mod state;
#[cfg(test)]
mod tests;
mod threads;
mod told;

pub use placing::Placing;
pub use serve::Places;
pub use threads::Driver;

use super::Database;
use super::agreement::{self, Asker};
use super::rows::Rows;
use super::settings;
use crate::config::Config;
use crate::embedded::Bounds;
use crate::error::Error;
use crate::telemetry::{StoreSizes, Telemetry};
use cluster::ownership::lease::LeaseAsk;
use cluster::ownership::ring_row::RingRow;
use cluster::ownership::{Ask, BootMs, Command, Incarnation, Reply};
use guard::LimitTable;
use model::Clock;
use open::{Open, Served};
use parking_lot::{Mutex, RwLock};
use prometheus::Registry;
use state::{Flush, State};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use store::RetentionConfig;
use told::Told;

/// A place whose replay would begin so many periods ago is flushed, also if nothing came: else the
/// journals of all would be kept for it.
const PERIODS_MAX: u64 = 3;
/// How long after that it may be flushed for it again.
const ROLL_AGAIN_MS: u64 = 600_000;
const STRANGER: &str = "the keyspace was made anew since this process began: start it again";

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
    /// So many bytes of pieces of sstables are kept near.
    pub cache_bytes: usize,
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
    /// Which ring this is.
    number: u128,
    /// The settings of one place.
    config: Config,
    placing: Placing,
    telemetry: Arc<Telemetry>,
    told: Told,
    /// What is in work in all places together.
    bounds: Bounds,
    /// How long samples are kept. Replaced whole. A leaf.
    rules: RwLock<Arc<RetentionConfig>>,
    // Taken for a look and for decisions, never while something blocks.
    state: Mutex<State>,
    // Replaced whole. A leaf.
    open: Arc<RwLock<Arc<Open>>>,
    // Where the others are. A leaf.
    addresses: Mutex<BTreeMap<Incarnation, String>>,
    #[cfg(test)]
    plant: tests::Plant,
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
    /// Flush what is owed.
    Flush,
    /// Close a place that is given away, and bring what it has into sstables.
    Give {
        /// Which.
        place: usize,
        /// Names the hold that it is given away under.
        hold: u64,
    },
    /// Look where a member is found.
    Find {
        /// Which.
        who: Incarnation,
    },
    /// Make the table of the journals' next period.
    Period,
    /// Look at what all processes keep to.
    Settings,
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
        if let Some(local_dc) = parts.rows.datacenter() {
            agreement::agree_on_datacenter(&*parts.rows, &local_dc)?;
        }
        let own_rules = crate::embedded::retention(&parts.limits);
        let rules = settings::agree_on_retention(&*parts.rows, &own_rules)?;
        let telemetry = Arc::new(Telemetry::new(&parts.registry)?);
        let told = Told::new(&parts.registry)?;
        let open = Arc::new(RwLock::new(Arc::new(Open::new(parts.chance.draw()))));
        let stats_of = Arc::clone(&open);
        let sizes = StoreSizes::new(move || Arc::clone(&stats_of.read()).stats())?;
        parts.registry.register(Box::new(sizes))?;
        let (rows, periodic) = (Arc::clone(&parts.rows), parts.accept_periodic);
        // A store's incarnation is not the process's: it has one for each opening.
        let database = Database::new(rows, parts.chance.draw(), parts.places, periodic)?
            .keeping_near(parts.cache_bytes);
        let state = Mutex::new(State::begin(&parts, Arc::new(database)));
        let number = agreement::agree_on_number(&*parts.rows, parts.chance.draw())?;
        let (config, placing) = (of_place(&parts.config, parts.places), Placing::new(parts.places));
        let bounds = Bounds::of(&parts.config);
        let member = Self {
            parts,
            number,
            config,
            placing,
            telemetry,
            told,
            bounds,
            rules: RwLock::new(Arc::new(rules)),
            state,
            open,
            addresses: Mutex::default(),
            #[cfg(test)]
            plant: tests::Plant::of_this_thread(),
        };
        member.say_differences(&member.rules.read(), &own_rules);
        Ok(Arc::new(member))
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

    /// Whether a bug is planted: who is meant is not asked about.
    pub(super) fn is_impostor(&self) -> bool {
        #[cfg(test)]
        return self.plant == tests::Plant::AnswersForWhoItWas;
        #[cfg(not(test))]
        false
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

    /// Where places are.
    #[must_use]
    pub fn placing(&self) -> &Placing {
        &self.placing
    }

    /// Why it does not answer for all that is its own, if it does not.
    #[must_use]
    pub fn why_not_ready(&self) -> Option<String> {
        let state = self.state.lock();
        if state.is_stranger {
            return Some(STRANGER.to_owned());
        }
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
        if let Some(namesake) = state.owner.namesake(now) {
            return Some(self.tell_namesake(namesake));
        }
        if !row.members().contains_key(&state.owner.me()) {
            return Some("this process has not joined the ring yet".to_owned());
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

    /// What is to be done now. To be called after each task, and at least every half second.
    pub fn due(&self) -> Vec<Task> {
        let now = self.parts.boot.now();
        let mut state = self.state.lock();
        state.give_up_late_asks(now);
        state.tell_trust(now);
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
        self.look_for_namesakes(&mut state, now, &mut tasks);
        self.keep(&mut state, now, &mut tasks);
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
        state.failed.retain(|place, _| row.owner(*place) == me);
        self.give_what_is_held(state, tasks);
        let mut shut = 0;
        for place in row.places_of(me) {
            let is_wanted = state.owner.keeps(place) && !open.by_place.contains_key(&place);
            shut += i64::from(is_wanted);
            let is_time = state.may_open(place, row.version(), now);
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
        self.told.places_shut.set(shut);
        self.roll(state, &open, now, tasks);
        if let Flush::DueAt(at) = state.flush
            && now >= at
        {
            state.flush = Flush::Runs;
            tasks.push(Task::Flush);
        }
    }

    fn roll(&self, state: &mut State, open: &Open, now: BootMs, tasks: &mut Vec<Task>) {
        let newest = state.database.period();
        for (place, served) in &open.by_place {
            let is_long = served.store.replay_from() + PERIODS_MAX <= newest;
            let is_time = state.roll_at.get(place).is_none_or(|at| now >= *at);
            if is_long && is_time && state.owner.keeps(*place) {
                state.roll_at.insert(*place, now.plus_ms(ROLL_AGAIN_MS));
                tasks.push(Task::Roll { place: *place });
            }
        }
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
                let reply = match &command.ask {
                    Ask::Lease(LeaseAsk::Begin) if !self.is_of_this_ring() => Reply::Unknown,
                    ask => asker.put(ask, known.as_ref()),
                };
                let mut state = self.state.lock();
                if let Some(command) = state.pending.remove(&ticket) {
                    state.owner.answered(&command, &reply, self.parts.boot.now());
                }
            }
            Task::Open { place, ticket, ring_version } => self.open(place, ticket, ring_version),
            Task::Flush => self.flush_owed(),
            Task::Give { place, hold } => self.give(place, hold),
            Task::Find { who } => self.find_namesake(who),
            Task::Period => self.make_period(),
            Task::Settings => self.look_at_settings(),
            Task::Roll { place } => {
                let served = self.open.read().by_place.get(&place).cloned();
                if let Some(Err(error)) = served.map(|served| served.embedded.flush_now()) {
                    tracing::warn!(place, %error, "a place is not flushed, its journal grows");
                }
            }
        }
    }

    /// Whether the ring is still the one that this process began in: its tables may have been dropped and
    /// made anew. Blocks.
    fn is_of_this_ring(&self) -> bool {
        let Ok(there) = agreement::number(&*self.parts.rows) else { return false };
        let is_it = there == Some(self.number);
        let mut state = self.state.lock();
        if !is_it && !state.is_stranger {
            tracing::error!("{STRANGER}");
        }
        state.is_stranger = !is_it;
        is_it
    }

    /// A task will not be done.
    fn give_up(&self, task: Task) {
        let mut state = self.state.lock();
        match task {
            // In time it is called unknown.
            Task::Ask { .. } => {}
            Task::Open { place, .. } => {
                state.at_work.remove(&place);
                state.opening.remove(&place);
            }
            Task::Flush => state.flush = Flush::DueAt(self.parts.boot.now()),
            Task::Give { .. } | Task::Period | Task::Settings => state.later.push(task),
            Task::Find { who } => {
                state.finding.remove(&who);
            }
            Task::Roll { .. } => {}
        }
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
