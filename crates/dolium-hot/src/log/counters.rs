//! Owns what is counted: every process adds to a line of its own, and any process may add the lines up. They outlive
//! their processes, so that sums never fall. Two processes may come to share a line, hence atomic additions.

use std::sync::atomic::Ordering::Relaxed;

use super::atomic::Atomic;
use super::memory::Memory;
use crate::layout::geometry::{Geometry, LINE, LINES};

/// Something that is counted since the tier was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Counter {
    /// Lookups that found something, wherever.
    Hits,
    /// Lookups that did not.
    Misses,
    /// Entries stored through the tier.
    Sets,
    /// Entries removed through the tier.
    Deletes,
    /// Rows of the database that came into the tier.
    Fills,
    /// Commits that took records to the database.
    Drains,
    /// Records that they took.
    Drained,
    /// How long they took, in microseconds.
    DrainTime,
    /// Times that a writer found the log full and drained first.
    Forced,
    /// Transactions that wrote to the database directly.
    Direct,
    /// Entries removed to keep within the limit, expired ones first.
    Evictions,
    /// Entries that had expired and were removed.
    Expirations,
    /// Records that the database refused, and that are lost.
    Refused,
    /// Of the hits, those that the database counts as well, or that were struck off.
    SettledHits,
    /// Of the misses, the same.
    SettledMisses,
    /// Of the fills, those of keys that the tier had let go of: an estimate.
    Returns,
}

impl Counter {
    /// All that users are told.
    pub const ALL: [Self; 14] = [
        Self::Hits,
        Self::Misses,
        Self::Sets,
        Self::Deletes,
        Self::Fills,
        Self::Returns,
        Self::Drains,
        Self::Drained,
        Self::DrainTime,
        Self::Forced,
        Self::Direct,
        Self::Evictions,
        Self::Expirations,
        Self::Refused,
    ];

    /// Its name for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hits => "hits",
            Self::Misses => "misses",
            Self::Sets => "sets",
            Self::Deletes => "deletes",
            Self::Fills => "fills",
            Self::Drains => "drains",
            Self::Drained => "drained",
            Self::DrainTime => "drain_time",
            Self::Forced => "forced",
            Self::Direct => "direct",
            Self::Evictions => "evictions",
            Self::Expirations => "expirations",
            Self::Refused => "refused",
            Self::SettledHits => "settled_hits",
            Self::SettledMisses => "settled_misses",
            Self::Returns => "returns",
        }
    }
}

impl<A: Atomic> Memory<'_, A> {
    /// Adds to the line of a process.
    pub fn count(&self, line: u32, counter: Counter, by: u64) {
        let at = Geometry::COUNTERS + line as usize % LINES * LINE + counter as usize;
        self.field(at).fetch_add(by, Relaxed);
    }

    /// Sets all to 0.
    pub fn reset_counters(&self) {
        for at in Geometry::COUNTERS..Geometry::INDEX {
            self.field(at).store(0, Relaxed);
        }
    }

    /// The sum over all lines.
    pub fn counted(&self, counter: Counter) -> u64 {
        self.sum(counter as usize)
    }

    /// Adds up the counter with this place in each line.
    pub fn sum(&self, counter: usize) -> u64 {
        let lines = (0..LINES).map(|line| Geometry::COUNTERS + line * LINE + counter);
        lines.fold(0, |sum, at| sum.wrapping_add(self.field(at).load(Relaxed)))
    }

    /// Hits and misses that only the tier counts.
    pub fn lookups(&self) -> (u64, u64) {
        // What is settled was counted before: read first, it is never more.
        let settled = [Counter::SettledHits, Counter::SettledMisses].map(|counter| self.counted(counter));
        let [hits, misses] = [Counter::Hits, Counter::Misses].map(|counter| self.counted(counter));
        (hits.saturating_sub(settled[0]), misses.saturating_sub(settled[1]))
    }
}

const _: () = assert!((Counter::SettledMisses as usize) < LINE);
