//! Owns what is counted: every process adds to a line of its own, and anybody may add the lines up. They outlive their
//! processes, so that sums never fall; two processes may come to share a line, hence atomic additions.

use std::sync::atomic::Ordering::Relaxed;

use super::atomic::Atomic;
use super::memory::Memory;
use crate::layout::shape::{LINE, LINES, Shape};

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
    /// Times that a writer found no room and drained first.
    Forced,
    /// Transactions that wrote to the database directly.
    Direct,
    /// Entries removed to keep within the limit, expired ones first.
    Evictions,
    /// Entries that had expired and were removed.
    Expirations,
    /// Records that the database refused, and that are lost.
    Refused,
}

impl Counter {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Hits,
        Self::Misses,
        Self::Sets,
        Self::Deletes,
        Self::Fills,
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
        }
    }
}

impl<A: Atomic> Memory<'_, A> {
    /// Adds to the line of a process.
    pub fn count(&self, line: u32, counter: Counter, by: u64) {
        let at = Shape::COUNTERS + line as usize % LINES * LINE + counter as usize;
        self.field(at).fetch_add(by, Relaxed);
    }

    /// The sum over all lines.
    pub fn counted(&self, counter: Counter) -> u64 {
        let lines = (0..LINES).map(|line| Shape::COUNTERS + line * LINE + counter as usize);
        lines.fold(0, |sum, at| sum.wrapping_add(self.field(at).load(Relaxed)))
    }
}

const _: () = assert!(Counter::ALL.len() <= LINE);
