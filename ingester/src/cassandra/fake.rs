//! A database with Cassandra's rules, in memory, driven by a seed: what a store in rows is tested on
//! without Java.
//!
//! Three nodes; a quorum is two. Each hears of a write at its own time, in any order, perhaps twice.
//! Rows are reconciled when they are read (`fake/node.rs`). Changes on condition are made one after
//! the other, on all nodes, with timestamps of the database's own, which are far above a writer's.
//! What goes wrong, and how often, is in [`Faults`]: time-outs of writes that were done, or are done
//! later, or never; the same of changes on condition, which are then made only if their condition
//! still holds; reads without an answer; a schema that has not spread when a table is created.
//!
//! # Rules
//! - Same seed, same calls, same outcome.
//! - What was acknowledged is on two nodes at least.
//!
//! Not here: TTL, repair, gc of tombstones.

mod node;

use super::rows::{
    Change, Changed, CommitLogSync, Consistency, Key, MISSING, Read, Row, Rows, RowsError, Write,
};
use super::schema;
use model::SplitMix64;
use node::{Node, write_of};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The first timestamp of changes on condition.
const BALLOT_FIRST: i64 = 1_000_000;

/// How often what goes wrong, in percent of calls or writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// A write is not acknowledged; each node has it, gets it later, or never.
    pub write_unknown: u64,
    /// A write that is acknowledged reaches the third node later, or never.
    pub write_late: u64,
    /// A write comes once more, later.
    pub write_twice: u64,
    /// A read has no answer.
    pub read_unknown: u64,
    /// A change on condition is not acknowledged; it was made, or is tried later, or never.
    pub change_unknown: u64,
    /// A table that is there is not seen when it is to be created.
    pub schema_late: u64,
    /// A table is not made, or not by all nodes: who asked is not told that it is there.
    pub create_unknown: u64,
    /// A table is made, but the nodes do not agree on it: who asked is not told, and who asks for all tables
    /// has no answer.
    pub create_apart: u64,
    /// Nodes answer before they sync.
    pub is_periodic: bool,
}

impl Faults {
    /// All of it, now and then; and nodes that sync.
    pub const SOME: Self = Self {
        write_unknown: 3,
        write_late: 10,
        write_twice: 5,
        read_unknown: 2,
        change_unknown: 5,
        schema_late: 50,
        create_unknown: 0,
        create_apart: 0,
        is_periodic: false,
    };
}

/// The database. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Fake {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    chance: SplitMix64,
    faults: Faults,
    schema: BTreeMap<String, u128>,
    /// The nodes do not agree on the schema.
    is_apart: bool,
    clock_ms: Option<i64>,
    nodes: [Node; 3],
    /// Writes on their way: node, table, write.
    late: Vec<(usize, u128, Write)>,
    late_changes: Vec<Change>,
    ballot: i64,
    calls: u64,
    reads: u64,
    rounds: u64,
    stop_at: Option<u64>,
    /// No node answers who reads tables whose name begins so.
    mute: Option<String>,
    /// Tables that are listed and that nobody knows.
    listed: BTreeSet<String>,
}

impl Fake {
    /// An empty keyspace. All chance comes from `seed`.
    #[must_use]
    pub fn new(seed: u64, faults: Faults) -> Self {
        let id = |table: &str| (table.to_owned(), schema::table_id(table));
        let inner = Inner {
            chance: SplitMix64::new(seed),
            faults,
            // What whoever opens a place expects to be there.
            schema: [schema::MANIFEST, schema::DEFINITIONS].map(id).into(),
            is_apart: false,
            clock_ms: None,
            nodes: Default::default(),
            late: Vec::new(),
            late_changes: Vec::new(),
            ballot: BALLOT_FIRST,
            calls: 0,
            reads: 0,
            rounds: 0,
            stop_at: None,
            mute: None,
            listed: BTreeSet::new(),
        };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// From now on this goes wrong.
    pub fn set_faults(&self, faults: Faults) {
        self.inner.lock().faults = faults;
    }

    /// What the clocks of the nodes say from now on.
    pub fn set_clock(&self, now_ms: i64) {
        self.inner.lock().clock_ms = Some(now_ms);
    }

    /// From now on nobody gets an answer who reads tables whose name begins so; `None` ends it.
    pub fn mute(&self, tables: Option<&str>) {
        self.inner.lock().mute = tables.map(str::to_owned);
    }

    /// The power of the node goes while it makes a table: when it is back it lists it, and does not know it.
    pub fn list(&self, table: &str) {
        self.inner.lock().listed.insert(table.to_owned());
    }

    /// The power of a node goes and comes back.
    pub fn crash(&self, node: usize) {
        if let Some(node) = self.inner.lock().nodes.get_mut(node) {
            node.crash();
        }
    }

    /// All nodes sync what they have.
    pub fn sync(&self) {
        self.inner.lock().nodes.iter_mut().for_each(Node::sync);
    }

    /// Everything that is on its way comes.
    pub fn deliver(&self) {
        let mut inner = self.inner.lock();
        while !inner.late.is_empty() || !inner.late_changes.is_empty() {
            inner.deliver_one();
        }
    }

    /// How many changing calls were made.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.inner.lock().calls
    }

