//! Owns upkeep of one directory: checkpoints, the trash, pending reads. Called by the housekeeper, `flush` and
//! `close`. Checkpoints run outside commits and hold no lock that writers wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::sqlite::transaction::{self, Checkpoint};
use crate::sqlite::{LOG, Write, trash};
use crate::store::Handle;
use crate::store::dictionaries::Dictionaries;
use crate::store::pending::PendingReads;
use crate::system::clock::Timestamp;
use crate::system::error::Result;
use crate::system::files;
use crate::system::fork_gate;
use crate::system::wait::{Deadline, Wait, is_own_thread};
use crate::value::key::Key;

/// The length of the log above which a checkpoint keeps writers out, since it would never catch up with them, and how many
/// come before it. What writers add during those is all that is left for it.
const LONG_LOG: u64 = 32 << 20;
const PASSES: u32 = 3;

/// Commits between two looks at how full the disk is, as long as it is not.
const COMMITS: u32 = 64;

/// Free bytes of the file system below which writers look at each commit, and empty their log in time.
const SCARCE: u64 = 64 << 20;

/// In time: as long as the log is this part of what is free. Emptying it can take as much as it is long.
const IN_TIME: u64 = 4;

/// Value files that are unlinked at once: a fork waits for it.
const BATCH: u16 = 1000;

/// How long `close` tries in vain to empty the trash while others read.
const CLOSING: Duration = Duration::from_millis(250);

/// How long upkeep waits for writers.
const UPKEEP_WAIT: Wait = Wait::AtMost(Duration::from_millis(50));

/// What upkeep knows of a directory.
#[derive(Default)]
pub(crate) struct Upkeep {
    pub(super) has_trash: AtomicBool,
    commits: AtomicU32,
    /// The disk was nearly full when it was looked at last.
    is_scarce: AtomicBool,
    /// The housekeeper will come.
    pub(super) awake: AtomicBool,
    /// The housekeeper is at work here.
    pub(super) maintaining: AtomicBool,
    /// How often this process has taken or given back a lock in the tier, now and at the housekeeper's last look.
    pub(super) lock_changes: AtomicU32,
    pub(super) seen_lock_changes: AtomicU32,
    /// The dictionaries that this process knows, and the values for the next.
    pub(crate) dictionaries: Dictionaries,
    /// How many looks of a training are under way.
    looking: AtomicU32,
    /// Closed, and not used since: the housekeeper stays away.
    pub(super) closed: AtomicBool,
}

impl Upkeep {
    /// In a forked child, which has no housekeeper yet.
    pub(super) fn reset(&self) {
        self.awake.store(false, Ordering::Relaxed);
        self.maintaining.store(false, Ordering::SeqCst);
        self.looking.store(0, Ordering::SeqCst);
        self.dictionaries.reset();
    }

    /// Begins a look that a thread takes beside the housekeeper. Returns `None` if the directory was closed; else it stays
    /// open until the look ends.
    pub(super) fn look(&self) -> Option<Looking<'_>> {
        // In this order, and `Handle::stop_upkeep` in the other: one of the two sees what the other has stored.
        self.looking.fetch_add(1, Ordering::SeqCst);
        let looking = Looking(self);
        (!self.closed.load(Ordering::SeqCst)).then_some(looking)
    }
}

