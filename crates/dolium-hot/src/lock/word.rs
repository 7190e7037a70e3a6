//! The lock word and its rules.
//!
//! Owns every transition of the word: take, announce, take over, release. Refuses time, sleeping and files; those come
//! in through the two traits, so that a model checker can run exactly this code.
//!
//! The word is 0 when free. Bits 0 to 15 hold the owner's slot + 1, bit 31 says that a waiter may sleep on it, all
//! others are 0. A slot belongs to the process that holds the lock on its byte, hence the one rule behind everything
//! here: *only the holder of byte s changes more than bit 31 of a word that names slot s.*

#[cfg(test)]
mod model;

use std::io;

/// A waiter may sleep.
pub(crate) const WAITERS: u32 = 1 << 31;

/// The word in memory. Successful replacements order like an acquire and a release together, loads like an acquire.
pub(crate) trait Word {
    fn load(&self) -> u32;
    /// `Err` has what was found instead; it may not fail spuriously.
    fn replace(&self, expected: u32, new: u32) -> Result<u32, u32>;
}

/// The byte locks that tell the living from the dead.
pub(crate) trait OwnerLocks {
    /// Takes the byte of a slot, if it is free.
    fn claim(&self, slot: u32) -> io::Result<bool>;
    fn release(&self, slot: u32) -> io::Result<()>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Nobody,
    Slot(u32),
    /// No process can have written this.
    Garbage,
}

fn owner(word: u32, slots: u32) -> Owner {
    match word & !WAITERS {
        0 => Owner::Nobody,
        named if named <= slots => Owner::Slot(named - 1),
        _ => Owner::Garbage,
    }
}

/// Makes one attempt at a free word. A waiter that has slept keeps the waiter bit, since others may still sleep.
pub(crate) fn try_take(word: &impl Word, me: u32, slept: bool) -> bool {
    let seen = word.load();
    let waiters = if slept { WAITERS } else { seen & WAITERS };
    seen & !WAITERS == 0 && word.replace(seen, (me + 1) | waiters).is_ok()
}

/// Says that the caller is about to sleep. Returns the value to sleep on, or `None` if the caller must look again.
pub(crate) fn announce(word: &impl Word) -> Option<u32> {
    let seen = word.load();
    if seen & !WAITERS == 0 {
        return None;
    }
    if seen & WAITERS == 0 && word.replace(seen, seen | WAITERS).is_err() {
        return None;
    }
    Some(seen | WAITERS)
}

/// Takes the word over if its owner is dead: true is an acquisition.
///
/// The caller must be the only thread of its process that takes over: the byte locks do not tell threads apart.
pub(crate) fn take_over(
    word: &impl Word,
    owner_locks: &impl OwnerLocks,
    me: u32,
    slots: u32,
) -> io::Result<bool> {
    let seen = word.load();
    match owner(seen, slots) {
        Owner::Nobody => Ok(false),
        // Ours: no other thread of this process holds it (the local lock says so) and no other process can have this
        // slot. Garbage: there is no byte to hold, and only one of us can win the replacement.
        Owner::Garbage => Ok(word.replace(seen, (me + 1) | WAITERS).is_ok()),
        Owner::Slot(dead) if dead == me => Ok(replace_owner(word, dead, me)),
        Owner::Slot(dead) => {
            if !owner_locks.claim(dead)? {
                return Ok(false);
            }
            // It may have been released, and taken by others, before the byte was granted.
            let inherited = replace_owner(word, dead, me);
            owner_locks.release(dead)?;
            Ok(inherited)
        }
    }
}

/// With the byte of `dead` held, only bit 31 can change under us.
fn replace_owner(word: &impl Word, dead: u32, me: u32) -> bool {
    let mut seen = word.load();
    while seen & !WAITERS == dead + 1 {
        match word.replace(seen, (me + 1) | WAITERS) {
            Ok(_) => return true,
            Err(found) => seen = found,
        }
    }
    false
}

/// What releasing found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Released {
    /// Nobody to wake.
    Quietly,
    /// Wake one, or all.
    Wake,
    /// The word names another: it was taken from us, or never ours. Untouched.
    NotOurs,
}

/// Frees the word if it names `me`, whose byte the caller holds.
pub(crate) fn release(word: &impl Word, me: u32) -> Released {
    let mut seen = me + 1;
    loop {
        match word.replace(seen, 0) {
            Ok(_) if seen & WAITERS == 0 => return Released::Quietly,
            Ok(_) => return Released::Wake,
            Err(found) if found & !WAITERS == me + 1 => seen = found,
            Err(_) => return Released::NotOurs,
        }
    }
}

/// Whether the word names `me`.
pub(crate) fn names(word: &impl Word, me: u32) -> bool {
    word.load() & !WAITERS == me + 1
}

pub(crate) fn is_free(word: &impl Word) -> bool {
    word.load() & !WAITERS == 0
}