    /// How many reads were asked for.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.inner.lock().reads
    }

    /// How often somebody waited for reads: those that are asked for at once are one.
    #[must_use]
    pub fn rounds(&self) -> u64 {
        self.inner.lock().rounds
    }

    /// The process dies in its `call`-th changing call from now on: of that one a part may be done,
    /// and none later reaches the database, until [`Fake::restart`].
    pub fn stop_in(&self, call: u64) {
        let mut inner = self.inner.lock();
        inner.stop_at = Some(inner.calls + call);
    }

    /// Another process comes.
    pub fn restart(&self) {
        self.inner.lock().stop_at = None;
    }
}

impl Inner {
    fn percent(&mut self, percent: u64) -> bool {
        percent > 0 && self.chance.draw() % 100 < percent
    }

    fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.chance.draw() % (len.max(1) as u64)).unwrap_or(0)
    }

    fn table(&self, name: &str) -> Result<u128, RowsError> {
        let id = self.schema.get(name).copied();
        id.ok_or_else(|| RowsError::Refused(format!("table {name} {MISSING}")))
    }

    /// Counts a changing call; whether the process is dead by now.
    fn begin(&mut self) -> Result<bool, RowsError> {
        let call = self.calls;
        self.calls += 1;
        while self.percent(30) && !(self.late.is_empty() && self.late_changes.is_empty()) {
            self.deliver_one();
        }
        match self.stop_at {
            Some(stop_at) if call > stop_at => Err(dead()),
            Some(stop_at) => Ok(call == stop_at),
            None => Ok(false),
        }
    }

    fn deliver_one(&mut self) {
        let all = self.late.len() + self.late_changes.len();
        let at = self.index(all);
        if at < self.late.len() {
            let (node, table, write) = self.late.swap_remove(at);
            let is_periodic = self.faults.is_periodic;
            // What comes for a table that is gone is gone.
            if self.schema.values().any(|id| *id == table) {
                self.nodes[node].apply(table, &write, is_periodic);
            }
        } else {
            let change = self.late_changes.swap_remove(at - self.late.len());
            // It may not be made any more: its condition says so.
            let _ = self.change(&change);
        }
    }

    fn write(&mut self, write: &Write, is_dying: bool) -> Result<(), RowsError> {
        let table = self.table(&write.table)?;
        let is_unknown = is_dying || self.percent(self.faults.write_unknown);
        let third = self.percent(self.faults.write_late).then(|| self.index(3));
        for node in 0..3 {
            let is_now = match is_unknown {
                true => self.percent(40),
                false => third != Some(node),
            };
            if is_now {
                let is_periodic = self.faults.is_periodic;
                self.nodes[node].apply(table, write, is_periodic);
            }
            let is_later =
                if is_now { self.percent(self.faults.write_twice) } else { self.percent(70) };
            if is_later {
                self.late.push((node, table, write.clone()));
            }
        }
        match is_unknown {
            true => Err(RowsError::Unknown("WriteTimeout".to_owned())),
            false => Ok(()),
        }
    }

    /// What some nodes have between them.
    fn rows(&self, table: u128, read: &Read, nodes: &[usize]) -> Vec<Row> {
        let place = (table, read.partition.clone());
        let replicas = nodes.iter().filter_map(|node| self.nodes[*node].partitions.get(&place));
        node::read(&replicas.collect::<Vec<_>>(), read)
    }

    fn change(&mut self, change: &Change) -> Result<Changed, RowsError> {
        let table = self.table(&change.table)?;
        let read = Read {
            table: change.table.clone(),
            partition: change.partition.clone(),
            first: Vec::new(),
            last: Some(Vec::new()),
            rows_max: 1,
        };
        let guard = self.rows(table, &read, &[0, 1, 2]).pop().map(|row| row.data);
        if guard != change.expected {
            return Ok(Changed::Refused(guard));
        }
        self.ballot += 1;
        let guard = (Vec::new(), Some(change.guard.clone()));
        for (row, data) in change.rows.iter().chain([&guard]) {
            let key = Key { partition: change.partition.clone(), row: row.clone() };
            let write = write_of(&change.table, key, data.clone(), self.ballot);
            // Paxos syncs, whatever the commit log does.
            self.nodes.iter_mut().for_each(|node| node.apply(table, &write, false));
        }
        Ok(Changed::Applied)
    }
}

fn dead() -> RowsError {
    RowsError::Unknown("the process has stopped".to_owned())
}

impl Rows for Fake {
    fn tables(&self) -> Result<Vec<String>, RowsError> {
        let inner = self.inner.lock();
        let names: BTreeSet<&String> = inner.schema.keys().chain(&inner.listed).collect();
        Ok(names.into_iter().cloned().collect())
    }

