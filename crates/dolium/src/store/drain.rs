//! The drain: applies dirty records of the hot tier to the store, and decides when.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use dolium_hot::{Batch, Counter, Limit, Tier, Writing};

use crate::sqlite::rejection::{ApplyMode, Rejected, is_rejection};
use crate::sqlite::tier::{Applied, applied};
use crate::store::attempts::Attempts;
use crate::store::evict::Append;
use crate::store::housekeeper;
use crate::system::error::{Error, Result};
use crate::system::files;
use crate::system::fork_gate;
use crate::system::wait::{Deadline, Wait, may_continue};

use super::Handle;

/// What one transaction drains. Much, because a key that was written often is one row. But no more than a writer that finds
/// the log full waits for, and not all of a large log, because the batch is a copy.
pub(super) const DRAIN: Limit = Limit { keys: 2048, bytes: 4 << 20 };

/// All that waits.
pub(super) const EVERYTHING: Limit = Limit { keys: usize::MAX, bytes: u64::MAX };

/// How much a writer drains that found the log full, unless it needs more space: little, so that it is quick.
const FORCED: Limit = Limit { keys: 256, bytes: 1 << 20 };

/// How long a writer that found the log full waits for the writer lock before it looks again.
const TURN: Duration = Duration::from_millis(2);

/// Turns after which the interrupt hook is asked.
const TURNS: u32 = 16;

/// The part of the log that may wait for a tick.
const FULL: u64 = 4;

/// Bytes of log that may be left to be drained while the append lock keeps other writers waiting.
const LITTLE: u64 = 64 << 10;

/// As many as may be left where writers fill the log as fast as it is drained: then they have to wait for once.
const SOME: u64 = 1 << 20;

impl Handle {
    /// For operations that ask SQLite about more than a key: what was dirty when they started is drained.
    pub(crate) fn settle_order(self: &Arc<Self>, wait: Wait) -> Result<()> {
        if self.is_read_only() {
            return self.await_drain(wait);
        }
        let Some(tier) = self.tier_to_read(wait)?.filter(Tier::is_dirty) else {
            return Ok(());
        };
        self.drain_in_turns(&mut Deadline::new(wait), DRAIN, still_waits(&tier))
    }

    /// Drains all that waits now. What others write meanwhile they would go on writing for ever.
    pub(crate) fn drain_all(self: &Arc<Self>, wait: Wait) -> Result<()> {
        let Some(tier) = self.tier.get() else { return Ok(()) };
        self.drain_while(&mut Deadline::new(wait), DRAIN, still_waits(&tier))
    }

    /// The same, for a program that has just come and must find what is dirty: it is busy with the database again and again.
    pub(crate) fn drain_at_once(self: &Arc<Self>, wait: Wait) -> Result<()> {
        let Some(tier) = self.tier.get() else { return Ok(()) };
        self.drain_while(&mut Deadline::eager(wait), DRAIN, still_waits(&tier))
    }

    /// The tier forgets what it knows of rows: another program has changed some. Unlike a drain this does not wait until
    /// that program is done.
    pub(super) fn forget_clean(self: &Arc<Self>, deadline: &mut Deadline) -> Result<()> {
        let held = self.acquire(deadline)?;
        let _inside = fork_gate::enter();
        held.tier().into_iter().for_each(Tier::forget_clean);
        Ok(())
    }

    /// Drains a tier whose files have lost their names, and retires it, so that each process attaches to a new one. Returns
    /// `false` if that took too long.
    pub(crate) fn rescue(self: &Arc<Self>, wait: Wait) -> bool {
        !matches!(self.retire(&mut Deadline::new(wait)), Err(Error::Timeout { .. }))
    }

    /// Drains the tier and ends it.
    fn retire(self: &Arc<Self>, deadline: &mut Deadline) -> Result<()> {
        let mut attempts = Attempts::new(self, deadline);
        loop {
            match self.retire_once(&mut attempts) {
                Ok(()) => return Ok(()),
                Err(error) => attempts.recover(error)?,
            }
        }
    }

    fn retire_once(self: &Arc<Self>, attempts: &mut Attempts<'_>) -> Result<()> {
        let (held, deadline) = attempts.lock()?;
        let mut writing = self.quiesce_tier(held, deadline)?;
        let _inside = fork_gate::enter();
        writing.iter_mut().for_each(Writing::retire);
        Ok(())
    }