/// A look that is under way. The thread is inside the fork gate, so that no child inherits it.
pub(super) struct Looking<'u>(&'u Upkeep);

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.0.looking.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Handle {
    /// Looks whether another program has come, between two rounds of upkeep. Returns that another round is needed.
    pub(crate) fn look(self: &Arc<Self>) -> bool {
        self.look_for_foreign(UPKEEP_WAIT);
        true
    }

    /// Runs one round of upkeep, and returns whether another is needed soon. Failures are left for the next round: a
    /// writer meets them too, and can report them.
    pub(crate) fn maintain(self: &Arc<Self>) -> bool {
        let is_open = self.end_orphan();
        let is_drained = self.drain_aged(UPKEEP_WAIT);
        if let Some(tier) = self.tier.get() {
            tier.prefault();
        }
        if self.tier.lock.is_unhealthy() && self.rescue(UPKEEP_WAIT) {
            self.tier.lock.detach_unhealthy();
        }
        self.fit_tier(UPKEEP_WAIT);
        let is_warming = self.warm_tier(UPKEEP_WAIT);
        let is_excessive = self.evict_rest(UPKEEP_WAIT);
        let is_used = self.detect_foreign_writes(UPKEEP_WAIT);
        let is_learning = self.learn_absences(UPKEEP_WAIT);
        let is_pinned = self.tick_read_pin();
        if self.reads.pending.is_due() {
            let _ = self.write_pending(UPKEEP_WAIT);
        }
        let is_training = self.keep_dictionaries();
        let checkpointed = self.checkpoint_if_long();
        if self.upkeep.has_trash.load(Ordering::Relaxed) {
            let _ = self.empty_trash(UPKEEP_WAIT);
        }
        is_open
            || is_pinned
            || is_excessive
            || is_learning
            || is_warming
            || is_used
            || is_training
            || !is_drained
            || !self.reads.pending.is_empty()
            || !matches!(checkpointed, Ok(true))
            || self.upkeep.has_trash.load(Ordering::Relaxed)
    }

    /// Moves what a log of some length holds into the database. Returns whether all of it is there now.
    fn checkpoint_if_long(self: &Arc<Self>) -> Result<bool> {
        let log = self.log_length();
        if log <= LONG_LOG {
            return if log > LOG { self.checkpoint() } else { Ok(true) };
        }
        for _ in 0..PASSES {
            self.checkpoint()?;
        }
        let _held = self.acquire(&mut Deadline::new(UPKEEP_WAIT))?;
        self.checkpoint()
    }

    /// Frees what logs and trash take after a write met a full disk, here and in the other caches of the process on
    /// this disk, like the other shards. Returns whether to try again.
    pub(crate) fn free_disk_space(self: &Arc<Self>) -> bool {
        let others = {
            let _inside = fork_gate::enter();
            Self::all()
        };
        let device = files::device(&self.directory);
        let is_on_this_disk = |other: &Arc<Self>| {
            !Arc::ptr_eq(self, other)
                && !other.is_read_only()
                && !other.upkeep.closed.load(Ordering::SeqCst)
                && files::device(&other.directory) == device
        };
        let others_here: Vec<_> = others.into_iter().filter(is_on_this_disk).collect();
        let mut shrunk = false;
        // Twice: emptying a log takes space in its database, which it may find once others have given theirs.
        for _ in 0..2 {
            for other in &others_here {
                shrunk |= other.shrink();
            }
        }
        self.shrink() || shrunk
    }

    /// Gives the space of the log and of the trash back to the disk. Returns whether the log is empty now.
    fn shrink(self: &Arc<Self>) -> bool {
        let trash = self.trash(UPKEEP_WAIT).unwrap_or_default();
        let emptied = self.checkpoint_as(Checkpoint::Truncate).unwrap_or(false);
        if emptied {
            // Their names stay in the table until there is space to write: removing them twice does no harm.
            for filename in trash.iter().filter_map(|(_, filename)| filename.as_deref()) {
                self.values.remove(filename);
            }
        }
        emptied
    }

    /// Where the disk is nearly full, a writer that is faster than the housekeeper would fill it with its log,
    /// and no checkpoint could move that into the database any more.
    pub(crate) fn trim_log_if_scarce(self: &Arc<Self>) {
        let is_due = self.upkeep.commits.fetch_add(1, Ordering::Relaxed).is_multiple_of(COMMITS);
        if !is_due && !self.upkeep.is_scarce.load(Ordering::Relaxed) {
            return;
        }
        let Some(free) = files::free_bytes(&self.directory) else { return };
        self.upkeep.is_scarce.store(free < SCARCE, Ordering::Relaxed);
        if free < SCARCE && self.log_length() > free / IN_TIME {
            self.shrink();
        }
    }

    fn log_length(&self) -> u64 {
        files::length(&crate::sqlite::files::with_suffix(&self.database, "-wal"))
    }

    /// Whether the directory was closed, and not used since.
    pub(crate) fn is_closed(&self) -> bool {
        self.upkeep.closed.load(Ordering::SeqCst)
    }

    /// Runs `f`, which uses the directory for another one, and has a thread that closes it wait for the end. Returns `None`
    /// if it is closed, because it would be opened again.
    pub(super) fn unless_closed<T>(&self, f: impl FnOnce() -> T) -> Option<T> {
        let _looking = self.upkeep.look()?;
        Some(f())
    }

    /// Ends upkeep until the directory is used again: a directory that was closed may be removed.
    pub(crate) fn stop_upkeep(&self) {
        self.upkeep.closed.store(true, Ordering::SeqCst);
        let is_at_work = || {
            self.upkeep.maintaining.load(Ordering::SeqCst) || self.upkeep.looking.load(Ordering::SeqCst) > 0
        };
        while is_at_work() && !is_own_thread() {
            std::thread::sleep(Duration::from_micros(200));
        }
        // The housekeeper's own last write may have taken it for use.
        self.upkeep.closed.store(true, Ordering::SeqCst);
    }

    /// Writes the reads that are pending.
    pub(crate) fn write_pending(self: &Arc<Self>, wait: Wait) -> Result<()> {
        if self.reads.pending.is_empty() || self.is_read_only() {
            return Ok(());
        }
        self.write_reads(wait)
    }

    /// Writes what reads have noted, here and in the tier.
    pub(super) fn write_reads(self: &Arc<Self>, wait: Wait) -> Result<()> {
        let reads = self.reads.pending.take();
        let notes = self.take_notes();
        let written = self.write(wait, |write| {
            // None of what the hot tier knows.
            write.changes([]);
            store_reads(write, &reads, &notes)
        });
        if written.is_err() {
            self.reads.pending.restore(reads);
        }
        written
    }

    /// Moves what the write-ahead log holds into the database, as far as readers let it. Returns whether
    /// all of it is there now, durably.
    pub(crate) fn checkpoint(self: &Arc<Self>) -> Result<bool> {
        self.checkpoint_as(Checkpoint::Passive)
    }

    fn checkpoint_as(self: &Arc<Self>, kind: Checkpoint) -> Result<bool> {
        if self.transaction.is_own() {
            // SQLite makes none on a connection that is in a transaction.
            return Ok(false);
        }
        self.release_read_pin();
        self.read_now(UPKEEP_WAIT, |connection| {
            // Another process may have renamed the database while this connection was opened, with the log of the new one.
            Ok(!connection.has_moved() && transaction::checkpoint(connection, kind)?)
        })
    }

    /// Unlinks the value files that no row needs, once that is durable: else a power loss could bring
    /// back a row without its file. At most a batch. Returns whether there is more that can go.
    pub(crate) fn empty_trash(self: &Arc<Self>, wait: Wait) -> Result<bool> {
        if self.transaction.is_own() {
            // What the open transaction threw away is still needed if it is undone.
            return Ok(false);
        }
        // Before the look: what is thrown away after it sets this again.
        self.upkeep.has_trash.store(false, Ordering::Relaxed);
        let trash = self.trash(wait);
        if !trash.as_ref().is_ok_and(Vec::is_empty) {
            self.upkeep.has_trash.store(true, Ordering::Relaxed);
        }
        let trash = trash?;
        let Some(&(last, _)) = trash.last() else {
            return Ok(false);
        };
        if !self.checkpoint()? {
            return Ok(false);
        }
        for filename in trash.iter().filter_map(|(_, filename)| filename.as_deref()) {
            self.values.remove(filename);
        }
        self.write(wait, |write| Ok(trash::forget(write.connection(), last)?))?;
        Ok(trash.len() == usize::from(BATCH))
    }

    /// Empties the trash for `close`, after which no process may come for a long time. A reader, or another process's
    /// checkpoint, can keep ours from finishing at this moment, hence the tries.
    pub(crate) fn take_out_trash(self: &Arc<Self>, wait: Wait) {
        let mut since = Instant::now();
        while self.upkeep.has_trash.load(Ordering::Relaxed) && since.elapsed() < CLOSING {
            match self.empty_trash(wait) {
                Ok(true) => since = Instant::now(),
                Ok(false) | Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// The first of the value files that wait to be removed. One without a readable name is only forgotten.
    fn trash(self: &Arc<Self>, wait: Wait) -> Result<Vec<(i64, Option<String>)>> {
        self.read_now(wait, |connection| Ok(trash::first(connection, BATCH)?))
    }
}

/// Stores which rows were read, when and how often, and hits and misses.
pub(super) fn store_reads(
    write: &mut Write<'_>,
    reads: &PendingReads,
    notes: &[(Key<'static>, Timestamp, i64)],
) -> Result<()> {
    for (key, time, count) in notes {
        write.record_reads_of(key, *time, *count)?;
    }
    for (&rowid, &(time, count)) in &reads.rows {
        write.record_reads(rowid, time, count)?;
    }
    write.add_to_counter("hits", reads.hits)?;
    write.add_to_counter("misses", reads.misses)
}
