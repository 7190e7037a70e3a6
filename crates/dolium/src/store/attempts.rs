//! The attempts of a write: what a failed one leaves to do, and whether another may succeed. All retries under the
//! writer lock are decided here.

use std::sync::Arc;

use dolium_hot::Guard;

use crate::store::Handle;
use crate::store::lock::Held;
use crate::system::error::{self, Error, Result};
use crate::system::wait::{Deadline, is_own_thread};

/// Attempts at one operation under the writer lock, until a deadline.
///
/// ```ignore
/// loop {
///     match self.write_once(&mut attempts) {
///         Ok(result) => return Ok(result),
///         Err(error) => attempts.recover(error)?,
///     }
/// }
/// ```
pub(super) struct Attempts<'a> {
    handle: &'a Arc<Handle>,
    deadline: &'a mut Deadline,
    held: Option<Held>,
    /// How often damage, or another database, was met.
    damages: u32,
    /// A full disk is a reason to free space and to try again, once.
    may_free_space: bool,
}

impl<'a> Attempts<'a> {
    pub fn new(handle: &'a Arc<Handle>, deadline: &'a mut Deadline) -> Self {
        Self { handle, deadline, held: None, damages: 0, may_free_space: false }
    }

    /// Makes attempts for what commits to the database. After a full disk they go on if space could be freed. The
    /// housekeeper comes again anyway; callers cannot wait for that.
    pub fn freeing_space(handle: &'a Arc<Handle>, deadline: &'a mut Deadline) -> Self {
        Self { may_free_space: !is_own_thread(), ..Self::new(handle, deadline) }
    }

    /// Waits for the writer lock, which this attempt holds until it ends. Not inside the fork gate.
    pub fn lock(&mut self) -> Result<(&Held, &mut Deadline)> {
        let held = self.handle.acquire(self.deadline)?;
        Ok((self.held.insert(held), self.deadline))
    }

    /// Ends a failed attempt. Returns whether another may succeed, else the error.
    pub fn recover(&mut self, error: Error) -> Result<()> {
        let recovered = match self.held.take() {
            Some(held) => self.recover_locked(held, error),
            None => Err(error),
        };
        match recovered {
            Err(Error::Full { .. }) if self.may_free_space && self.handle.free_disk_space() => {
                self.may_free_space = false;
                self.damages = 0;
                Ok(())
            }
            recovered => recovered,
        }
    }

    fn recover_locked(&mut self, held: Held, error: Error) -> Result<()> {
        match error.located(&self.handle.database) {
            // A foreign program is busy with the database.
            Error::Sqlite { source, .. } if error::is_busy(&source) => {
                // The interrupt hook may use this very cache.
                drop(held);
                if self.deadline.pause()? { Ok(()) } else { Err(self.handle.timeout(self.deadline)) }
            }
            Error::Replaced { .. } if self.damages < 2 => {
                self.damages += 1;
                Ok(())
            }
            error => self.handle.repair_locked(held.tier(), &mut self.damages, error),
        }
    }

    /// Ends an attempt that has changed nothing, so that another begins.
    pub fn give_up(&mut self) {
        self.held = None;
    }

    /// The writer lock, after a successful attempt.
    pub fn into_guard(mut self) -> Option<Guard> {
        self.held.take().map(Held::into_guard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cache;
    use crate::system::wait::Wait;

    #[test]
    fn an_attempt_after_a_failed_one_finds_the_writer_lock_free() -> Result<()> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let cache = Cache::open(directory.path())?;
        cache.set("there", 1)?;
        let replaced = || Error::Replaced { path: cache.handle.database.clone() };
        let mut deadline = Deadline::new(Wait::AtMost(std::time::Duration::from_secs(20)));
        let mut attempts = Attempts::new(&cache.handle, &mut deadline);
        for _ in 0..2 {
            attempts.lock()?;
            attempts.recover(replaced())?;
            std::thread::scope(|scope| scope.spawn(|| cache.clear().expect("free")).join().expect("thread"));
        }
        attempts.lock()?;
        let third = attempts.recover(replaced());
        assert!(matches!(third, Err(Error::Replaced { .. })), "no store is replaced so often: {third:?}");
        Ok(())
    }

    #[test]
    fn an_attempt_that_never_had_the_lock_is_the_last() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let cache = Cache::open(directory.path()).expect("opened");
        let mut deadline = Deadline::new(Wait::Forever);
        let mut attempts = Attempts::freeing_space(&cache.handle, &mut deadline);
        assert!(matches!(attempts.recover(Error::Interrupted), Err(Error::Interrupted)));
    }
}