    /// Called by the housekeeper at each tick: drains records that were dirty at the last tick, or many dirty records. Other
    /// processes have housekeepers, too. What one of them drains the others need not, and a writer with the writer lock has
    /// drained before. Returns whether no record is dirty.
    pub(crate) fn drain_aged(self: &Arc<Self>, wait: Wait) -> bool {
        let Some(tier) = self.tier.get() else { return true };
        let head = tier.head();
        // At most: the last tick may have seen another tier.
        let seen = self.tier.seen_head.swap(head, Ordering::Relaxed).min(head);
        let is_filled = |tier: &Tier| tier.dirty_bytes() > tier.capacity() / FULL;
        // Before writers find it full and wait. In a larger one a key that is written often is one row of a drain.
        if is_filled(&tier) && self.grow_for_writes(&tier, 0, 0) {
            return true;
        }
        let is_due = |tier: &Tier| tier.is_dirty() && (tier.drained_to() < seen || is_filled(tier));
        // One try even then: its owner may be dead.
        let wait = if tier.is_writer_locked() { Wait::AtMost(Duration::ZERO) } else { wait };
        let drained = self.drain_while(&mut Deadline::new(wait), DRAIN, is_due);
        drained.is_ok() && !tier.is_dirty()
    }

    /// Makes space in the log for records that found none, unless another writer does so meanwhile. It looks again in each
    /// turn, because a writer that waits until the writer lock is free stands behind all others that found the log full.
    pub(crate) fn drain_for(
        self: &Arc<Self>,
        records: usize,
        bytes: u64,
        tier: &Tier,
        deadline: &mut Deadline,
    ) -> Result<()> {
        let limit = Limit { keys: records.clamp(FORCED.keys, DRAIN.keys), bytes: bytes.max(FORCED.bytes) };
        let (epoch, seen) = (tier.epoch(), tier.drained_to());
        self.drain_in_turns(deadline, limit, |tier| {
            tier.epoch() == epoch && tier.is_dirty() && tier.drained_to() == seen
        })
    }

    /// Drains as long as it is wanted. Each turn of waiting asks that again: the owner of the writer lock may have drained
    /// all, and keep the writer lock for long.
    fn drain_in_turns(
        self: &Arc<Self>,
        deadline: &mut Deadline,
        limit: Limit,
        wanted: impl Fn(&Tier) -> bool,
    ) -> Result<()> {
        for turn in 1_u32.. {
            let left = deadline.left();
            let mut until = Deadline::new(Wait::AtMost(left.map_or(TURN, |left| left.min(TURN))));
            match self.drain_while(&mut until, limit, &wanted) {
                Err(Error::Timeout { .. }) if left.is_some_and(|left| left.is_zero()) => {
                    return Err(self.timeout(deadline));
                }
                Err(Error::Timeout { .. }) if !turn.is_multiple_of(TURNS) || may_continue() => {}
                Err(Error::Timeout { .. }) => return Err(Error::Interrupted),
                done => return done,
            }
        }
        Ok(())
    }

    /// Drains as long as it is wanted. `drain` asks that again under the writer lock, whose last owner may have drained all.
    fn drain_while(
        self: &Arc<Self>,
        deadline: &mut Deadline,
        limit: Limit,
        wanted: impl Fn(&Tier) -> bool,
    ) -> Result<()> {
        while self.tier.get().is_some_and(|tier| wanted(&tier)) {
            self.drain(deadline, limit, &wanted)?;
        }
        Ok(())
    }

    /// Drains once, if it is still wanted under the writer lock.
    pub(super) fn drain(
        self: &Arc<Self>,
        deadline: &mut Deadline,
        limit: Limit,
        wanted: impl Fn(&Tier) -> bool,
    ) -> Result<()> {
        if self.drain_inside(deadline, &wanted)? {
            return Ok(());
        }
        let mut attempts = Attempts::freeing_space(self, deadline);
        loop {
            match self.drain_once(&mut attempts, limit, &wanted) {
                Ok(()) => break,
                Err(error) => attempts.recover(error)?,
            }
        }
        drop(attempts);
        self.trim_log_if_scarce();
        Ok(())
    }

