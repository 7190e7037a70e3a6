//! A write, from the writer lock to the commit. Which failures are followed by another attempt is decided in `attempts`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dolium_hot::{Counter, Tier, Writing};

use crate::sqlite::Write;
use crate::sqlite::forget::forget_unless_dirty;
use crate::sqlite::tier::applied;
use crate::store::attempts::Attempts;
use crate::store::evict::Append;
use crate::store::lock::Held;
use crate::system::error::{Error, Result};
use crate::system::fork_gate;
use crate::system::wait::{Deadline, Wait};

use super::Handle;

/// How long a long transaction tries to take the append lock, which other writers hold for a moment each. Its connection is
/// open, so it waits inside the fork gate, but not once a fork waits for that.
const MOMENT: Duration = Duration::from_millis(100);

/// Rows up to which a commit is quick anyway.
const FEW: usize = 100;

impl Handle {
    /// Runs `f` in a transaction that excludes every other writer, and commits it. If `f` fails, nothing
    /// is changed. Inside the context's open transaction, `f` is one step of that.
    ///
    /// `f` may run again after a damaged store was quarantined.
    pub fn write<T>(
        self: &Arc<Self>,
        wait: Wait,
        mut f: impl FnMut(&mut Write<'_>) -> Result<T>,
    ) -> Result<T> {
        if self.transaction.is_own() {
            return self.in_transaction(|open| open.step(&mut f));
        }
        let mut deadline = Deadline::new(wait);
        let mut attempts = Attempts::freeing_space(self, &mut deadline);
        let result = loop {
            match self.write_once(&mut attempts, &mut f) {
                Ok(result) => break result,
                Err(error) => attempts.recover(error)?,
            }
        };
        // Without the locks: to empty the log may take long.
        drop(attempts);
        self.trim_log_if_scarce();
        Ok(result)
    }

    fn write_once<T>(
        self: &Arc<Self>,
        attempts: &mut Attempts<'_>,
        f: &mut impl FnMut(&mut Write<'_>) -> Result<T>,
    ) -> Result<T> {
        let (held, deadline) = attempts.lock()?;
        let mut writing = self.quiesce_tier(held, deadline)?;
        let _inside = fork_gate::enter();
        let transaction = self.begin()?;
        if let Some(writing) = &mut writing {
            self.verify_epoch(transaction.connection(), writing)?;
        }
        let mut write = transaction.write();
        let result = f(&mut write)?;
        let stores = write.is_vouched();
        if let Some(writing) = &mut writing {
            write.publish(writing)?;
        }
        let finished = write.finish()?;
        transaction.commit(finished, deadline)?;
        if let Some(writing) = &mut writing {
            writing.committed();
            writing.count(Counter::Direct, 1);
        }
        if stores {
            self.keep_limit(writing.as_mut().map_or(Append::None, Append::Held));
        }
        Ok(result)
    }

    /// Runs `f` in a transaction as [`write`](Self::write) does, where `f` looks at so many rows: other processes go on
    /// appending to the tier meanwhile. If they change a key that the transaction changes, it is undone, and `f` runs again
    /// while they wait.
    ///
    /// `f` must name all keys whose rows it reads or changes.
    pub fn write_beside<T>(
        self: &Arc<Self>,
        wait: Wait,
        rows: usize,
        mut f: impl FnMut(&mut Write<'_>) -> Result<T>,
    ) -> Result<T> {
        if self.transaction.is_own() {
            return self.write(wait, f);
        }
        let mut deadline = Deadline::new(wait);
        let mut attempts = Attempts::freeing_space(self, &mut deadline);
        let mut is_alone = false;
        let result = loop {
            let done = if is_alone {
                self.write_once(&mut attempts, &mut f).map(Some)
            } else {
                self.write_beside_once(&mut attempts, rows, &mut f)
            };
            match done {
                Ok(Some(result)) => break result,
                Ok(None) => {
                    is_alone = true;
                    attempts.give_up();
                }
                Err(error) => attempts.recover(error)?,
            }
        };
        drop(attempts);
        self.trim_log_if_scarce();
        Ok(result)
    }

    /// Returns `None`, with nothing changed, if that is not possible beside others.
    fn write_beside_once<T>(
        self: &Arc<Self>,
        attempts: &mut Attempts<'_>,
        rows: usize,
        f: &mut impl FnMut(&mut Write<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let (held, deadline) = attempts.lock()?;
        let Some(tier) = held.tier() else { return Ok(None) };
        // What this process has just written is no change of others.
        self.drain_mostly(tier, deadline)?;
        let result = {
            let _inside = fork_gate::enter();
            self.commit_beside(tier, deadline, rows, f)?
        };
        if let Some((_, true)) = result {
            self.keep_limit(Append::Free(tier));
        }
        Ok(result.map(|(result, _)| result))
    }

    /// The transaction, from its beginning to its commit. It needs no sequence number, because nothing of what it changes is
    /// dirty: that was so before it began, and is so once it has the append lock.
    fn commit_beside<T>(
        self: &Arc<Self>,
        tier: &Tier,
        deadline: &mut Deadline,
        rows: usize,
        f: &mut impl FnMut(&mut Write<'_>) -> Result<T>,
    ) -> Result<Option<(T, bool)>> {
        let transaction = self.begin()?;
        transaction.connection().count_reads(rows);
        match applied(transaction.connection())? {
            Some(found) if found.epoch == tier.epoch() => {
                if found.is_disturbed {
                    tier.forget_clean();
                }
            }
            _ => return Ok(None),
        }
        let mut write = transaction.write();
        let result = f(&mut write)?;
        let (stores, changed) = (write.is_vouched(), write.take_changed());
        let finished = write.finish()?;
        if rows > FEW {
            // Else the commit would write all pages while others wait. If it fails, the commit says why.
            let _ = transaction.connection().cache_flush();
        }
        let Some(mut writing) = lock_in_a_moment(tier).filter(Writing::is_live) else { return Ok(None) };
        if !forget_unless_dirty(&mut writing, tier, changed) {
            return Ok(None);
        }
        writing.commit_beside(|| transaction.commit(finished, deadline))?;
        writing.count(Counter::Direct, 1);
        Ok(Some((result, stores)))
    }

    /// Empties the tier that came with the writer lock, if there is one, and keeps it so until the append lock, which is
    /// returned, is free. Not inside the fork gate, since it may wait.
    pub(super) fn quiesce_tier(
        self: &Arc<Self>,
        held: &Held,
        deadline: &mut Deadline,
    ) -> Result<Option<Writing>> {
        held.tier().map(|tier| self.quiesce(deadline, tier)).transpose()
    }

    /// Waits for the writer lock. Not inside the fork gate: the owner may be another process.
    pub(crate) fn acquire(self: &Arc<Self>, deadline: &mut Deadline) -> Result<Held> {
        if self.is_read_only() {
            return Err(Error::unwritable(&self.directory, &self.database));
        }
        self.refuse_neighbor()?;
        {
            let _inside = fork_gate::enter();
            self.renew()?;
        }
        self.tier.lock.acquire(self, deadline).map_err(|error| match error {
            Error::Timeout { .. } => self.timeout(deadline),
            other => other,
        })
    }
}

/// The append lock, unless others have it for longer than a moment, one of them has died with it, or a fork waits.
fn lock_in_a_moment(tier: &Tier) -> Option<Writing> {
    let since = Instant::now();
    loop {
        let writing = tier.try_lock();
        if writing.is_some() || since.elapsed() > MOMENT || fork_gate::is_wanted() {
            return writing;
        }
        std::thread::yield_now();
    }
}
