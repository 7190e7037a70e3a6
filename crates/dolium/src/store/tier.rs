//! Owns the hot tier's part in a handle: attaching with what the database says, who may use it, and leaving.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dolium_hot::{Abandoned, Counter, Observer, Tier, Writing};

use crate::sqlite::Connection;
use crate::sqlite::files::with_suffix;
use crate::sqlite::tier::{Applied, applied};
use crate::store::ends::KnownQueues;
use crate::store::housekeeper;
use crate::store::lock::{Hot, WriterLock, to_prepare};
use crate::system::clock::Timestamp;
use crate::system::error::{self, Error, Result};
use crate::system::files;
use crate::system::fork_gate;
use crate::system::wait::{Deadline, Wait, may_continue};
use crate::value::eviction_policy::{self, ReadNotes};
use crate::value::key::Key;

use super::Handle;
use super::drain::DRAIN;

/// Bytes from which on no value waits in the tier for its file: to copy it twice costs as much as to make the file.
const WAITING: usize = (64 << 10) + 1;

/// What part of the longest record of the tier such a value may be.
const LONGEST_PART: u64 = 4;

/// What part of the size limit the tier may be, so that such values wait in it.
const WAITING_PART: u64 = 8;

/// How many reads of a directory without a tier come before one is made for them.
const READS: u32 = 256;

/// How long a read waits for a process that prepares a tier before it looks at that without being a member.
const LOOKING: Duration = Duration::from_millis(20);

/// How often a process that leaves drains what others have written meanwhile. It is theirs after that.
const LEAVING: u32 = 3;

/// The pause after a busy database while the append lock is held.
const BUSY: Duration = Duration::from_millis(1);

/// What a process has of the memory that it shares with others.
pub(crate) struct Membership {
    pub lock: WriterLock,
    /// The tier of others, if this process may only read.
    observer: Mutex<Option<Observer>>,
    /// Whether the housekeeper looks, or this process has just looked, for what other programs write.
    detects_foreign: AtomicBool,
    /// How far the log of the tier reached at the housekeeper's last tick.
    pub(super) seen_head: AtomicU64,
    /// The epoch of others' tier and how far its log reached when this process, which may only read, waited in vain for
    /// a drain.
    pub(super) awaited: Mutex<Option<(u64, u64)>>,
    /// Reads before there was a tier.
    reads: AtomicU32,
    /// What this process knows of the ends of queues.
    pub queues: KnownQueues,
}

impl Membership {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            lock: WriterLock::new(directory),
            observer: Mutex::default(),
            detects_foreign: AtomicBool::new(false),
            seen_head: AtomicU64::new(0),
            awaited: Mutex::default(),
            reads: AtomicU32::new(0),
            queues: KnownQueues::default(),
        }
    }

    /// Shows `f` the tier, if this process has one at hand that may answer without asking SQLite whether other programs
    /// have written.
    #[inline]
    pub fn with_tier_to_answer<T>(&self, f: impl FnOnce(&Tier) -> T) -> Option<T> {
        self.detects_foreign.load(Ordering::Relaxed).then(|| self.lock.with_tier(f)).flatten()
    }

    /// Whether a process has seen that another program uses the directory. Does not ask the database.
    pub fn is_shared(&self) -> bool {
        self.lock.with_tier(Tier::has_foreign).unwrap_or(false)
    }

    /// The tier, if this process has one.
    pub fn get(&self) -> Option<Tier> {
        match self.lock.hot() {
            Hot::Tier(tier) => Some(tier),
            Hot::None | Hot::Unattached => None,
        }
    }

    /// Adds to what all processes have counted, if there is a tier.
    pub fn count(&self, counter: Counter, by: u64) {
        if by > 0
            && let Some(tier) = self.get()
        {
            tier.count(counter, by);
        }
    }

    /// Forgets the reads when a cache is closed, so that the next use is the first again.
    pub fn forget_reads(&self) {
        self.reads.store(0, Ordering::Relaxed);
        self.detects_foreign.store(false, Ordering::Relaxed);
    }

    /// In a forked child: what is attached is the parent's, and so was the housekeeper.
    pub(super) fn reset(&self) {
        self.lock.reset();
        self.detects_foreign.store(false, Ordering::Relaxed);
    }
}