    fn is_everywhere(&self, table: &str) -> Result<bool, RowsError> {
        let mut inner = self.inner.lock();
        let apart = inner.faults.create_apart;
        inner.is_apart = inner.is_apart && inner.percent(apart);
        Ok(!inner.is_apart && inner.schema.contains_key(table))
    }

    fn clock_ms(&self) -> Result<Option<i64>, RowsError> {
        Ok(self.inner.lock().clock_ms)
    }

    fn create_table(&self, name: &str, id: u128) -> Result<(), RowsError> {
        let mut inner = self.inner.lock();
        if inner.begin()? && inner.percent(50) {
            return Err(dead());
        }
        let faults = inner.faults;
        if inner.percent(faults.create_unknown) && !inner.schema.contains_key(name) {
            return Err(RowsError::Unknown("no schema agreement".to_owned()));
        }
        let is_unseen = inner.percent(faults.schema_late);
        let held = inner.schema.get(name).copied();
        if held.is_none() || (held != Some(id) && is_unseen) {
            // Two of one name: the later id stands, and what was written under the other is gone.
            inner.schema.insert(name.to_owned(), id);
            if let Some(held) = held {
                inner.nodes.iter_mut().for_each(|node| node.forget(held));
            }
            inner.is_apart = inner.percent(faults.create_apart);
            if inner.is_apart {
                return Err(RowsError::Unknown("no schema agreement".to_owned()));
            }
        }
        Ok(())
    }

    fn drop_table(&self, name: &str) -> Result<(), RowsError> {
        let mut inner = self.inner.lock();
        if inner.begin()? && inner.percent(50) {
            return Err(dead());
        }
        if let Some(id) = inner.schema.remove(name) {
            inner.nodes.iter_mut().for_each(|node| node.forget(id));
        }
        Ok(())
    }

    fn write(&self, rows: &[Write]) -> Result<(), RowsError> {
        let mut inner = self.inner.lock();
        let is_dying = inner.begin()?;
        let mut outcome = Ok(());
        for write in rows {
            let done = inner.write(write, is_dying);
            outcome = outcome.and(done);
        }
        outcome
    }

    fn read(&self, read: &Read, consistency: Consistency) -> Result<Vec<Row>, RowsError> {
        let mut inner = self.inner.lock();
        inner.reads += 1;
        inner.rounds += 1;
        if inner.stop_at.is_some_and(|stop_at| inner.calls > stop_at) {
            return Err(dead());
        }
        let faults = inner.faults;
        if inner.percent(faults.read_unknown) {
            return Err(RowsError::Unknown("ReadTimeout".to_owned()));
        }
        if inner.mute.as_ref().is_some_and(|mute| read.table.starts_with(mute.as_str())) {
            return Err(RowsError::Unknown("ReadTimeout".to_owned()));
        }
        let table = inner.table(&read.table)?;
        let first = inner.index(3);
        let nodes = match consistency {
            Consistency::One => vec![first],
            Consistency::Quorum => vec![first, (first + 1) % 3],
            Consistency::Serial => vec![0, 1, 2],
        };
        Ok(inner.rows(table, read, &nodes))
    }

    fn read_many(
        &self,
        reads: &[Read],
        consistency: Consistency,
    ) -> Vec<Result<Vec<Row>, RowsError>> {
        let before = self.inner.lock().rounds;
        let answers = reads.iter().map(|read| self.read(read, consistency)).collect();
        self.inner.lock().rounds = before + 1;
        answers
    }

    fn change(&self, change: &Change) -> Result<Changed, RowsError> {
        let mut inner = self.inner.lock();
        let is_dying = inner.begin()?;
        let faults = inner.faults;
        if !is_dying && !inner.percent(faults.change_unknown) {
            return inner.change(change);
        }
        match inner.index(3) {
            0 => drop(inner.change(change)?),
            1 => inner.late_changes.push(change.clone()),
            _ => {}
        }
        Err(RowsError::Unknown("CasWriteTimeout".to_owned()))
    }

    fn commit_log_sync(&self) -> Result<Vec<(String, CommitLogSync)>, RowsError> {
        let is_periodic = self.inner.lock().faults.is_periodic;
        let sync = if is_periodic { CommitLogSync::Periodic } else { CommitLogSync::Synced };
        Ok((0..3).map(|node| (format!("node{node}"), sync)).collect())
    }
}

impl super::upkeep::Scan for Fake {
    fn partitions(&self, table: &str) -> Result<Vec<Vec<super::Column>>, RowsError> {
        let inner = self.inner.lock();
        let id = inner.table(table)?;
        let places = inner.nodes.iter().flat_map(|node| node.partitions.keys());
        let mut found: Vec<_> =
            places.filter(|(of, _)| *of == id).map(|(_, key)| key.clone()).collect();
        found.sort_unstable();
        found.dedup();
        // One of which all is deleted is none.
        let is_there = |partition: &Vec<super::Column>| {
            let (table, partition) = (table.to_owned(), partition.clone());
            let read = Read { table, partition, first: Vec::new(), last: None, rows_max: 1 };
            !inner.rows(id, &read, &[0, 1, 2]).is_empty()
        };
        found.retain(is_there);
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
