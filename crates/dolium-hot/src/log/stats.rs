//! Owns what a process that can see the memory of a tier can tell of it as a whole.

use std::sync::atomic::Ordering::{Acquire, Relaxed};

use super::atomic::Atomic;
use super::counters::Counter;
use super::memory::Memory;
use crate::layout::geometry::{LINE, SizeReason};
use crate::layout::header::field;

/// A tier at a moment. Its parts are read one after the other, while others write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TierStats {
    /// Bytes of the log.
    pub capacity: u64,
    /// Bytes of the log that wait to be drained.
    pub dirty_bytes: u64,
    /// How many keys the index names.
    pub keys: u64,
    /// Why the log has its size.
    pub sized: SizeReason,
    counts: [u64; LINE],
}

impl TierStats {
    /// What all processes together have counted since the tier was made.
    #[must_use]
    pub fn counted(&self, counter: Counter) -> u64 {
        self.counts[counter as usize]
    }

    /// Both together, as for the shards of one cache.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            capacity: self.capacity + other.capacity,
            dirty_bytes: self.dirty_bytes + other.dirty_bytes,
            keys: self.keys + other.keys,
            // That of the larger one, which is what is asked about.
            sized: if self.capacity >= other.capacity { self.sized } else { other.sized },
            counts: std::array::from_fn(|at| self.counts[at].wrapping_add(other.counts[at])),
        }
    }
}

impl<A: Atomic> Memory<'_, A> {
    pub fn stats(&self) -> TierStats {
        let tail = self.field(field::TAIL).load(Acquire).max(1);
        let names_key = |slot: &usize| Self::offset_of(self.slot(*slot).load(Relaxed)) >= tail;
        TierStats {
            capacity: self.geometry.log_bytes(),
            dirty_bytes: self.dirty_bytes(),
            keys: (0..self.geometry.slots()).filter(names_key).count() as u64,
            sized: self.sized(),
            counts: std::array::from_fn(|counter| self.sum(counter)),
        }
    }

    /// Bytes of log that wait to be drained.
    pub fn dirty_bytes(&self) -> u64 {
        let drained = self.field(field::DRAINED).load(Acquire);
        if self.is_dirty() { 16 * self.field(field::HEAD).load(Acquire).saturating_sub(drained) } else { 0 }
    }
}