impl Handle {
    /// Bytes from which on a value gets its file at once. A shorter one waits in the tier as it is, and the drain makes its
    /// file. 0 without a tier, and where the tier is a large part of the limit, which bounds only what was drained.
    pub(crate) fn longest_waiting(&self) -> usize {
        let Some(tier) = self.tier.get() else { return 0 };
        let limit = self.settings.current().size_limit;
        // A tier that is still small grows for what is written.
        let capacity = tier.capacity().max(self.hot_size_for_writes());
        if limit.is_some_and(|limit| capacity > limit / WAITING_PART) {
            return 0;
        }
        usize::try_from(capacity / Tier::LONGEST_PART / LONGEST_PART).unwrap_or(0).min(WAITING)
    }

    /// Sees to it that what other programs write is noticed, by this call and then by the housekeeper at each tick as
    /// long as the tier is used.
    pub(crate) fn detect_foreign_writes_once(self: &Arc<Self>) -> Result<()> {
        if self.tier.detects_foreign.load(Ordering::Relaxed) {
            return Ok(());
        }
        if self.is_disturbed(Wait::AtMost(super::handle::ATTACHING))? {
            self.tier.get().iter().for_each(Tier::note_foreign);
            self.forget_clean(&mut Deadline::new(Wait::AtMost(super::handle::ATTACHING)))?;
        }
        self.tier.detects_foreign.store(true, Ordering::Relaxed);
        housekeeper::wake(self);
        Ok(())
    }

    /// Called by the housekeeper. Returns whether the tier was used since the last time.
    pub(crate) fn detect_foreign_writes(self: &Arc<Self>, wait: Wait) -> bool {
        if !self.tier.detects_foreign.swap(false, Ordering::Relaxed) {
            return false;
        }
        // A drain says in the database that it is known. A failure leaves that to the next caller.
        if self.is_disturbed(wait).unwrap_or(false) {
            let _ = self.drain(&mut Deadline::new(wait), DRAIN, |_| true);
        }
        true
    }

    /// Whether other programs have changed rows.
    fn is_disturbed(self: &Arc<Self>, wait: Wait) -> Result<bool> {
        let found = self.read_now(wait, |connection| Ok(applied(connection)?))?;
        Ok(found.is_some_and(|found| found.is_disturbed))
    }

    /// Whether another program uses the directory: it has opened it or changed rows since this tier was made, or within a day
    /// before. Asks the database until a process has noted that, so what was committed before this call is seen. Such a
    /// program sees nothing that waits in the tier.
    pub(crate) fn has_foreign(self: &Arc<Self>, tier: &Tier, wait: Wait) -> Result<bool> {
        if tier.has_foreign() {
            return Ok(true);
        }
        let found = self.read_now(wait, |connection| Ok(applied(connection)?))?;
        if found.is_some_and(|found| found.is_shared) {
            tier.note_foreign();
        }
        // A database that knows of no tier was put there by another program.
        Ok(found.is_none_or(|found| found.is_shared))
    }

    /// Called by the housekeeper between two ticks while locks are taken: another program that comes must find those that
    /// are held. So it drains once such a program has come, and a lock that is held from one look to the next. Locks that
    /// come and go faster cost no drain. A failure leaves that to the tick.
    pub(crate) fn look_for_foreign(self: &Arc<Self>, wait: Wait) {
        let changes = self.upkeep.lock_changes.load(Ordering::Relaxed);
        let is_calm = self.upkeep.seen_lock_changes.swap(changes, Ordering::Relaxed) == changes;
        if let Some(tier) = self.tier.get()
            && tier.is_dirty()
            && (is_calm || self.has_foreign(&tier, wait).unwrap_or(false))
        {
            let _ = self.drain_at_once(wait);
        }
    }

