//! Owns the hot tier's part in a handle: attaching with what the database says, draining, and the moments in which
//! the tier must be empty.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use dolium_hot::{Counter, Limit, Observer, Records, Tier, Writing};

use crate::clock::Timestamp;
use crate::error::{self, Error, Result};
use crate::key::Key;
use crate::lock::Hot;
use crate::sqlite::Write;
use crate::sqlite::tier::{Reached, reached};
use crate::wait::{Deadline, Patience, may_continue};
use crate::{files, gate, keeper, policy};

use super::Handle;

/// What one transaction drains. Much: a key that was written often is one row.
const DRAIN: Limit = Limit { keys: 8192, bytes: 32 << 20 };

/// All that waits.
pub(super) const EVERYTHING: Limit = Limit { keys: usize::MAX, bytes: u64::MAX };

/// What a writer drains that found no room: it is to be quick.
const FORCED: Limit = Limit { keys: 256, bytes: 1 << 20 };

/// How long a writer without room waits for D before it looks for room again.
const TURN: Duration = Duration::from_millis(2);

/// Turns after which the interrupt hook is asked.
const TURNS: u32 = 16;

/// The part of the log that may wait for a tick.
const FULL: u64 = 4;

/// Bytes of log that may be left to be drained while T keeps other writers waiting.
const LITTLE: u64 = 64 << 10;

/// The size of a tier if the setting `hot_size` leaves it to us.
const SIZE: u64 = 16 << 20;

/// The least of it.
const SMALL: u64 = 512 << 10;

/// Reads of a directory that nobody has a tier of before one is made for them.
const READS: u32 = 256;

/// How often a process that leaves drains what others have written meanwhile. It is theirs after that.
const LEAVING: u32 = 3;

type Told<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The database, for the first who attaches. The open lock keeps all others out, so that D is not needed.
pub(crate) struct Behind<'h> {
    handle: &'h Arc<Handle>,
    error: Option<Error>,
}

impl<'h> Behind<'h> {
    pub fn new(handle: &'h Arc<Handle>) -> Self {
        Self { handle, error: None }
    }

    /// Why attaching failed, if it was here.
    pub fn take_error(&mut self) -> Option<Error> {
        self.error.take()
    }

    fn tell<T>(&mut self, result: Result<T>) -> Told<T> {
        result.map_err(|error| {
            let told = error.to_string();
            self.error = Some(error);
            told.into()
        })
    }
}

impl dolium_hot::Base for Behind<'_> {
    fn reached(&mut self) -> Told<Option<(u64, u64)>> {
        let mut deadline = Deadline::new(Patience::Timeout(super::ATTACHING));
        let found = self
            .handle
            .alone(&mut deadline, |_| self.handle.try_read(&mut |connection| Ok(reached(connection)?)));
        let found = self.tell(found)?;
        // What others have written since is newer than what waits.
        if let Some(Reached { is_disturbed: true, .. }) = found {
            self.handle
                .warnings
                .add(crate::warning::Warning::Disturbed { directory: self.handle.directory.clone() });
        }
        Ok(found.filter(|found| !found.is_disturbed).map(|found| (found.life, found.number)))
    }

    fn begin(&mut self, life: Option<u64>, records: Records<'_>) -> Told<()> {
        if life.is_none() && records.is_empty() {
            return Ok(());
        }
        let mut deadline = Deadline::new(Patience::Timeout(super::ATTACHING));
        let handle = self.handle;
        let begun = handle.write_alone(&mut deadline, &mut |write| {
            for view in records.iter() {
                write.apply_one(&view)?;
            }
            match life {
                Some(life) => write.reach(life, 0),
                None => write.end_tier(),
            }
        });
        self.tell(begun)
    }
}

impl Handle {
    /// What the cache, or for this process the environment, says about the bytes of a tier.
    #[expect(clippy::disallowed_methods, reason = "the owner of this variable")]
    pub(crate) fn asked_hot_size(&self) -> Option<i64> {
        let asked = || std::env::var("DOLIUM_HOT_SIZE").ok().and_then(|size| size.parse().ok());
        let set = self.settings().get("hot_size").and_then(crate::scalar::Scalar::as_int);
        set.or_else(asked)
    }

