//! The table of leases in shared memory.
//!
//! A place has a word, the mark of its key, and links: the leases for which its owner waits. One lock, which dies with its
//! owner, guards taking, freeing the dead's, linking and searching. Releasing needs no lock: the owner alone may free its word.
//!
//! A word has the owner's slot + 1 in bits 0 to 12 (0: free), how the last lease ended in bits 13 and 14, the serial of
//! the lease in bits 15 to 30, and in bit 31 that a process waits. A serial grows with each lease of the place, so a waiter
//! tells "over" from "taken again".

use super::file::{self, Opened};
use super::{Claim, Links, Outcome, Watch};
use crate::layout::map::{Map, SharedWord};
use crate::lock::word::{self, OwnerLocks, Released, WAITERS, Word};
use crate::log::crash;
use crate::system::access::Access;
use crate::system::descriptor::closed;
use crate::system::error::AttachError;
use crate::system::fork;
use crate::system::local::LocalLock;
use crate::system::ofd::{self, LockKind, SLOTS};
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

/// How many keys can be computed at once.
pub(super) const PLACES: usize = 4096;
/// For how many other leases an owner can wait at once.
const LINKS: usize = 10;

/// Where things lie, counted in 32-bit words; marks in 64-bit words.
const LOCK: usize = 128 / 4;
const BELL: usize = 256 / 4;
const TOP: usize = 384 / 4;
const OVERFLOWS: usize = TOP + 1;
const WORDS: usize = 4096 / 4;
const MARKS: usize = WORDS / 2 + PLACES / 2;
const LINK: usize = WORDS + PLACES + 4 * PLACES;
pub(super) const BYTES: u64 = 4 * (LINK + LINKS * PLACES) as u64;

/// How long the table may be locked before a caller computes without a lease. It is locked for microseconds, unless its
/// holder was stopped.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a caller sleeps between two looks at the lock's owner.
const PAUSE: Duration = Duration::from_millis(4);

/// A word of a place, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    /// Slot + 1, or 0.
    owner: u32,
    outcome: Outcome,
    serial: u16,
    is_awaited: bool,
}

impl State {
    fn read(word: u32) -> Self {
        let outcome = match word >> 13 & 3 {
            1 => Outcome::Kept,
            2 => Outcome::Unkept,
            3 => Outcome::Failed,
            _ => Outcome::Left,
        };
        let serial = u16::try_from(word >> 15 & 0xFFFF).unwrap_or(0);
        Self { owner: word & 0x1FFF, outcome, serial, is_awaited: word & WAITERS != 0 }
    }

    fn word(self) -> u32 {
        let outcome = match self.outcome {
            Outcome::Left => 0,
            Outcome::Kept => 1,
            Outcome::Unkept => 2,
            Outcome::Failed => 3,
        };
        let waiters = if self.is_awaited { WAITERS } else { 0 };
        self.owner | outcome << 13 | u32::from(self.serial) << 15 | waiters
    }

    fn freed(self, outcome: Outcome) -> Self {
        Self { owner: 0, outcome, is_awaited: false, ..self }
    }
}

#[derive(Debug)]
pub(super) struct Table {
    file: Opened,
    slot: u32,
    map: Map,
    generation: u64,
    /// Comes before the lock of the table: neither that nor the byte locks tell threads apart.
    turn: LocalLock,
}

impl Table {
    pub fn attach(directory: &Path, access: Access) -> Result<Self, AttachError> {
        let generation = fork::generation();
        let (opened, file, slot) = file::open_table(directory, access)?;
        let map = Map::new(&file, BYTES).map_err(|error| AttachError::io("map", &opened.path, error))?;
        let table = Self { file: opened, slot, map, generation, turn: LocalLock::new() };
        crash::point("lease table mapped");
        table.inherit();
        crash::point("lease slot inherited");
        Ok(table)
    }

    /// The last owner of this slot may have died with leases, or with the lock. The byte is ours, and so are they.
    fn inherit(&self) {
        if word::release(&self.map.half(LOCK), self.slot) == Released::Wake {
            self.map.half(LOCK).wake(1);
        }
        for place in 0..self.top() {
            let state = self.state(place);
            if state.owner == self.slot + 1 {
                self.free(place, state.serial, Outcome::Left);
            }
        }
    }

    pub fn is_stale(&self) -> bool {
        fork::generation() != self.generation
    }

    pub fn claim(&self, mark: u128) -> Claim {
        if !self.file.is_current(BYTES) {
            return Claim::Lost;
        }
        let Some(_locked) = self.lock() else { return Claim::Lost };
        crash::point("lease table locked");
        let mut room = None;
        for place in 0..self.top() {
            let state = self.state(place);
            if state.owner == 0 {
                room = room.or(Some(place));
            } else if self.mark(place) == mark {
                if !self.free_dead(place) {
                    return Claim::Theirs(Watch { place: place as u64, serial: state.serial });
                }
                room = Some(place);
                break;
            }
        }
        let place = room.or_else(|| self.grow()).or_else(|| (0..PLACES).find(|place| self.free_dead(*place)));
        if place.is_none() {
            let overflows = self.map.half(OVERFLOWS);
            overflows.store(overflows.load().saturating_add(1));
        }
        place.map_or(Claim::Full, |place| Claim::Ours(self.take(place, mark)))
    }