    fn drain_once(
        self: &Arc<Self>,
        attempts: &mut Attempts<'_>,
        limit: Limit,
        wanted: impl Fn(&Tier) -> bool,
    ) -> Result<()> {
        let (held, deadline) = attempts.lock()?;
        let Some(tier) = held.tier().filter(|tier| wanted(tier)) else { return Ok(()) };
        let is_known = {
            let _inside = fork_gate::enter();
            self.drain_locked(tier, deadline, limit)?
        };
        if is_known {
            self.keep_limit(Append::Free(tier));
            return Ok(());
        }
        // With the append lock, which ends such a tier.
        self.quiesce(deadline, tier).map(drop)
    }

    /// Drains once. Returns `false` if the database knows of no tier: then the caller must take the append lock and call
    /// [`end_unknown`](Self::end_unknown). The caller holds the writer lock and is inside the fork gate.
    fn drain_locked(self: &Arc<Self>, tier: &Tier, deadline: &mut Deadline, limit: Limit) -> Result<bool> {
        if !files::exists(&self.database) {
            // Removed, perhaps with its directory. Dirty records have nowhere to go, and nothing may be made for them.
            tier.retire();
            return Ok(true);
        }
        let since = Instant::now();
        let mut step = self.drain_batch(tier, deadline, limit, ApplyMode::Batch);
        if step.as_ref().is_err_and(is_rejection) {
            step = self.drain_batch(tier, deadline, limit, ApplyMode::PerChunk);
        }
        match step? {
            Step::Done { batch, rejected, expired, is_disturbed } => {
                tier.drained(&batch);
                tier.count(Counter::Expirations, expired as u64);
                tier.count(Counter::Drained, batch.len() as u64);
                tier.count(Counter::Drains, 1);
                tier.count(Counter::DrainTime, u64::try_from(since.elapsed().as_micros()).unwrap_or(0));
                tier.count(Counter::Refused, rejected.count);
                if is_disturbed || rejected.count > 0 {
                    // A fill may have been under way the first time; and what was refused is nowhere else.
                    tier.forget_clean();
                }
                self.report_rejected(rejected);
            }
            Step::Another => tier.retire(),
            Step::Unknown => return Ok(false),
        }
        Ok(true)
    }

    /// The transaction of a step: the records after those that the database has become rows.
    fn drain_batch(
        self: &Arc<Self>,
        tier: &Tier,
        deadline: &mut Deadline,
        limit: Limit,
        mode: ApplyMode,
    ) -> Result<Step> {
        let transaction = self.begin()?;
        let mut write = transaction.write();
        let step = match applied(transaction.connection())? {
            None => Step::Unknown,
            Some(found) if found.epoch != tier.epoch() => Step::Another,
            Some(Applied { epoch, seq, is_disturbed, .. }) => {
                if is_disturbed {
                    tier.note_foreign();
                    tier.forget_clean();
                }
                let batch = tier.pending(seq, self.within_limit(limit));
                let rejected = write.apply(&batch, mode)?;
                let records: Vec<_> = batch.records().collect();
                let (now, expired) =
                    write.remove_expired_after(&records, self.settings.current().cull_limit)?;
                if let Some(now) = now {
                    self.volume.note_time(now);
                }
                write.set_applied(epoch, batch.seq())?;
                write.note_integers_if(self.tier.queues.takes_note())?;
                Step::Done { batch, rejected, expired, is_disturbed }
            }
        };
        let finished = write.finish()?;
        transaction.commit(finished, deadline)?;
        Ok(step)
    }

    /// Wakes the housekeeper after a record was appended. It drains within a tick, or sooner if many bytes are dirty.
    pub(crate) fn after_append(self: &Arc<Self>, tier: &Tier) {
        housekeeper::wake(self);
        // The holder of the writer lock drains anyway, and a housekeeper that wakes in vain takes the processor from
        // another thread.
        if tier.dirty_bytes() > tier.capacity() / FULL && !tier.is_writer_locked() {
            housekeeper::wake_now();
        }
    }

