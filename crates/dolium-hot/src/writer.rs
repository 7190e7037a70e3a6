//! The write lock of a directory, of whichever kind fits it.
//!
//! Owns the choice. Refuses to choose by anything but the kind of file system, which all processes of a kernel see
//! alike: if each fell back on its own account (no memory, no futex), some would hold the word and others the file. Who
//! sees the directory through another file system (a network mount of a local disk) is told so on attaching.

use crate::lock::file_lock::FileLock;
use crate::lock::guard::Guard;
use crate::lock::health::Health;
use crate::system::access::Access;
use crate::system::error::{AttachError, LockError};
#[cfg(target_os = "linux")]
use crate::tier::member::Shared;
#[cfg(target_os = "linux")]
use crate::tier::{Base, Tier};
use std::path::Path;
use std::time::Duration;

/// The write lock of a directory. Clones are the same membership.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum WriterLock {
    /// A word in shared memory.
    #[cfg(target_os = "linux")]
    Shared(Shared),
    /// A byte of `cache.lock`.
    File(FileLock),
}

impl WriterLock {
    /// Joins `directory`, which must exist.
    #[cfg(target_os = "linux")]
    pub fn attach(directory: &Path, access: Access) -> Result<Self, AttachError> {
        match Shared::attach(directory, access) {
            Err(AttachError::NotLocal { .. }) => FileLock::attach(directory, access).map(Self::File),
            other => other.map(Self::Shared),
        }
    }

    /// Joins `directory`, which must exist.
    #[cfg(not(target_os = "linux"))]
    pub fn attach(directory: &Path, access: Access) -> Result<Self, AttachError> {
        FileLock::attach(directory, access).map(Self::File)
    }

    /// The same, with a tier of about `bytes` bytes in front of a database, 0 for none: see [`Shared::attach_tier`].
    #[cfg(target_os = "linux")]
    pub fn attach_tier(
        directory: &Path,
        access: Access,
        bytes: u64,
        base: &mut dyn Base,
    ) -> Result<Self, AttachError> {
        match Shared::attach_tier(directory, access, bytes, base) {
            Err(AttachError::NotLocal { .. }) => FileLock::attach(directory, access).map(Self::File),
            other => other.map(Self::Shared),
        }
    }

    /// The tier of the directory.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn tier(&self) -> Option<Tier> {
        match self {
            Self::Shared(shared) => shared.tier(),
            Self::File(_) => None,
        }
    }

    /// As [`Shared::leave`].
    #[cfg(target_os = "linux")]
    pub fn leave<E>(self, clear: impl FnOnce() -> Result<(), E>) -> Result<bool, E> {
        match self {
            Self::Shared(shared) => shared.leave(clear),
            Self::File(_) => Ok(false),
        }
    }

    /// How many there are of this membership: clones, and the locks, guards and tiers made of them.
    #[must_use]
    pub fn holders(&self) -> usize {
        match self {
            #[cfg(target_os = "linux")]
            Self::Shared(shared) => shared.holders(),
            Self::File(lock) => lock.holders(),
        }
    }

    /// As [`Lock::acquire`](crate::Lock::acquire).
    pub fn acquire(
        &self,
        patience: Option<Duration>,
        tick: &mut dyn FnMut() -> bool,
    ) -> Result<Guard, LockError> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Shared(shared) => shared.lock().acquire(patience, tick),
            Self::File(lock) => lock.acquire(patience, tick),
        }
    }

    /// Whether it was attached by an ancestor of this process.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        match self {
            #[cfg(target_os = "linux")]
            Self::Shared(shared) => shared.is_stale(),
            Self::File(lock) => lock.is_stale(),
        }
    }

    /// Cheap enough for a tick of 100 ms.
    #[must_use]
    pub fn check(&self) -> Health {
        match self {
            #[cfg(target_os = "linux")]
            Self::Shared(shared) => shared.check(),
            Self::File(lock) => lock.check(),
        }
    }

    /// Whether it is the word in shared memory.
    #[must_use]
    pub fn is_shared_memory(&self) -> bool {
        !matches!(self, Self::File(_))
    }
}
