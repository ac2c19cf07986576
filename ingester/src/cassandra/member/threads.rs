//! The threads that drive a member: one looks what is due, some ask, some open and flush.
//!
//! # Invariants
//! - The thread that looks never blocks on the database: what is asked and not answered is given up in time.
//! - What is asked does not wait behind what is opened, and what keeps the lease behind nothing else.
//! - Queues are bounded: what does not fit is done a look later, or given up as any ask without an answer.

use super::{Member, Task};
use crate::background;
use crate::error::Error;
use cluster::ownership::Ask;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the member is asked what is due, if nothing happens.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Asks about the lease that are under way at once: those that were given up, and the next.
const RENEWERS: usize = 3;
/// Other asks that are under way at once.
const ASKERS: usize = 4;
/// Places that are opened or flushed at once. An opening waits for one answer of the database after the other, so
/// this many go on while one would: with 16 places over two processes a takeover is one round of them.
const OPENERS: usize = 8;
/// What waits for each.
const QUEUE_LEN: usize = 4_096;

/// The threads of a member. They end when it has left.
#[derive(Debug)]
pub struct Driver {
    member: Arc<Member>,
    alive: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Driver {
    /// Starts the threads.
    ///
    /// # Errors
    /// If the system gives none.
    pub fn start(member: Arc<Member>) -> Result<Self, Error> {
        // Full means that the thread will look anyhow.
        let (alive, signals) = sync_channel(1);
        let mut inboxes = Vec::new();
        for (name, count) in
            [("cumae-lease", RENEWERS), ("cumae-asks", ASKERS), ("cumae-places", OPENERS)]
        {
            inboxes.push(start_workers(&member, name, count, &alive)?);
        }
        let looking = Arc::clone(&member);
        let work = move || look(&looking, &signals, &inboxes);
        let thread = background::spawn("cumae-member", work)?;
        Ok(Self { member, alive, thread })
    }

    /// Leaves: hands over all places, gives up the lease, and ends the threads. Blocks, so long at most.
    pub fn leave(self, within: Duration) {
        self.member.leave();
        let (done, ended) = sync_channel(1);
        let waiting = background::spawn("cumae-leave", move || {
            let Self { thread, alive, .. } = self;
            // The thread that looks ends by itself when the member has left.
            drop((thread.join(), alive));
            // Nobody may wait any more.
            let _ = done.send(());
        });
        if waiting.is_ok() && ended.recv_timeout(within).is_err() {
            tracing::warn!("not all places were handed over in time: others take them over");
        }
    }
}

type Inbox = SyncSender<Task>;

fn start_workers(
    member: &Arc<Member>,
    name: &'static str,
    count: usize,
    alive: &SyncSender<()>,
) -> Result<Inbox, Error> {
    let (inbox, tasks) = sync_channel(QUEUE_LEN);
    let tasks = Arc::new(Mutex::new(tasks));
    for _ in 0..count {
        let (member, tasks, alive) = (Arc::clone(member), Arc::clone(&tasks), alive.clone());
        background::spawn(name, move || work(&member, &tasks, &alive))?;
    }
    Ok(inbox)
}

/// Does tasks until there will be none.
fn work(member: &Member, tasks: &Mutex<Receiver<Task>>, alive: &SyncSender<()>) {
    loop {
        let Ok(task) = tasks.lock().recv() else { return };
        member.run(task);
        // Full is as good: the thread will look.
        let _ = alive.try_send(());
    }
}

fn look(member: &Member, signals: &Receiver<()>, inboxes: &[Inbox]) {
    loop {
        for task in member.due() {
            let lane = match &task {
                Task::Ask { command, .. } if matches!(command.ask, Ask::Lease(_)) => 0,
                Task::Ask { .. } => 1,
                _ => 2,
            };
            if let Some(inbox) = inboxes.get(lane)
                && let Err(TrySendError::Full(task)) = inbox.try_send(task)
            {
                member.give_up(task);
            }
        }
        if member.has_left() {
            return;
        }
        match signals.recv_timeout(LOOK_EVERY) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