    /// Drains until little is dirty that was not when it began. The caller holds the writer lock and is not inside the fork
    /// gate.
    pub(super) fn drain_mostly(self: &Arc<Self>, tier: &Tier, deadline: &mut Deadline) -> Result<()> {
        let (waits, mut dirty, some) = (still_waits(tier), u64::MAX, self.some());
        while tier.is_live() && (waits(tier) || is_worth_draining(tier, &mut dirty, some)) {
            let is_known = {
                let _inside = fork_gate::enter();
                self.drain_locked(tier, deadline, DRAIN)?
            };
            if !is_known || tier.is_drained() {
                break;
            }
            // Not only after the write: it may fail for want of time.
            self.keep_limit(Append::Free(tier));
        }
        Ok(())
    }

    /// Empties the tier before a direct write, and keeps it empty. The caller holds the writer lock and is not inside
    /// the fork gate.
    pub(super) fn quiesce(self: &Arc<Self>, deadline: &mut Deadline, tier: &Tier) -> Result<Writing> {
        let drain = |deadline: &mut Deadline| {
            let _inside = fork_gate::enter();
            self.drain_locked(tier, deadline, DRAIN)
        };
        let (mut dirty, some) = (u64::MAX, self.some());
        while tier.is_live() && is_worth_draining(tier, &mut dirty, some) && drain(deadline)? {
            // Not only after the write: it may fail for want of time.
            self.keep_limit(Append::Free(tier));
        }
        // The hook may write, which would wait for the writer lock that this thread holds.
        let writing = self.lock_tier(tier, deadline, &mut || true)?;
        self.empty(tier, deadline)?;
        Ok(writing)
    }

    /// [`SOME`], but of a small size limit no more than evictions can make up for: with the append lock there are none.
    fn some(&self) -> u64 {
        self.within_limit(Limit { keys: usize::MAX, bytes: SOME }).bytes
    }

    /// Drains all. The caller holds the writer lock and the append lock.
    pub(super) fn empty(self: &Arc<Self>, tier: &Tier, deadline: &mut Deadline) -> Result<()> {
        while tier.is_live() && tier.is_dirty() {
            let _inside = fork_gate::enter();
            if !self.drain_locked(tier, deadline, DRAIN)? {
                self.end_unknown(tier, deadline)?;
            }
            if tier.is_dirty() && tier.is_drained() {
                // A process that had the append lock has recovered, so the header is damaged.
                tier.retire();
            }
        }
        if !files::exists(&self.database) {
            // Before it is made anew: what is written to the tier after that would be lost.
            tier.retire();
        }
        if !tier.is_live() {
            return Err(Error::Replaced { path: self.database.clone() });
        }
        Ok(())
    }
}

/// Whether another drain without the append lock leaves less to drain with it. `dirty`: how much was dirty before the last.
fn is_worth_draining(tier: &Tier, dirty: &mut u64, some: u64) -> bool {
    let left = tier.dirty_bytes();
    let before = std::mem::replace(dirty, left);
    left > LITTLE && (left > some || left <= before / 2)
}

/// Whether records that are dirty now still are.
fn still_waits(tier: &Tier) -> impl Fn(&Tier) -> bool + use<> {
    // Offsets of another epoch mean nothing here.
    let (epoch, head) = (tier.epoch(), tier.head());
    move |tier| tier.epoch() == epoch && tier.is_dirty() && tier.drained_to() < head
}

/// What a drain found in the database.
enum Step {
    /// Its own tier.
    Done {
        batch: Batch,
        rejected: Rejected,
        /// How many expired entries it removed.
        expired: usize,
        /// Whether others had changed rows.
        is_disturbed: bool,
    },
    /// Another tier: the database is another one.
    Another,
    /// None.
    Unknown,
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::Cache;

    /// A cache with a small tier, the writer lock in our hands, and a writer that fills the log.
    fn with_full_log(
        wait: Wait,
        while_held: impl FnOnce(&Arc<Handle>, &Tier, &dyn Fn() -> bool),
    ) -> Result<()> {
        let directory = tempfile::tempdir().expect("directory");
        let open = Cache::builder(directory.path()).setting("hot_size", 64 << 10).open();
        let cache = open.expect("cache").with_wait(wait);
        cache.set("first", 1).expect("set");
        let handle = Handle::of(directory.path(), false);
        let held = handle.acquire(&mut Deadline::new(Wait::Forever)).expect("lock");
        let tier = held.tier().expect("tier").clone();
        let fill = || (0..2000_i64).try_for_each(|key| cache.set(key, &[0; 200]).map(|_| ()));
        std::thread::scope(|scope| {
            let writer = scope.spawn(fill);
            while_held(&handle, &tier, &|| writer.is_finished());
            writer.join().expect("no panic")
        })
    }