    /// The tier for a write, attached if need be. Not inside the fork gate.
    pub(crate) fn tier_to_write(self: &Arc<Self>, wait: Wait) -> Result<Option<Tier>> {
        match self.tier.lock.hot() {
            Hot::Tier(tier) => return Ok(Some(tier)),
            Hot::None => return Ok(None),
            Hot::Unattached if self.is_read_only() => return Ok(None),
            Hot::Unattached => {}
        }
        {
            let _inside = fork_gate::enter();
            self.renew()?;
        }
        match self.tier.lock.join(self, to_prepare(Deadline::new(wait).left()))? {
            Hot::Tier(tier) => Ok(Some(tier)),
            Hot::None | Hot::Unattached => Ok(None),
        }
    }

    /// Whether this process has no connection and no tier yet, and has read little.
    pub(crate) fn reads_first(&self) -> bool {
        !self.connections.is_open()
            && self.tier.reads.load(Ordering::Relaxed) < READS
            && matches!(self.tier.lock.hot(), Hot::Unattached)
    }

    /// Counts a read that needed neither.
    pub(crate) fn count_first_read(&self) {
        self.tier.reads.fetch_add(1, Ordering::Relaxed);
    }

    /// The tier for a read. A process that has read a while makes one if there is none; before, it joins those who
    /// have one. Not inside the fork gate.
    pub(crate) fn tier_to_read(self: &Arc<Self>, wait: Wait) -> Result<Option<Tier>> {
        self.find_tier(to_prepare(Deadline::new(wait).left()))
    }

    /// The same for a caller that may look at a tier of others instead, where this gives [`Error::Timeout`]: another process
    /// prepares one, and is slow or stopped.
    pub(crate) fn tier_to_look(self: &Arc<Self>) -> Result<Option<Tier>> {
        self.find_tier(Some(LOOKING))
    }

    fn find_tier(self: &Arc<Self>, timeout: Option<Duration>) -> Result<Option<Tier>> {
        // To see to the tier may mean to wait for its transaction. Until that ends, the tier stays what it is.
        if self.transaction.is_of_neighbor() {
            return Ok(self.tier.get());
        }
        match self.tier.lock.hot() {
            Hot::Tier(tier) => {
                self.detect_foreign_writes_once()?;
                return Ok(Some(tier));
            }
            Hot::None if self.tier.lock.is_apart() && self.has_tier_of_others()? => {
                return Err(self.tier.lock.exclude());
            }
            Hot::None => return Ok(None),
            Hot::Unattached => {}
        }
        {
            let _inside = fork_gate::enter();
            self.renew()?;
        }
        if self.is_read_only() || !files::exists(&self.database) {
            return Ok(None);
        }
        let is_worth_it = self.tier.reads.fetch_add(1, Ordering::Relaxed) >= READS;
        let is_used = || self.has_tier_of_others();
        if is_worth_it || is_used()? {
            match self.tier.lock.join(self, timeout) {
                Ok(Hot::Tier(tier)) => {
                    self.detect_foreign_writes_once()?;
                    return Ok(Some(tier));
                }
                Err(error @ Error::Interrupted) => return Err(error),
                // Opening the database has shown that it can only be read.
                Err(_) if self.is_read_only() => {}
                // For example on a full disk: as long as no process has a tier, reading needs none.
                Err(error) if is_used()? => return Err(error),
                Err(_) | Ok(Hot::None | Hot::Unattached) => {}
            }
        }
        Ok(None)
    }

    /// Whether the database names a tier, of which this process has no part when it asks.
    pub(crate) fn has_tier_of_others(self: &Arc<Self>) -> Result<bool> {
        self.read_now(Wait::AtMost(super::handle::ATTACHING), |connection| Ok(applied(connection)?.is_some()))
    }

