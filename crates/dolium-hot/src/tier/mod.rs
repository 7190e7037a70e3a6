//! A process's membership in the hot tier of a directory: joining, the locks, reading, writing, leaving.
//!
//! [`Tier`] is the way in for every reader and writer, [`Writing`] for the one that holds the append lock.

pub(crate) mod attach;
mod backing;
mod carried;
mod make;
pub(crate) mod member;
mod observe;
mod prefault;
mod state;
mod successor;
mod writing;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::Duration;

use crate::layout::geometry::Geometry;
use crate::layout::header::field;
use crate::lock::guard::{Release, Which};
use crate::lock::wait::Acquired;
use crate::log::counters::Counter;
use crate::log::crash;
use crate::log::drain::{Batch, Limit};
use crate::log::memory::Memory;
use crate::log::record::{Key, PendingRecord, View};
use crate::log::scratch::Scratch;
use crate::system::error::LockError;
use member::{Lock, Member};

pub use backing::{BackingStore, Records};
pub use observe::Observer;
pub(crate) use prefault::Prefault;
pub use successor::Successor;
pub use writing::Writing;

/// The hot tier of a directory. Clones are the same membership.
#[derive(Clone, Debug)]
pub struct Tier {
    member: Arc<Member>,
    geometry: Geometry,
}

/// Where a read may note that it happened: a word that belongs to the key's slot. A late note credits another key at
/// worst.
#[derive(Clone, Copy, Debug)]
pub struct AccessWord<'t>(&'t AtomicU64);

impl AccessWord<'_> {
    /// What was noted last, 0 since the key was written.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Notes something else.
    pub fn set(&self, note: u64) {
        self.0.store(note, Relaxed);
    }
}

/// What became of a tier whose last member leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It is as it was.
    No,
    /// Its file stays for the next process.
    Resting,
    /// Its file is of no use any more.
    Gone,
}

/// What the last owner of the append lock may have left in the database when it died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abandoned {
    /// Nothing that a reader of the database does not see.
    Nothing,
    /// A commit that a recovery of the database may find later, although no reader sees it now.
    Commit,
}

/// A moment in which no process was changing the tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    last: u64,
    commits: u64,
}

impl Moment {
    /// What [`Tier::last`] was.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// What [`Tier::commits`] was.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.commits
    }
}

impl Tier {
    pub(crate) fn of(member: &Arc<Member>) -> Option<Self> {
        let geometry = member.header().geometry?;
        assert!(
            8 * member.words().len() as u64 >= geometry.file_len(),
            "a mapping shorter than its header says"
        );
        Some(Self { member: Arc::clone(member), geometry })
    }