    /// Bytes of the tier that this process would make.
    pub(crate) fn hot_size(self: &Arc<Self>) -> u64 {
        if !self.is_loaded() {
            // Opening the database reads the settings. What is wrong with it will be met again.
            let _pass = gate::enter();
            let _: Result<()> = self.try_read(&mut |_| Ok(()));
        }
        // Negative: as much as fits the cache.
        if let Ok(size) = u64::try_from(self.asked_hot_size().unwrap_or(-1)) {
            return size;
        }
        let share = SIZE / self.hot_share.load(Ordering::Relaxed).max(1);
        let size = self.settings().size_limit.map_or(share, |limit| share.min(limit / 16)).max(SMALL);
        // Where little is free it is needed for the database.
        if files::free_bytes(&self.directory).is_none_or(|free| free > 4 * size) { size } else { 0 }
    }

    /// The tier, if this process has one.
    pub(crate) fn tier(&self) -> Option<Tier> {
        match self.lock.hot() {
            Hot::Tier(tier) => Some(tier),
            Hot::None | Hot::Unattached => None,
        }
    }

    /// The tier, if this process has one and it may answer without asking SQLite whether other programs have written.
    pub(crate) fn tier_to_answer(&self) -> Option<Tier> {
        self.watched.load(Ordering::Relaxed).then(|| self.tier()).flatten()
    }

    /// Sees to it that what other programs write is noticed, by this call and then by the keeper at each tick as long
    /// as the tier is used.
    fn watch(self: &Arc<Self>) -> Result<()> {
        if self.watched.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.forget_disturbed(Patience::Timeout(super::ATTACHING))?;
        self.watched.store(true, Ordering::Relaxed);
        keeper::wake(self);
        Ok(())
    }

    /// Called by the keeper. Returns whether the tier was used since the last time.
    pub(crate) fn watch_on(self: &Arc<Self>, patience: Patience) -> bool {
        if !self.watched.swap(false, Ordering::Relaxed) {
            return false;
        }
        // A failure leaves it to the next who asks.
        let _ = self.forget_disturbed(patience);
        true
    }

    /// If other programs have changed rows, the tier forgets what it knows of rows.
    fn forget_disturbed(self: &Arc<Self>, patience: Patience) -> Result<()> {
        let found = self.read_now(patience, |connection| Ok(reached(connection)?))?;
        if found.is_some_and(|found| found.is_disturbed) {
            self.drain(&mut Deadline::new(patience), DRAIN, |_| true)?;
        }
        Ok(())
    }

    /// The tier for a write, attached if need be. Not inside the gate.
    pub(crate) fn tier_to_write(self: &Arc<Self>) -> Result<Option<Tier>> {
        match self.lock.hot() {
            Hot::Tier(tier) => return Ok(Some(tier)),
            Hot::None => return Ok(None),
            Hot::Unattached if self.is_read_only() => return Ok(None),
            Hot::Unattached => {}
        }
        {
            let _pass = gate::enter();
            self.renew()?;
        }
        match self.lock.join(self)? {
            Hot::Tier(tier) => Ok(Some(tier)),
            Hot::None | Hot::Unattached => Ok(None),
        }
    }

