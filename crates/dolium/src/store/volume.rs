//! What a process knows of a cache's volume: what its last commit left in use, up to where it need not look at the limit
//! again, and what it has evicted and refused.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::system::clock::Timestamp;

/// What is counted here is of this process alone.
#[derive(Debug, Default)]
pub(crate) struct Volume {
    evicted: AtomicU64,
    refused: AtomicU64,
    /// Bytes that the last commit of this process left in use.
    used: AtomicU64,
    /// Up to so many bytes in use, the limit is not exceeded for certain.
    mark: AtomicU64,
    /// Bytes of value files that the tier names and the database may not know.
    filed: AtomicU64,
    /// Little is left of the limit.
    is_tight: AtomicBool,
    /// More is in use than may be, and the housekeeper evicts it.
    is_excessive: AtomicBool,
    /// The bits of the latest time that a write of this process had.
    now: AtomicU64,
}

impl Volume {
    /// Bytes that the last commit of this process left in use.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// A commit leaves so many bytes in use, value files included.
    pub fn set_used(&self, bytes: u64) {
        self.used.store(bytes, Relaxed);
        self.filed.store(0, Relaxed);
    }

    /// The tier names a new value file of so many bytes. Returns how many are in files that the database may not know.
    pub fn add_filed(&self, bytes: u64) -> u64 {
        self.filed.fetch_add(bytes, Relaxed) + bytes
    }

    /// Whether the limit may be exceeded.
    #[inline]
    pub fn is_past_mark(&self) -> bool {
        self.used() > self.mark.load(Relaxed)
    }

    /// Up to so many bytes in use, the limit need not be looked at.
    pub fn set_mark(&self, bytes: u64) {
        self.mark.store(bytes, Relaxed);
    }

    /// The next commit looks at the limit.
    pub fn measure_again(&self) {
        self.set_mark(0);
    }

    /// Says whether little is left of the limit.
    pub fn set_tight(&self, is_tight: bool) {
        self.is_tight.store(is_tight, Relaxed);
    }

    /// Whether little was left of the limit at the last look.
    pub fn is_tight(&self) -> bool {
        self.is_tight.load(Relaxed)
    }

    /// Says whether the housekeeper has to evict.
    pub fn set_excessive(&self, is_excessive: bool) {
        self.is_excessive.store(is_excessive, Relaxed);
    }

    /// Whether the housekeeper has to evict.
    pub fn is_excessive(&self) -> bool {
        self.is_excessive.load(Relaxed)
    }

    /// A write has this time.
    pub fn note_time(&self, now: Timestamp) {
        self.now.store(now.to_bits(), Relaxed);
    }

    /// The time of the last write, which is what its clock says: that of a test may stand still. 0 before the first.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_bits(self.now.load(Relaxed))
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
