//! What the owner of the append lock may do.

use super::Tier;
use crate::layout::geometry::SizeReason;
use crate::lock::guard::Guard;
use crate::log::counters::Counter;
use crate::log::record::{Key, PendingRecord, View};
use crate::log::scratch::Scratch;
use crate::log::write::LogFull;

/// The right to write the tier: the append lock, until this is dropped. If a panic drops it, the next owner recovers.
#[derive(Debug)]
#[must_use = "the append lock is released when this is dropped"]
pub struct Writing {
    pub(super) tier: Tier,
    pub(super) _guard: Guard,
}

impl Writing {
    /// Does the same as [`Tier::get`]. The answer cannot change as long as the append lock is held.
    pub fn get<T>(&self, key: Key<'_>, f: impl FnOnce(View<'_>) -> T) -> Option<T> {
        self.tier.get(key, |view, _| f(view))
    }

    /// Whether the newest record of a key is the one at an offset, which the caller has copied. The answer cannot change
    /// as long as the append lock is held.
    #[must_use]
    pub fn is_newest(&self, key: Key<'_>, offset: u64) -> bool {
        let memory = self.tier.memory();
        memory.slot_naming(memory.hash(key.kind, key.bytes), offset).is_some()
    }

    /// The tier.
    #[must_use]
    pub fn tier(&self) -> &Tier {
        &self.tier
    }

    /// Whether the tier is still in use: it may have been retired before the append lock was taken.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.tier.is_live()
    }

    /// As [`Tier::retire`].
    pub fn retire(&mut self) {
        self.tier.retire();
    }

    /// Ends the tier in favour of one whose log has about `bytes` bytes, which takes along what is clean. The caller holds the
    /// writer lock, too, and has drained all.
    pub fn outgrow(&mut self, bytes: u64, why: SizeReason) {
        debug_assert!(!self.tier.is_dirty(), "a tier grows after draining");
        self.tier.memory().outgrow(bytes, why);
        if why == SizeReason::Disk {
            // Other processes may have it mapped for long. None writes to the log of a tier that is not in use.
            self.tier.give_back_log();
        }
    }

    /// As [`Tier::count`].
    pub fn count(&self, counter: Counter, by: u64) {
        self.tier.count(counter, by);
    }

    /// The tier's epoch.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.tier.epoch()
    }

    /// Makes the index forget everything that is clean, before a direct commit. The caller holds the writer lock, too.
    pub fn forget_clean(&mut self) {
        // Else fills above `drained` would need to be named one by one.
        self.tier.memory().settle();
        self.tier.forget_clean();
    }

    /// As [`Tier::note_foreign`].
    pub fn note_foreign(&mut self) {
        self.tier.note_foreign();
    }

    /// Appends a record.
    pub fn append(&mut self, record: &mut PendingRecord) -> Result<(), LogFull> {
        self.tier.memory().append(record)
    }

    /// Appends a record if the one at an offset, which the caller has copied, still is the newest of the key. `false`:
    /// it is not.
    pub fn append_over(&mut self, record: &mut PendingRecord, offset: u64) -> Result<bool, LogFull> {
        self.tier.memory().append_over(record, offset)
    }

    /// Appends records so that readers see all of them or none, and either all survive a crash or none.
    pub fn append_all(&mut self, records: &mut [PendingRecord]) -> Result<(), LogFull> {
        self.tier.memory().append_all(records, &mut Scratch::new())
    }

    /// Returns the sequence number that a direct write must store as the one applied. After it comes
    /// [`committed`](Self::committed) or [`rolled_back`](Self::rolled_back). With neither, the outcome is unknown, and
    /// the next owner of the append lock recovers. `adds`: whether the write may add rows.
    #[must_use]
    pub fn next_seq(&self, adds: bool) -> u64 {
        let memory = self.tier.memory();
        let seq = memory.announce();
        if adds {
            memory.count_addition();
        }
        seq
    }

    /// Takes back the announced sequence number, after a direct commit that was rolled back for certain.
    pub fn rolled_back(&mut self) {
        self.tier.memory().renounce();
    }

    /// Makes the index forget a key, of which nothing is dirty, before a direct commit.
    pub fn forget(&mut self, key: Key<'_>) {
        let is_clean = self.evict(key);
        debug_assert!(is_clean, "a direct commit comes after draining");
    }

    /// Makes the index forget a key, before a commit that removes a row which may be older than what the tier has.
    /// Returns `false` if the newest record of the key is dirty, and the row must stay.
    pub fn evict(&mut self, key: Key<'_>) -> bool {
        self.tier.memory().drop_key(key.kind, key.bytes, &mut Scratch::new())
    }

    /// Commits a change of rows that the index has forgotten, without a sequence number, and counts it. Meanwhile no reader
    /// takes what it finds for one moment. If the commit fails its outcome is unknown, and the next owner of the append lock
    /// recovers.
    pub fn commit_beside<T, E>(&mut self, commit: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let memory = self.tier.memory();
        memory.announce();
        memory.count_addition();
        let committed = commit();
        memory.committed_beside();
        if committed.is_ok() {
            memory.renounce();
        }
        committed
    }

    /// Counts a direct commit with [`next_seq`](Self::next_seq), after it has succeeded. The caller holds the writer
    /// lock, too.
    pub fn committed(&mut self) {
        self.tier.memory().committed();
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // In a forked child the append lock is the parent's.
        if !self.tier.member.is_stale() && (std::thread::panicking() || self.tier.memory().is_announced()) {
            self.tier.member.must_recover();
        }
    }
}