    #[inline]
    fn memory(&self) -> Memory<'_> {
        Memory::new(self.member.words(), self.geometry, self.member.header().epoch)
    }

    /// Names this epoch of the tier.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.member.header().epoch
    }

    /// Whether it may be used: not in a forked child, and not once the database was replaced. Two loads.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !self.is_inherited() && self.memory().is_live()
    }

    /// Whether this is a forked child, and the tier its parent's.
    #[must_use]
    #[inline]
    pub fn is_inherited(&self) -> bool {
        self.member.is_stale()
    }

    /// Whether other processes still see that this one lives. A program that closes all descriptors gives that up, and its
    /// locks with it. One system call.
    #[must_use]
    pub fn is_seen(&self) -> bool {
        self.member.is_seen()
    }

    /// Calls `f` with the newest record of a key: the truth about the key, be it a row or its removal. Returns `None`
    /// if the caller must ask the database, in a transaction begun after this call.
    #[inline]
    pub fn get<T>(&self, key: Key<'_>, f: impl FnOnce(View<'_>, AccessWord<'_>) -> T) -> Option<T> {
        let memory = self.memory();
        if !memory.is_settled() {
            return self.get_beside(key, f);
        }
        let mut scratch = Scratch::new();
        let (place, view) = memory.find(key, memory.hash(key.kind, key.bytes), &mut scratch)?;
        // The state, too, after the copy.
        if !memory.is_settled() {
            return self.get_beside(key, f);
        }
        Some(f(view, AccessWord(memory.access(place.slot))))
    }

    /// The same, while a chunk may be being published.
    #[cold]
    #[inline(never)]
    fn get_beside<T>(&self, key: Key<'_>, f: impl FnOnce(View<'_>, AccessWord<'_>) -> T) -> Option<T> {
        let memory = self.memory();
        let mut scratch = Scratch::new();
        let place = memory.find_beside(key, memory.hash(key.kind, key.bytes), &mut scratch)?;
        Some(f(View::verified(scratch.words()), AccessWord(memory.access(place.slot))))
    }

    /// A hash of a key. Keys that two processes take for the same one have the same hash, until the epoch ends.
    #[must_use]
    pub fn hash(&self, key: Key<'_>) -> u64 {
        self.memory().hash(key.kind, key.bytes)
    }

    /// Shows `f` the changes in the log from an offset on, oldest first and without fills, and returns where the log
    /// ends. Takes no lock; the holder of the append lock sees all changes. Returns `None` if the log has lost some of
    /// them, or has more than `most` bytes of them; then what `f` was shown does not count.
    pub fn follow(&self, from: u64, most: u64, f: impl FnMut(View<'_>)) -> Option<u64> {
        self.memory().follow(from, most / 16, &mut Scratch::new(), f)
    }

    /// Takes the append lock. If the last owner has died, `applied` is asked for the sequence number that the database has
    /// applied. Where that owner may have left a commit, `applied` must first see to it that this commit is there or never
    /// comes. `None`: the database does not answer, which leaves the recovery to the next owner.
    pub fn lock(
        &self,
        timeout: Option<Duration>,
        tick: &mut dyn FnMut() -> bool,
        applied: &mut dyn FnMut(Abandoned) -> Option<u64>,
    ) -> Result<Writing, LockError> {
        let guard = Lock::of(&self.member, Which::Tier).acquire(timeout, tick)?;
        if guard.acquired() == Acquired::Inherited {
            self.member.must_recover();
        }
        let memory = self.memory();
        if memory.field(field::UNRECOVERED).load(Relaxed) != 0 && memory.is_live() {
            let abandoned = if memory.is_announced() { Abandoned::Commit } else { Abandoned::Nothing };
            let Some(applied) = applied(abandoned) else {
                return Err(std::io::Error::other(
                    "the database does not answer, so the tier cannot be recovered",
                )
                .into());
            };
            self.recover(applied);
        }
        if !memory.is_live() || memory.bounds().is_none() {
            memory.retire();
            return Err(std::io::Error::other("the tier is not in use any more").into());
        }
        Ok(Writing { tier: self.clone(), _guard: guard })
    }

    #[cold]
    fn recover(&self, applied: u64) {
        let memory = self.memory();
        if !memory.recover(applied, &mut Scratch::new()) {
            memory.retire();
        }
        memory.field(field::UNRECOVERED).store(0, Relaxed);
    }

    /// Does what can be done for records before the append lock is taken, so that the append lock is held for less.
    pub fn prepare(&self, records: &mut [PendingRecord]) {
        let memory = self.memory();
        for record in records {
            memory.prepare(record);
        }
    }

    /// Takes the append lock if it is free and there is nothing to recover.
    #[must_use]
    pub fn try_lock(&self) -> Option<Writing> {
        let guard = Lock::try_take(&self.member, Which::Tier)?;
        self.memory().is_sound().then(|| Writing { tier: self.clone(), _guard: guard })
    }

    /// Appends a record if the append lock is free, there is nothing to recover, and the log has space: as
    /// [`try_lock`](Self::try_lock) and [`Writing::append`], for less.
    #[inline]
    pub fn try_append(&self, record: &mut PendingRecord) -> bool {
        self.try_with_t(|memory| memory.append(record).is_ok())
    }

    /// Appends a record in the same way if the one at an offset still is the newest of the key.
    #[inline]
    pub fn try_append_over(&self, record: &mut PendingRecord, offset: u64) -> bool {
        self.try_with_t(|memory| memory.append_over(record, offset) == Ok(true))
    }

    /// Appends records in the same way, as [`Writing::append_all`].
    pub fn try_append_all(&self, records: &mut [PendingRecord]) -> bool {
        self.try_with_t(|memory| memory.append_all(records, &mut Scratch::new()).is_ok())
    }

    /// Appends records in the same way if the ones at the offsets still are the newest of their keys. Each offset comes once.
    pub fn try_append_all_over(&self, records: &mut [PendingRecord], offsets: &[u64]) -> bool {
        debug_assert_eq!(records.len(), offsets.len(), "each record replaces one");
        self.try_with_t(|memory| memory.append_all_over(records, offsets) == Ok(true))
    }

    /// Appends a record that repeats the database in the same way, if the index does not know its key, and nothing was
    /// committed since [`commits`](Self::commits) was this, which was before the row was read. Returns whether it did.
    pub fn try_fill(&self, record: &mut PendingRecord, commits: u64) -> bool {
        let is_filled = self.try_with_t(|memory| {
            memory.commits() == commits && !memory.knows(record) && memory.append(record).is_ok()
        });
        if is_filled {
            self.count(Counter::Fills, 1);
        }
        is_filled
    }

    /// Whether the index names a record of the same key.
    pub fn knows(&self, record: &mut PendingRecord) -> bool {
        self.memory().knows(record)
    }

    #[inline]
    fn try_with_t(&self, append: impl FnOnce(Memory<'_>) -> bool) -> bool {
        if !self.member.try_take(Which::Tier) {
            return false;
        }
        let _hold = Hold(&self.member);
        let memory = self.memory();
        memory.is_sound() && append(memory)
    }

    /// The records above sequence number `applied`, which the database has applied in this epoch, from the oldest on.
    /// The caller holds the writer lock.
    #[must_use]
    pub fn pending(&self, applied: u64, limit: Limit) -> Batch {
        self.memory().pending(applied, limit, &mut Scratch::new())
    }

    /// The database has taken a batch, sequence number and all. The caller holds the writer lock and has committed.
    pub fn drained(&self, batch: &Batch) {
        self.memory().drained(batch.end(), batch.seq());
    }

    /// Makes the index forget all clean records, before a commit that makes them wrong. The caller holds the writer
    /// lock.
    pub fn forget_clean(&self) {
        self.memory().drop_clean(&mut Scratch::new());
    }

    /// Notes for all processes, as long as this tier exists, that another program changes rows of the database.
    pub fn note_foreign(&self) {
        self.memory().note_foreign();
    }

    /// Whether a process has noted that. Costs one load.
    #[must_use]
    pub fn has_foreign(&self) -> bool {
        self.memory().has_foreign()
    }

    /// Ends the tier, because the database is being replaced: no process may use it any more. The caller holds the
    /// writer lock.
    pub fn retire(&self) {
        self.memory().retire();
    }

    /// As the last member: lets the tier rest, unless something is dirty or another thread has the append lock. `clear`
    /// says in the database that no tier is in use, and vouches for this one, given its epoch and sequence number
    /// if it is worth its place on the disk. If `clear` vouches for nothing, which is `false`, the tier ends.
    pub(crate) fn end<E>(
        &self,
        clear: impl FnOnce(Option<(u64, u64)>) -> Result<bool, E>,
    ) -> Result<Ended, E> {
        let Some(_writing) = self.try_lock() else {
            return Ok(Ended::No);
        };
        if self.is_dirty() || !self.memory().is_live() {
            return Ok(Ended::No);
        }
        let rest = self.memory().is_worth_resting().then(|| (self.epoch(), self.last()));
        if clear(rest)? {
            crash::point("cleared");
            self.memory().rest();
            crash::point("resting");
            self.give_back_unused();
            return Ok(Ended::Resting);
        }
        self.retire();
        Ok(Ended::Gone)
    }

    /// Gives the blocks of a resting tier that hold nothing back to the file system: of the counters, the access words, and
    /// the part of the log that no record has reached. A process that wakes the tier reserves them again.
    fn give_back_unused(&self) {
        let geometry = self.geometry;
        let written = self.head().saturating_sub(geometry.units).min(geometry.units);
        let word = |unit| geometry.log() + Memory::<AtomicU64>::word_of(unit);
        self.member.discard(Geometry::COUNTERS..Geometry::INDEX);
        self.member.discard(geometry.access()..geometry.log());
        self.member.discard(word(written)..word(geometry.units));
    }

    /// Gives the blocks of the log back to the file system. The tier is not in use any more.
    fn give_back_log(&self) {
        let log = self.geometry.log();
        self.member.discard(log..log + Memory::<AtomicU64>::word_of(self.geometry.units));
    }

    /// Has the kernel take back the memory of this process that maps the tier. What is touched again is mapped again.
    pub fn release_pages(&self) {
        self.member.forget_pages();
    }

    /// Calls `f` with each key that the index knows and what was noted of its reads, if anything was, and forgets it.
    pub fn take_accesses(&self, mut f: impl FnMut(View<'_>, u64)) {
        let memory = self.memory();
        let mut scratch = Scratch::new();
        for slot in 0..self.geometry.slots() {
            if memory.access(slot).load(Relaxed) == 0 {
                continue;
            }
            let note = memory.access(slot).swap(0, Relaxed);
            let offset = Memory::<AtomicU64>::offset_of(memory.slot(slot).load(Acquire));
            if let Some(view) = memory.copy(offset, &mut scratch) {
                f(view, note);
            }
        }
    }
}

/// The append lock for one append: nothing in it waits or forks.
struct Hold<'t>(&'t Member);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.must_recover();
        }
        self.0.release(Which::Tier);
    }
}