    /// With the lock: a free place becomes ours.
    fn take(&self, place: usize, mark: u128) -> Watch {
        self.set_mark(place, mark);
        crash::point("lease marked");
        (0..LINKS).for_each(|link| self.link_at(place, link).store(0));
        let serial = self.state(place).serial.wrapping_add(1);
        crash::point("lease unlinked");
        let taken = State { owner: self.slot + 1, outcome: Outcome::Left, serial, is_awaited: false };
        self.word(place).store(taken.word());
        crash::point("lease taken");
        Watch { place: place as u64, serial }
    }

    pub fn release(&self, lease: Watch, outcome: Outcome) {
        if let Some(place) = place_of(lease)
            && !self.is_stale()
            && self.state(place).owner == self.slot + 1
        {
            crash::point("lease about to end");
            self.free(place, lease.serial, outcome);
            crash::point("lease ended");
        }
    }

    /// Frees a word of a serial, and rings the bell for waiters. Only the owner may do so, or a process that holds its byte.
    fn free(&self, place: usize, serial: u16, outcome: Outcome) {
        let word = self.word(place);
        let mut seen = word.load();
        loop {
            let state = State::read(seen);
            if state.serial != serial || state.owner == 0 {
                return;
            }
            match word.replace(seen, state.freed(outcome).word()) {
                Ok(_) => {
                    crash::point("lease freed");
                    if state.is_awaited {
                        self.map.half(BELL).ring();
                    }
                    return;
                }
                Err(found) => seen = found,
            }
        }
    }

    pub fn outcome(&self, watch: Watch) -> Option<Outcome> {
        let Some(place) = place_of(watch).filter(|_| !self.is_stale()) else { return Some(Outcome::Left) };
        let word = self.word(place);
        let mut seen = word.load();
        loop {
            let state = State::read(seen);
            if state.serial != watch.serial {
                return Some(Outcome::Left);
            }
            if state.owner == 0 {
                return Some(state.outcome);
            }
            if state.is_awaited {
                return None;
            }
            match word.replace(seen, State { is_awaited: true, ..state }.word()) {
                Ok(_) => return None,
                Err(found) => seen = found,
            }
        }
    }

    pub fn probe(&self, watch: Watch) {
        let Some(place) = place_of(watch) else { return };
        let state = self.state(place);
        if state.owner == 0 || state.serial != watch.serial || self.lives(state.owner) {
            return;
        }
        if let Some(_locked) = self.lock() {
            self.free_dead(place);
        }
    }

    /// Whether another process holds the byte of a word's owner. Only looks.
    fn lives(&self, owner: u32) -> bool {
        owner == self.slot + 1
            || (owner <= SLOTS
                && self
                    .file
                    .descriptor
                    .borrow()
                    .and_then(|fd| ofd::held_elsewhere(fd, owner - 1, 1))
                    .unwrap_or(true))
    }

    pub fn bell(&self) -> u32 {
        self.map.half(BELL).load()
    }

    pub fn ring(&self) {
        self.map.half(BELL).ring();
    }

    pub fn sleep(&self, seen: u32, at_most: Duration) {
        self.map.half(BELL).sleep(seen, at_most);
    }

    pub fn overflows(&self) -> u64 {
        self.map.half(OVERFLOWS).load().into()
    }

    pub fn link(&self, links: impl FnOnce() -> Links) -> bool {
        let Some(_locked) = self.lock() else { return false };
        let Links { waits, goals } = links();
        let has_room = waits.iter().all(|(_, waits)| waits.len() <= LINKS);
        for (lease, waits) in &waits {
            let Some(place) = place_of(*lease) else { continue };
            let state = self.state(place);
            if state.serial != lease.serial || state.owner != self.slot + 1 {
                continue;
            }
            for link in 0..LINKS {
                self.link_at(place, link).store(waits.get(link).map_or(0, |wait| packed(*wait)));
            }
        }
        has_room && !goals.iter().any(|goal| self.returns(*goal))
    }

    /// Whether links lead from a lease back to it.
    fn returns(&self, goal: Watch) -> bool {
        let (mut seen, mut stack) = (vec![false; PLACES], vec![goal]);
        while let Some(watch) = stack.pop() {
            let Some(place) = place_of(watch).filter(|place| !seen[*place]) else { continue };
            let state = self.state(place);
            if state.owner == 0 || state.serial != watch.serial {
                continue;
            }
            seen[place] = true;
            let links = (0..LINKS).filter_map(|link| unpacked(self.link_at(place, link).load()));
            for link in links {
                if link == goal {
                    return true;
                }
                stack.push(link);
            }
        }
        false
    }

