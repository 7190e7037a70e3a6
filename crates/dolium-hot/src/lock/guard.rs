//! A held lock. It is released when it is dropped, and only in the process that acquired it. Does not wait.

use crate::lock::wait::Acquired;
use crate::system::fork;
use std::fmt::Debug;
use std::sync::Arc;

/// One of the two locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// The writer lock: its owner may write the database.
    Database,
    /// The append lock: its owner may write the tier.
    Tier,
}

/// A membership that holds locks for its process.
pub(crate) trait Release: Debug + Send + Sync {
    /// Whether the lock is still this process's.
    fn is_held(&self, which: Which) -> bool;

    /// Gives the lock to whichever process comes next.
    fn release(&self, which: Which);
}

/// The lock, held until this is dropped, in whatever thread. In a forked child the drop does nothing: the lock is the
/// parent's.
#[derive(Debug)]
#[must_use = "the lock is released when the guard is dropped"]
pub struct Guard {
    holder: Arc<dyn Release>,
    which: Which,
    generation: u64,
    acquired: Acquired,
}

impl Guard {
    pub(crate) fn new(holder: Arc<dyn Release>, which: Which, generation: u64, acquired: Acquired) -> Self {
        Self { holder, which, generation, acquired }
    }

    /// Whether a dead owner left it.
    #[must_use]
    pub fn acquired(&self) -> Acquired {
        self.acquired
    }

    /// False in a forked child, and when the lock was taken from us because this program closed our descriptor, which
    /// makes us look dead.
    #[must_use]
    pub fn is_held(&self) -> bool {
        fork::generation() == self.generation && self.holder.is_held(self.which)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if fork::generation() == self.generation {
            self.holder.release(self.which);
        }
    }
}
