//! A write, from the writer lock to the commit. Which failures are followed by another attempt is decided in `attempts`.

use std::sync::Arc;

use dolium_hot::{Counter, Writing};

use crate::sqlite::Write;
use crate::store::attempts::Attempts;
use crate::store::evict::Append;
use crate::store::lock::Held;
use crate::system::error::{Error, Result};
use crate::system::fork_gate;
use crate::system::wait::{Deadline, Wait};

use super::Handle;

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
