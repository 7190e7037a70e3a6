//! The write lock of a directory, of whichever kind fits it.
//!
//! Owns the choice. By itself it depends on nothing but the kind of file system, which all processes of a kernel see
//! alike. The exception is a process to which the system refuses memory on a local one. While it is attached, processes
//! that come do without memory as well. Where others share memory already, it is refused. If each fell back on its own
//! account, some would hold the word and others the file. A process that sees the directory through another file system
//! (a network mount of a local disk) is told so on attaching.

use crate::lock::file_lock::FileLock;
use crate::lock::guard::Guard;
use crate::lock::health::Health;
#[cfg(target_os = "linux")]
use crate::lock::lockfile::{Paths, Patience};
use crate::system::access::Access;
use crate::system::error::{AttachError, LockError};
#[cfg(target_os = "linux")]
use crate::tier::attach::forgo;
#[cfg(target_os = "linux")]
use crate::tier::member::Shared;
#[cfg(target_os = "linux")]
use crate::tier::{BackingStore, Successor, Tier};
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
    ///
    /// Where the system refuses the tier, there is one lock without it, and why: the word, which takes a page; else the
    /// file; else the turns of threads.
    #[cfg(target_os = "linux")]
    pub fn attach_tier(
        directory: &Path,
        access: Access,
        patience: Patience,
        bytes: u64,
        backing: &mut dyn BackingStore,
        successor: Option<Successor>,
    ) -> Result<(Self, Option<AttachError>), AttachError> {
        let refusal = match Shared::attach_tier(directory, access, patience, bytes, backing, successor) {
            Ok(shared) => return Ok((Self::Shared(shared), None)),
            Err(AttachError::NotLocal { .. }) => {
                return Ok((Self::File(FileLock::attach_with(directory, access, patience)?), None));
            }
            Err(error) if error.is_refusal(directory) => error,
            Err(error) => return Err(error),
        };
        if bytes > 0
            && !matches!(refusal, AttachError::Apart { .. })
            && let Ok(shared) = Shared::attach_tier(directory, access, patience, 0, backing, None)
        {
            shared.note(&refusal.to_string());
            return Ok((Self::Shared(shared), Some(refusal)));
        }
        let mut say_so = |paths: &Paths, lock| forgo(paths, lock, backing);
        let lock = match FileLock::attach_apart(directory, access, patience, &refusal, &mut say_so) {
            Ok(lock) => lock,
            Err(AttachError::Unrecovered { path }) => {
                return Err(AttachError::Excluded { path, why: Box::new(refusal) });
            }
            Err(error) if error.is_refusal(directory) => FileLock::of_threads(),
            Err(error) => return Err(error),
        };
        Ok((Self::File(lock), Some(refusal)))
    }

    /// Whether others on this machine may share memory that this process is refused: it must not read the database, nor
    /// write to it, while that names a tier.
    #[must_use]
    pub fn is_apart(&self) -> bool {
        match self {
            #[cfg(target_os = "linux")]
            Self::Shared(_) => false,
            Self::File(lock) => lock.is_apart(),
        }
    }

    /// Whether it keeps other processes out: not where the system refuses a lock on a file.
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        match self {
            #[cfg(target_os = "linux")]
            Self::Shared(_) => true,
            Self::File(lock) => lock.is_exclusive(),
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
    pub fn leave<E>(self, clear: impl FnOnce(Option<(u64, u64)>) -> Result<bool, E>) -> Result<bool, E> {
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
        timeout: Option<Duration>,
        tick: &mut dyn FnMut() -> bool,
    ) -> Result<Guard, LockError> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Shared(shared) => shared.lock().acquire(timeout, tick),
            Self::File(lock) => lock.acquire(timeout, tick),
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
