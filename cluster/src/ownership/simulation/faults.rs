//! What goes wrong in a story.

use super::world::{Event, SLOTS, World};

impl World {
    /// One fault, and the next one later.
    pub(super) fn fault(&mut self) {
        if self.now >= self.faults_until {
            return;
        }
        let next_ms = self.chance.between(500, 14_000);
        self.after(next_ms, Event::Fault);
        let slot = self.chance.index(SLOTS);
        if self.slots[slot].process.is_none() {
            return;
        }
        match self.chance.between(1, 10) {
            1..=3 => {
                self.tally.kills += 1;
                let ms = self.chance.between(200, 25_000);
                self.end(slot, ms);
            }
            4..=5 => self.pause(slot),
            6..=8 => {
                self.tally.cuts += 1;
                self.slots[slot].cut_until = self.now + self.chance.between(500, 60_000);
            }
            9 => {
                self.tally.outages += 1;
                self.outage_until = self.now + self.chance.between(200, 15_000);
            }
            _ => {
                self.tally.leaves += 1;
                self.leave(slot);
            }
        }
    }

    /// Asks a process to end.
    pub(super) fn leave(&mut self, slot: usize) {
        if let Some(process) = &mut self.slots[slot].process {
            process.owner.leave();
        }
    }

    /// Stops a process for a while.
    pub(super) fn pause(&mut self, slot: usize) {
        self.tally.pauses += 1;
        let most = [1_500, 8_000, 30_000][self.chance.index(3)];
        self.slots[slot].paused_until = self.now + self.chance.between(100, most);
    }

    /// Everything works again from now on.
    pub(super) fn heal(&mut self) {
        self.outage_until = self.now;
        for slot in &mut self.slots {
            slot.cut_until = self.now;
            slot.paused_until = slot.paused_until.min(self.now + 1_000);
        }
    }
}
