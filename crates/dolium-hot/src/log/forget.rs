//! Owns dropping what is clean from the index: before a commit that would make it wrong.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::atomic::Atomic;
use super::memory::Memory;
use super::record::Key;
use super::scratch::Scratch;
use crate::layout::header::field;

impl<A: Atomic> Memory<'_, A> {
    /// Forgets a key, unless its newest record is dirty, which is `false`. The caller holds the append lock.
    pub fn drop_key(&self, kind: u8, bytes: &[u8], scratch: &mut Scratch) -> bool {
        let hash = self.hash(kind, bytes);
        let Some((place, view)) = self.find(Key { kind, spelling: 0, bytes }, hash, scratch) else {
            return true;
        };
        let is_clean = view.kind().is_fill()
            || place.offset < self.field(field::DRAINED).load(Acquire)
            || !self.is_dirty();
        if is_clean {
            self.slot(place.slot).store(0, Release);
        }
        is_clean
    }

    /// Forgets everything that is clean. The caller holds the writer lock, so that `drained` stays but for what is
    /// clean anyway; the append lock is not needed. Fills that were read before are refused from now on, or dropped
    /// here.
    pub fn drop_clean(&self, scratch: &mut Scratch) {
        self.count_addition();
        self.field(field::COMMITS).fetch_add(1, Release);
        let Some(bounds) = self.bounds() else {
            self.retire();
            return;
        };
        self.field(field::TAIL).fetch_max(bounds.drained, Release);
        let mut at = bounds.drained;
        while let Some((view, next)) = self.next(at, bounds.head, scratch) {
            if let Some(view) = view.filter(|view| view.kind().is_fill()) {
                let key = view.key();
                let first = self.bucket(self.hash(key.kind, key.bytes));
                for slot in (first..first + crate::layout::geometry::BUCKET).map(|slot| self.slot(slot)) {
                    let word = slot.load(Relaxed);
                    // The owner of the append lock may be giving the slot away: then the slot stays as that owner wants
                    // it.
                    if Self::offset_of(word) == at {
                        slot.replace(word, 0, Release);
                    }
                }
            }
            at = next;
        }
    }

    /// Notes for all processes that another program changes rows of the database.
    pub fn note_foreign(&self) {
        self.field(field::FOREIGN).store(1, Release);
    }

    /// Whether a process has noted that.
    pub fn has_foreign(&self) -> bool {
        self.field(field::FOREIGN).load(Acquire) != 0
    }

    /// Whether there are records that the database has not.
    pub fn is_dirty(&self) -> bool {
        self.field(field::LAST).load(Acquire) != self.field(field::APPLIED).load(Acquire)
    }
}