    /// The tier for a read. A process that has read a while makes one if there is none; before, it joins those who
    /// have one. Not inside the gate.
    pub(crate) fn tier_to_read(self: &Arc<Self>) -> Result<Option<Tier>> {
        match self.lock.hot() {
            Hot::Tier(tier) => {
                self.watch()?;
                return Ok(Some(tier));
            }
            Hot::None => return Ok(None),
            Hot::Unattached => {}
        }
        {
            let _pass = gate::enter();
            self.renew()?;
        }
        if self.is_read_only() || !files::exists(&self.database) {
            return Ok(None);
        }
        let is_worth_it = self.reads.fetch_add(1, Ordering::Relaxed) >= READS;
        let is_used = || {
            self.read_now(
                Patience::Timeout(super::ATTACHING),
                |connection| Ok(reached(connection)?.is_some()),
            )
        };
        if is_worth_it || is_used()? {
            match self.lock.join(self) {
                Ok(Hot::Tier(tier)) => return Ok(Some(tier)),
                // Opening the database has shown that it can only be read.
                Err(_) if self.is_read_only() => {}
                // On a full disk, say: as long as nobody has a tier, none is needed for reading.
                Err(error) if is_used()? => return Err(error),
                Err(_) | Ok(Hot::None | Hot::Unattached) => {}
            }
        }
        Ok(None)
    }

    /// After closing: the next use is the first again.
    pub(crate) fn forget_reads(&self) {
        self.reads.store(0, Ordering::Relaxed);
        self.watched.store(false, Ordering::Relaxed);
    }

    /// The tier that others have, for a process that may only read. The database is asked each time: nobody tells an
    /// observer that all have gone.
    pub(crate) fn observer(self: &Arc<Self>, patience: Patience) -> Result<Option<Observer>> {
        let found = self.read_now(patience, |connection| Ok(reached(connection)?))?;
        let Some(Reached { life, .. }) = found else { return Ok(None) };
        let _pass = gate::enter();
        let mut known = self.observer.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_none_or(|known| known.life() != life) {
            *known =
                Observer::new(&self.directory, life).map_err(Error::io(self.directory.join("cache.hot")))?;
        }
        Ok(known.clone())
    }

    /// For operations that ask SQLite about more than a key: what was dirty when they started is drained.
    pub(crate) fn settle_order(self: &Arc<Self>, patience: Patience) -> Result<()> {
        let Some(tier) = self.tier_to_read()?.filter(Tier::is_dirty) else {
            return Ok(());
        };
        let head = tier.head();
        self.drain_while(&mut Deadline::new(patience), DRAIN, |tier| {
            tier.is_dirty() && tier.drained_to() < head
        })
    }

    /// Drains all.
    pub(crate) fn drain_all(self: &Arc<Self>, patience: Patience) -> Result<()> {
        self.drain_while(&mut Deadline::new(patience), DRAIN, Tier::is_dirty)
    }

    /// Called by the keeper at each tick: drains if that has waited for a tick, or too much does. Other processes have
    /// keepers, too: what one has just drained the others need not. Returns whether nothing is left.
    pub(crate) fn drain_aged(self: &Arc<Self>, patience: Patience) -> bool {
        let Some(tier) = self.tier() else { return true };
        let head = tier.head();
        // At most: the last tick may have seen another tier.
        let seen = self.seen_head.swap(head, Ordering::Relaxed).min(head);
        let is_due = |tier: &Tier| {
            tier.is_dirty() && (tier.drained_to() < seen || tier.dirty_bytes() > tier.capacity() / FULL)
        };
        let drained = self.drain_while(&mut Deadline::new(patience), DRAIN, is_due);
        drained.is_ok() && !tier.is_dirty()
    }