    /// Returns whether the database names a tier, without repairing damage. The process that attaches has no lock to
    /// repair anything with.
    pub(crate) fn names_tier(self: &Arc<Self>) -> Result<bool> {
        let _inside = fork_gate::enter();
        self.try_read(&mut |connection| Ok(applied(connection)?.is_some()))
    }

    /// Returns the tier that others have, for a process that may only read, and whether other programs have changed
    /// rows that the tier knows. Asks the database each time, because nothing tells an observer that all members have
    /// gone.
    pub(crate) fn observer(self: &Arc<Self>, wait: Wait) -> Result<Option<(Observer, bool)>> {
        let found = self.read_now(wait, |connection| Ok(applied(connection)?))?;
        let Some(Applied { epoch, is_disturbed, .. }) = found else { return Ok(None) };
        let _inside = fork_gate::enter();
        let mut known = self.tier.observer.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_none_or(|known| known.epoch() != epoch) {
            *known =
                Observer::new(&self.directory, epoch).map_err(Error::io(self.directory.join("cache.hot")))?;
        }
        Ok(known.clone().map(|known| (known, is_disturbed)))
    }

    /// What reads have noted in the tier.
    pub(crate) fn take_notes(&self) -> Vec<(Key<'static>, Timestamp, i64)> {
        let mut notes = Vec::new();
        if let Some(tier) = self.tier.get().filter(|_| self.settings.noted_reads() != ReadNotes::Nothing) {
            tier.take_accesses(|view, note| {
                let (time, count) = eviction_policy::noted(note);
                notes.extend(Key::from_hot(view.key()).map(|key| (key, time, count)));
            });
        }
        notes
    }

    /// Checks, at the beginning of a direct write, that this is still the database behind the tier. The tier forgets
    /// its clean records if another program has written to the database.
    pub(crate) fn verify_epoch(&self, connection: &Connection, writing: &mut Writing) -> Result<()> {
        match applied(connection)? {
            Some(found) if found.epoch == writing.epoch() => {
                if found.is_disturbed {
                    writing.note_foreign();
                    writing.forget_clean();
                }
                Ok(())
            }
            _ => {
                writing.retire();
                Err(Error::Replaced { path: self.database.clone() })
            }
        }
    }

    /// Takes the append lock, with nothing held. Not inside the fork gate.
    pub(crate) fn write_tier(self: &Arc<Self>, tier: &Tier, deadline: &Deadline) -> Result<Writing> {
        self.lock_tier(tier, deadline, &mut may_continue)
    }

    pub(super) fn lock_tier(
        self: &Arc<Self>,
        tier: &Tier,
        deadline: &Deadline,
        tick: &mut dyn FnMut() -> bool,
    ) -> Result<Writing> {
        self.refuse_neighbor()?;
        let mut failure = None;
        let mut applied = |abandoned| {
            let found = match abandoned {
                Abandoned::Nothing => self
                    .read_now(Wait::AtMost(super::handle::ATTACHING), |connection| Ok(applied(connection)?)),
                Abandoned::Commit => self.overwrite_commit(deadline),
            };
            let found = found.unwrap_or_else(|error| {
                failure = Some(error);
                None
            });
            found.filter(|found| found.epoch == tier.epoch()).map(|found| found.seq)
        };
        let writing = tier.lock(deadline.left(), tick, &mut applied);
        writing.map_err(|error| match error {
            dolium_hot::LockError::Interrupted => Error::Interrupted,
            dolium_hot::LockError::Timeout => self.timeout(deadline),
            _ if !tier.is_live() => Error::Replaced { path: self.database.clone() },
            other => {
                let detail = failure.map_or(other.to_string(), |failure| format!("{other}: {failure}"));
                Error::Lock { directory: self.directory.clone(), detail }
            }
        })
    }

