//! Whether what we are attached to is still what others find.
//!
//! Owns the verdicts. Refuses to repair: the engine drops the handle and attaches anew.

use crate::system::descriptor::{Descriptor, Identity};
use std::path::Path;

/// What a check found. Everything but [`Health::Sound`] means: drop every handle and guard, then attach anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// All well.
    Sound,
    /// Attached by an ancestor of this process.
    Forked,
    /// This program closed our descriptor (daemons do), and with it gave up our slot.
    Closed,
    /// `cache.lock` was deleted or replaced: a process that comes now does not see us.
    LockGone,
    /// `cache.hot` was deleted, replaced or cut short: a process that comes now uses another lock word.
    FileGone,
}

pub(crate) fn check_lock_file(descriptor: &Descriptor, path: &Path) -> Health {
    if !descriptor.is_ours() {
        Health::Closed
    } else if matches!(Identity::at(path), Ok(found) if found != Some(descriptor.identity)) {
        Health::LockGone
    } else {
        Health::Sound
    }
}