    /// With the lock: frees the place if its owner is dead.
    fn free_dead(&self, place: usize) -> bool {
        let state = self.state(place);
        if state.owner > SLOTS {
            // No process can have written this.
            self.free(place, state.serial, Outcome::Left);
            return true;
        }
        if state.owner == 0 || state.owner == self.slot + 1 {
            return state.owner == 0;
        }
        let is_dead = self.claim_byte(state.owner - 1);
        if is_dead {
            crash::point("lease owner found dead");
            self.free(place, state.serial, Outcome::Left);
            let _ = OwnerLocks::release(self, state.owner - 1);
        }
        is_dead
    }

    fn claim_byte(&self, slot: u32) -> bool {
        OwnerLocks::claim(self, slot).unwrap_or(false)
    }

    /// With the lock: one more place, if there is any.
    fn grow(&self) -> Option<usize> {
        let top = self.top();
        (top < PLACES).then(|| {
            self.map.half(TOP).store(u32::try_from(top + 1).unwrap_or(0));
            top
        })
    }

    fn lock(&self) -> Option<Locked<'_>> {
        let until = Instant::now() + PATIENCE;
        if self.is_stale() || !self.turn.lock_until(until) {
            return None;
        }
        let lock = self.map.half(LOCK);
        let mut slept = false;
        loop {
            if word::try_take(&lock, self.slot, slept)
                || matches!(word::take_over(&lock, self, self.slot, SLOTS), Ok(true))
            {
                return Some(Locked(self));
            }
            if Instant::now() >= until {
                self.turn.unlock();
                return None;
            }
            if let Some(seen) = word::announce(&lock) {
                slept = true;
                lock.sleep(seen, PAUSE);
            }
        }
    }

    fn top(&self) -> usize {
        (self.map.half(TOP).load() as usize).min(PLACES)
    }

    fn word(&self, place: usize) -> SharedWord<'_> {
        self.map.half(WORDS + place)
    }

    fn state(&self, place: usize) -> State {
        State::read(self.word(place).load())
    }

    fn link_at(&self, place: usize, link: usize) -> SharedWord<'_> {
        self.map.half(LINK + LINKS * place + link)
    }

    fn mark(&self, place: usize) -> u128 {
        let half = |at: usize| u128::from(self.map.words()[MARKS + 2 * place + at].load(Acquire));
        half(0) | half(1) << 64
    }

    #[expect(clippy::cast_possible_truncation, reason = "each half is stored")]
    fn set_mark(&self, place: usize, mark: u128) {
        self.map.words()[MARKS + 2 * place].store(mark as u64, Relaxed);
        self.map.words()[MARKS + 2 * place + 1].store((mark >> 64) as u64, Release);
    }
}

/// The lock of the table, held.
struct Locked<'a>(&'a Table);

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let lock = self.0.map.half(LOCK);
        if word::release(&lock, self.0.slot) == Released::Wake {
            lock.wake(1);
        }
        self.0.turn.unlock();
        crash::point("lease table unlocked");
    }
}

impl OwnerLocks for Table {
    fn claim(&self, slot: u32) -> io::Result<bool> {
        let granted = ofd::try_lock(self.file.descriptor.borrow()?, slot, LockKind::Exclusive)?;
        if granted && !self.file.descriptor.is_ours() {
            return Err(closed());
        }
        Ok(granted)
    }

    fn release(&self, slot: u32) -> io::Result<()> {
        ofd::unlock(self.file.descriptor.borrow()?, slot)
    }
}

fn place_of(watch: Watch) -> Option<usize> {
    usize::try_from(watch.place).ok().filter(|place| *place < PLACES)
}

/// A lease as a link; never 0.
fn packed(watch: Watch) -> u32 {
    1 << 31 | u32::from(watch.serial) << 12 | u32::try_from(watch.place & 0xFFF).unwrap_or(0)
}

fn unpacked(link: u32) -> Option<Watch> {
    (link != 0).then(|| Watch {
        place: (link & 0xFFF).into(),
        serial: u16::try_from(link >> 12 & 0xFFFF).unwrap_or(0),
    })
}

const _: () = {
    assert!(PLACES == 1 << 12 && BYTES.is_multiple_of(4096) && MARKS * 8 == (WORDS + PLACES) * 4);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_and_a_link_read_back() {
        for owner in [0, 1, SLOTS] {
            for outcome in [Outcome::Left, Outcome::Kept, Outcome::Unkept, Outcome::Failed] {
                for (serial, is_awaited) in [(0, false), (1, true), (u16::MAX, true)] {
                    let state = State { owner, outcome, serial, is_awaited };
                    assert_eq!(State::read(state.word()), state);
                    let watch = Watch { place: 4095, serial };
                    assert_eq!(unpacked(packed(watch)), Some(watch));
                }
            }
        }
        assert_eq!(unpacked(0), None);
    }
}