    /// Makes room for a record that found none, unless somebody else does meanwhile: it looks again in each turn, since
    /// who waits for D until it is free stands behind all others who found no room.
    pub(crate) fn drain_some(self: &Arc<Self>, tier: &Tier, deadline: &mut Deadline) -> Result<()> {
        let seen = tier.drained_to();
        let is_wanted = |tier: &Tier| tier.is_dirty() && tier.drained_to() == seen;
        for turn in 1_u32.. {
            let left = deadline.left();
            let mut until = Deadline::new(Patience::Timeout(left.map_or(TURN, |left| left.min(TURN))));
            match self.drain_while(&mut until, FORCED, is_wanted) {
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

    /// Drains as long as it is wanted, which is asked again when D is there: who had it before may have done it all.
    fn drain_while(
        self: &Arc<Self>,
        deadline: &mut Deadline,
        limit: Limit,
        wanted: impl Fn(&Tier) -> bool,
    ) -> Result<()> {
        while self.tier().is_some_and(|tier| wanted(&tier)) {
            self.drain(deadline, limit, &wanted)?;
        }
        Ok(())
    }

    fn drain(
        self: &Arc<Self>,
        deadline: &mut Deadline,
        limit: Limit,
        wanted: impl Fn(&Tier) -> bool,
    ) -> Result<()> {
        self.with_room(|| {
            let drained = self.locked_after(
                deadline,
                |_, tier| Ok(tier.filter(|tier| wanted(tier)).cloned()),
                |deadline, tier| tier.map_or(Ok(()), |tier| self.drain_locked(&tier, deadline, limit)),
            );
            drained.map(|_| ())
        })
    }

    /// One step. The caller holds D and is inside the gate.
    fn drain_locked(self: &Arc<Self>, tier: &Tier, deadline: &mut Deadline, limit: Limit) -> Result<()> {
        if !files::exists(&self.database) {
            // Removed, perhaps with its directory: what waits has nowhere to go, and nothing may be made for it.
            tier.retire();
            return Ok(());
        }
        let since = Instant::now();
        let drained = self.try_write(deadline, &mut |write| {
            let found = match reached(write.connection())? {
                Some(found) if found.life == tier.life() => found,
                Some(_) => return Ok(None),
                None => {
                    // Somebody took the database, or its log, away. What waits was acknowledged.
                    write.apply(&tier.pending(0, EVERYTHING))?;
                    return Ok(None);
                }
            };
            if found.is_disturbed {
                tier.forget_clean();
            }
            let batch = tier.pending(found.number, limit);
            write.apply(&batch)?;
            let expired = write.remove_expired_after(&batch, self.settings().cull_limit)?;
            write.reach(found.life, batch.number())?;
            Ok(Some((batch, expired, found.is_disturbed)))
        })?;
        match drained {
            Some((batch, expired, is_disturbed)) => {
                tier.drained(&batch);
                tier.count(Counter::Expirations, expired as u64);
                tier.count(Counter::Drained, batch.len() as u64);
                tier.count(Counter::Drains, 1);
                tier.count(Counter::DrainTime, u64::try_from(since.elapsed().as_micros()).unwrap_or(0));
                if is_disturbed {
                    // A fill may have been under way the first time.
                    tier.forget_clean();
                }
            }
            // The database is another one.
            None => tier.retire(),
        }
        Ok(())
    }

    /// What reads have noted in the tier.
    pub(crate) fn take_notes(&self) -> Vec<(Key<'static>, Timestamp, i64)> {
        let mut notes = Vec::new();
        if let Some(tier) = self.tier().filter(|_| self.records_reads()) {
            tier.take_accesses(|view, note| {
                let (time, count) = policy::noted(note);
                notes.extend(Key::from_hot(view.key()).map(|key| (key, time, count)));
            });
        }
        notes
    }

    /// After a record was appended: it is to be drained within a tick, or sooner where much waits.
    pub(crate) fn after_append(self: &Arc<Self>, tier: &Tier) {
        keeper::wake(self);
        if tier.dirty_bytes() > tier.capacity() / FULL {
            keeper::hurry();
        }
    }

    /// Empties the tier and keeps it so: before SQLite is written directly. The caller holds D and is not inside the
    /// gate.
    pub(super) fn quiesce(self: &Arc<Self>, deadline: &mut Deadline, tier: &Tier) -> Result<Writing> {
        let drain = |deadline: &mut Deadline| {
            let _pass = gate::enter();
            self.drain_locked(tier, deadline, DRAIN)
        };
        while tier.is_live() && tier.dirty_bytes() > LITTLE {
            drain(deadline)?;
        }
        // The hook may write, which would wait for the lock D that this thread holds.
        let writing = self.take_t(tier, deadline, &mut || true)?;
        while tier.is_live() && tier.is_dirty() {
            drain(deadline)?;
        }
        if !files::exists(&self.database) {
            // Before it is made anew: what is written to the tier after that would be lost.
            tier.retire();
        }
        if !tier.is_live() {
            return Err(Error::Replaced { path: self.database.clone() });
        }
        Ok(writing)
    }

    /// At the beginning of a direct transaction: is this still the database behind the tier, and has nobody else
    /// written to it?
    pub(crate) fn admit(&self, connection: &rusqlite::Connection, writing: &mut Writing) -> Result<()> {
        match reached(connection)? {
            Some(found) if found.life == writing.life() => {
                if found.is_disturbed {
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

    /// Adds to what all processes have counted, if there is a tier.
    pub(crate) fn count(&self, counter: Counter, by: u64) {
        if by > 0
            && let Some(tier) = self.tier()
        {
            tier.count(counter, by);
        }
    }

    /// Takes T, with nothing held. Not inside the gate.
    pub(crate) fn write_tier(self: &Arc<Self>, tier: &Tier, deadline: &Deadline) -> Result<Writing> {
        self.take_t(tier, deadline, &mut may_continue)
    }

    fn take_t(
        self: &Arc<Self>,
        tier: &Tier,
        deadline: &Deadline,
        tick: &mut dyn FnMut() -> bool,
    ) -> Result<Writing> {
        let mut applied = || {
            let found =
                self.read_now(Patience::Timeout(super::ATTACHING), |connection| Ok(reached(connection)?));
            found.ok().flatten().filter(|found| found.life == tier.life()).map(|found| found.number)
        };
        let writing = tier.lock(deadline.left(), tick, &mut applied);
        writing.map_err(|error| match error {
            dolium_hot::LockError::Interrupted => Error::Interrupted,
            dolium_hot::LockError::Timeout => self.timeout(deadline),
            _ if !tier.is_live() => Error::Replaced { path: self.database.clone() },
            other => Error::Lock { directory: self.directory.clone(), detail: other.to_string() },
        })
    }

    /// T, so that nothing is added to what waits in the tier. None if it cannot be had.
    pub(super) fn stop_tier(self: &Arc<Self>, tier: &Tier, deadline: &Deadline) -> Option<Writing> {
        self.take_t(tier, deadline, &mut || true).ok()
    }

    /// Runs `f` in a transaction of its own without D: only while nobody else can have the directory attached.
    fn write_alone(
        self: &Arc<Self>,
        deadline: &mut Deadline,
        f: &mut impl FnMut(&mut Write<'_>) -> Result<()>,
    ) -> Result<()> {
        self.alone(deadline, |deadline| self.try_write(deadline, f))
    }

    /// Repeats `f` while other programs are busy with the database, and after a damaged one was set aside, for which
    /// D is not needed either.
    fn alone<T: Default>(
        self: &Arc<Self>,
        deadline: &mut Deadline,
        mut f: impl FnMut(&mut Deadline) -> Result<T>,
    ) -> Result<T> {
        let mut tries = 0;
        loop {
            let done = {
                let _pass = gate::enter();
                f(deadline)
            };
            match done.map_err(|error| error.located(&self.database)) {
                Err(Error::Sqlite { source, .. }) if error::is_busy(&source) && deadline.sleep() => {}
                Err(Error::Sqlite { source, .. }) if error::is_empty_store(&source) => {
                    return Ok(T::default());
                }
                Err(error) => self.mend_locked(None, &mut tries, error)?,
                done => return done,
            }
        }
    }

    /// Lets go of the tier at the end: all is drained, and the last one out says so in the database.
    pub(crate) fn leave(self: &Arc<Self>, patience: Patience) -> Result<()> {
        let mut deadline = Deadline::new(patience);
        for _ in 0..LEAVING {
            self.drain_all(patience)?;
            if self.lock.leave(|| self.write_alone(&mut deadline, &mut |write| write.end_tier()))? {
                break;
            }
        }
        Ok(())
    }
}