    /// Makes certain whether the commit of a dead process is there, which may be whole in SQLite's log although the log's
    /// index does not show it: a recovery of the log would find it. So this commits something of its own. SQLite writes
    /// that where the index ends, over a commit that nothing shows. Returns what the database has applied.
    ///
    /// The caller has the append lock, for which nothing waits that keeps SQLite's write lock.
    fn overwrite_commit(self: &Arc<Self>, deadline: &Deadline) -> Result<Option<Applied>> {
        let attaching = Deadline::new(Wait::AtMost(super::handle::ATTACHING));
        let is_over =
            || [deadline, &attaching].iter().any(|end| end.left().is_some_and(|left| left.is_zero()));
        loop {
            match self.overwrite_commit_once() {
                // A drain, or a foreign program. The interrupt hook may use this very tier.
                Err(error) if error.as_sqlite().is_some_and(error::is_busy) && !is_over() => {
                    std::thread::sleep(BUSY);
                }
                done => return done,
            }
        }
    }

    fn overwrite_commit_once(self: &Arc<Self>) -> Result<Option<Applied>> {
        let _inside = fork_gate::enter();
        let transaction = self.begin_for_rest()?;
        let found = applied(transaction.connection())?;
        let mut write = transaction.write();
        write.rewrite_tier()?;
        let finished = write.finish()?;
        let committed = transaction.commit(finished, &mut Deadline::new(Wait::AtMost(Duration::ZERO)));
        match committed.map_err(|error| error.located(&self.database)) {
            // A full disk takes no new page, but pages that it has can be written over: the first of that commit was.
            Err(Error::Full { .. }) => {}
            done => done?,
        }
        // Else a loss of power could bring the commit back.
        files::sync(&with_suffix(&self.database, "-wal"))?;
        Ok(found)
    }

    /// Takes the append lock, so that no record is added to the dirty ones. Returns `None` if that fails.
    pub(super) fn stop_tier(self: &Arc<Self>, tier: &Tier, deadline: &Deadline) -> Option<Writing> {
        self.lock_tier(tier, deadline, &mut || true).ok()
    }

    /// Repeats `f` while other programs are busy with the database, and after a damaged one was quarantined. Neither needs
    /// the writer lock, because no other process can have the directory attached.
    pub(super) fn alone<T: Default>(
        self: &Arc<Self>,
        deadline: &mut Deadline,
        mut f: impl FnMut(&mut Deadline) -> Result<T>,
    ) -> Result<T> {
        let mut tries = 0;
        loop {
            let done = {
                let _inside = fork_gate::enter();
                f(deadline)
            };
            match done.map_err(|error| error.located(&self.database)) {
                Err(Error::Sqlite { source, .. }) if error::is_busy(&source) && deadline.sleep() => {}
                Err(Error::Sqlite { source, .. }) if error::is_empty_store(&source) => {
                    return Ok(T::default());
                }
                Err(error) => self.repair_locked(None, &mut tries, error)?,
                done => return done,
            }
        }
    }

    /// Says in the database that no tier is in use, and vouches for what the last one leaves. Returns whether it does.
    fn end_tier(self: &Arc<Self>, rest: Option<(u64, u64)>, deadline: &mut Deadline) -> Result<bool> {
        self.alone(deadline, |deadline| {
            let transaction = self.begin_for_rest()?;
            let mut write = transaction.write();
            let known = applied(transaction.connection())?.filter(|found| !found.is_disturbed);
            let rest = rest.filter(|rest| known.is_some_and(|found| (found.epoch, found.seq) == *rest));
            write.end_tier()?;
            let rests = rest.map_or(Ok(false), |(epoch, seq)| write.begin_rest(epoch, seq))?;
            let finished = write.finish()?;
            transaction.commit(finished, deadline)?;
            Ok(rests)
        })
    }

    /// Lets go of the tier at the end: all is drained, and the last one out says so in the database.
    pub(crate) fn leave(self: &Arc<Self>, wait: Wait) -> Result<()> {
        let mut deadline = Deadline::new(wait);
        for _ in 0..LEAVING {
            self.drain_all(wait)?;
            if self.tier.lock.leave(|rest| self.end_tier(rest, &mut deadline))? {
                break;
            }
        }
        Ok(())
    }
}