    #[test]
    fn who_finds_no_room_goes_on_once_another_has_made_it() {
        let done = with_full_log(Wait::Forever, |handle, tier, is_finished| {
            while !is_finished() {
                let _inside = fork_gate::enter();
                handle.drain_locked(tier, &mut Deadline::new(Wait::Forever), FORCED).expect("drain");
            }
        });
        done.expect("all are stored though the writer lock was never free");
    }

    #[test]
    fn who_finds_no_room_waits_as_long_as_it_may() {
        let wait = Duration::from_millis(100);
        let since = Instant::now();
        let done = with_full_log(Wait::AtMost(wait), |_, _, is_finished| {
            while !is_finished() {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        assert!(matches!(done, Err(Error::Timeout { waited, .. }) if waited == wait), "{done:?}");
        assert!(since.elapsed() >= wait);
    }

    #[test]
    fn draining_before_the_append_lock_goes_on_while_it_leaves_less() {
        let directory = tempfile::tempdir().expect("directory");
        let open = Cache::builder(directory.path()).setting("hot_size", 256 << 10).open();
        let cache = open.expect("cache");
        cache.set("first", 1).expect("set");
        let handle = Handle::of(directory.path(), false);
        let held = handle.acquire(&mut Deadline::new(Wait::Forever)).expect("lock");
        let tier = held.tier().expect("tier");
        (0..100).for_each(|key| cache.set(key, &[0; 1000]).map(drop).expect("set"));
        let mut dirty = u64::MAX;
        assert!(is_worth_draining(tier, &mut dirty, SOME));
        assert!(!is_worth_draining(tier, &mut dirty, SOME), "writers have filled the log again");
        dirty = 2 * tier.dirty_bytes();
        assert!(is_worth_draining(tier, &mut dirty, SOME));
        drop(held);
        cache.flush().expect("flushed");
    }

    #[test]
    fn who_wants_drained_what_waits_goes_on_once_another_has_drained_it() {
        let directory = tempfile::tempdir().expect("directory");
        let cache = Cache::open(directory.path()).expect("cache");
        cache.set("first", 1).expect("set");
        let handle = Handle::of(directory.path(), false);
        let held = handle.acquire(&mut Deadline::new(Wait::Forever)).expect("lock");
        let tier = held.tier().expect("tier").clone();
        cache.set("second", 1).expect("set");
        std::thread::scope(|scope| {
            let counter = scope.spawn(|| cache.len().expect("len"));
            std::thread::sleep(Duration::from_millis(50));
            {
                let _inside = fork_gate::enter();
                handle.drain_locked(&tier, &mut Deadline::new(Wait::Forever), EVERYTHING).expect("drain");
            }
            std::thread::sleep(Duration::from_millis(500));
            assert!(counter.is_finished(), "len waits for the writer lock though all is drained");
            drop(held);
        });
    }

    #[test]
    fn who_may_only_read_waits_once_for_those_who_do_not_drain() {
        let directory = tempfile::tempdir().expect("directory");
        let cache = Cache::open(directory.path()).expect("cache");
        cache.set("drained", 1).expect("set");
        let held = Handle::of(directory.path(), false).acquire(&mut Deadline::new(Wait::Forever));
        let held = held.expect("lock");
        let reader = Cache::builder(directory.path()).read_only(true).open().expect("reader");
        cache.set("waits", 2).expect("set");
        for _ in 0..1000 {
            assert!(reader.len().expect("len") < 2);
            assert_eq!(reader.get("waits").expect("get"), Some(crate::Value::Int(2)));
        }
        assert!(matches!(reader.take_warnings()[..], [crate::Warning::Waiting { .. }]));
        drop(held);
        cache.set("more", 3).expect("set");
        assert_eq!(reader.len().expect("len"), 3);
    }
}
