//! What a process knows of a cache's volume: when to measure it again, and what it has evicted and refused.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

/// What is counted here is of this process alone.
#[derive(Debug, Default)]
pub(crate) struct Volume {
    evicted: AtomicU64,
    refused: AtomicU64,
    /// Bytes that may be written before the process measures the volume again.
    budget: AtomicI64,
    /// Value files may wait in the hot tier whose sizes the database does not know yet.
    files_wait: AtomicBool,
}

impl Volume {
    /// Bytes that may be written before the process measures the volume again.
    #[inline]
    pub fn budget(&self) -> i64 {
        self.budget.load(Relaxed)
    }

    /// Takes the bytes of a write out of the budget. Returns what it was before.
    #[inline]
    pub fn spend(&self, bytes: i64) -> i64 {
        self.budget.fetch_sub(bytes, Relaxed)
    }

    /// So much may be written now.
    pub fn set_budget(&self, bytes: i64) {
        self.budget.store(bytes, Relaxed);
    }

    /// The next write measures the volume.
    pub fn measure_again(&self) {
        self.set_budget(0);
    }

    /// A record that names a value file waits in the hot tier.
    pub fn expect_file(&self) {
        self.files_wait.store(true, Relaxed);
    }

    /// The volume is measured now, value files included.
    pub fn expect_no_file(&self) {
        self.files_wait.store(false, Relaxed);
    }

    /// Whether value files may wait in the hot tier.
    pub fn expects_files(&self) -> bool {
        self.files_wait.load(Relaxed)
    }

    /// Counts entries that were evicted.
    pub fn count_evicted(&self, entries: u64) {
        self.evicted.fetch_add(entries, Relaxed);
    }

    /// Counts a value that was refused.
    pub fn count_refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// Entries that were evicted, and values that were refused.
    pub fn counted(&self) -> (u64, u64) {
        (self.evicted.load(Relaxed), self.refused.load(Relaxed))
    }
}
