//! The reads of one process that neither a hot tier nor the database counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Hits and misses of this process, for as long as it runs.
#[derive(Debug, Default)]
pub(crate) struct Lookups {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Lookups {
    /// Counts lookups, of which so many found something.
    pub fn count(&self, lookups: usize, hits: usize) {
        self.hits.fetch_add(hits as u64, Relaxed);
        self.misses.fetch_add((lookups - hits) as u64, Relaxed);
    }

    /// Hits and misses, which are counted elsewhere from now on.
    pub fn take(&self) -> (u64, u64) {
        if self.counted() == (0, 0) {
            (0, 0)
        } else {
            (self.hits.swap(0, Relaxed), self.misses.swap(0, Relaxed))
        }
    }

    /// Hits and misses.
    pub fn counted(&self) -> (u64, u64) {
        (self.hits.load(Relaxed), self.misses.load(Relaxed))
    }

    pub fn forget_hits(&self) {
        self.hits.store(0, Relaxed);
    }

    pub fn forget_misses(&self) {
        self.misses.store(0, Relaxed);
    }

    /// In a forked child the reads are the parent's.
    pub fn reset(&self) {
        self.forget_hits();
        self.forget_misses();
    }
}
