//! A held lock.
//!
//! Owns the release, and the rule that it happens only in the process that acquired. Refuses to wait.

use crate::file_lock::FileMember;
use crate::fork;
#[cfg(target_os = "linux")]
use crate::map::Which;
#[cfg(target_os = "linux")]
use crate::shared::Member;
use crate::wait::Acquired;
use std::sync::Arc;

/// The lock, held until this is dropped, in whatever thread. In a forked child the drop does nothing: the lock is the
/// parent's.
#[derive(Debug)]
#[must_use = "the lock is released when the guard is dropped"]
pub struct Guard {
    held: Held,
    generation: u64,
    acquired: Acquired,
}

#[derive(Debug)]
pub(crate) enum Held {
    #[cfg(target_os = "linux")]
    Word(Arc<Member>, Which),
    File(Arc<FileMember>),
}

impl Guard {
    pub(crate) fn new(held: Held, generation: u64, acquired: Acquired) -> Self {
        Self { held, generation, acquired }
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
        fork::generation() == self.generation
            && match &self.held {
                #[cfg(target_os = "linux")]
                Held::Word(member, which) => member.names_us(*which),
                Held::File(member) => member.is_open(),
            }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if fork::generation() != self.generation {
            return;
        }
        match &self.held {
            #[cfg(target_os = "linux")]
            Held::Word(member, which) => member.release(*which),
            Held::File(member) => member.release(),
        }
    }
}
