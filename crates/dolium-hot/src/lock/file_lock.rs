//! The write lock where shared memory cannot be had: network file systems, platforms other than Linux, and processes to
//! which the system refuses it.
//!
//! The contract is that of [`Shared`](crate::Shared)'s lock, kept by a lock on one byte of `cache.lock` (elsewhere than
//! on Linux, on the whole file). A directory whose other users have the lock word is refused. The kernel releases a
//! dead owner's lock, so no waiter needs to take it over; waiters poll.
//!
//! Where byte locks are refused, too, only the threads of the process take turns, and the lock of the database alone
//! keeps processes apart. That is safe, since the lock here is for order. But other processes cannot see such a
//! process, so it must ask the database, in each transaction and before each read, whether others have put a tier in
//! front of it.

use crate::lock::guard::{Guard, Release, Which};
use crate::lock::health::Health;
#[cfg(target_os = "linux")]
use crate::lock::lockfile::{Paths, Patience};
use crate::lock::wait::{Acquired, Slice, wait};
use crate::system::access::Access;
#[cfg(target_os = "linux")]
use crate::system::descriptor::Identity;
use crate::system::error::{AttachError, LockError};
use crate::system::fork;
use crate::system::local::LocalLock;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_micros(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(16);

/// The write lock of a directory, on a file. Clones are the same.
#[derive(Clone, Debug)]
pub struct FileLock(Arc<FileMember>);

#[derive(Debug)]
pub(crate) struct FileMember {
    /// None where the system refuses the file or its locks.
    file: Option<platform::LockFile>,
    /// Whether others on this machine may share memory that this process is refused.
    is_apart: bool,
    generation: u64,
    local: LocalLock,
}

impl FileLock {
    /// Joins `directory`, which must exist, and makes `cache.lock` there if need be.
    pub fn attach(directory: &Path, access: Access) -> Result<Self, AttachError> {
        let generation = fork::generation();
        let file = platform::LockFile::open(directory, access)?;
        Ok(Self::of(Some(file), false, generation))
    }

    /// The same, but waits as long as `patience` says.
    #[cfg(target_os = "linux")]
    pub(crate) fn attach_with(
        directory: &Path,
        access: Access,
        patience: Patience,
    ) -> Result<Self, AttachError> {
        let generation = fork::generation();
        let file = platform::LockFile::open_with(directory, access, patience)?;
        Ok(Self::of(Some(file), false, generation))
    }

    /// Joins a local directory where the system refuses this process shared memory, and leaves a note of that.
    /// Processes that come meanwhile do without shared memory, too. Those that share memory already exclude this one.
    #[cfg(target_os = "linux")]
    pub(crate) fn attach_apart(
        directory: &Path,
        access: Access,
        patience: Patience,
        why: &AttachError,
        forgo: &mut dyn FnMut(&Paths, Identity) -> Result<(), AttachError>,
    ) -> Result<Self, AttachError> {
        let generation = fork::generation();
        let file = platform::LockFile::open_apart(directory, access, patience, why, forgo)?;
        Ok(Self::of(Some(file), true, generation))
    }

    /// Without the file: the turns of threads.
    #[cfg(target_os = "linux")]
    pub(crate) fn of_threads() -> Self {
        Self::of(None, true, fork::generation())
    }

    fn of(file: Option<platform::LockFile>, is_apart: bool, generation: u64) -> Self {
        Self(Arc::new(FileMember { file, is_apart, generation, local: LocalLock::new() }))
    }

    /// Whether others on this machine may share memory that this process is refused.
    pub(crate) fn is_apart(&self) -> bool {
        self.0.is_apart
    }

    /// Whether it keeps other processes out, too.
    pub(crate) fn is_exclusive(&self) -> bool {
        self.0.file.is_some()
    }

    /// As [`Lock::acquire`](crate::Lock::acquire).
    pub fn acquire(
        &self,
        timeout: Option<Duration>,
        tick: &mut dyn FnMut() -> bool,
    ) -> Result<Guard, LockError> {
        let member = &self.0;
        let mut pause = FIRST_PAUSE;
        let acquired =
            wait(&member.local, member.generation, timeout, tick, |slice| member.attempt(slice, &mut pause))?;
        Ok(Guard::new(Arc::clone(member) as _, Which::Database, member.generation, acquired))
    }

    /// As [`Shared::holders`](crate::Shared::holders).
    #[must_use]
    pub fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// Whether it was attached by an ancestor of this process.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        fork::generation() != self.0.generation
    }

    /// A few system calls; on a network file system they may ask the server.
    #[must_use]
    pub fn check(&self) -> Health {
        if self.is_stale() {
            return Health::Forked;
        }
        self.0.file.as_ref().map_or(Health::Sound, platform::LockFile::check)
    }
}

impl FileMember {
    fn attempt(&self, slice: Slice, pause: &mut Duration) -> io::Result<Option<Acquired>> {
        let Some(file) = &self.file else { return Ok(Some(Acquired::Free)) };
        loop {
            if file.try_lock()? {
                return Ok(Some(Acquired::Free));
            }
            let now = Instant::now();
            if now >= slice.until {
                return Ok(None);
            }
            std::thread::sleep((*pause).min(slice.until - now));
            *pause = (*pause * 2).min(LONGEST_PAUSE);
        }
    }
}

impl Release for FileMember {
    fn is_held(&self, _: Which) -> bool {
        self.file.as_ref().is_none_or(platform::LockFile::is_open)
    }

    fn release(&self, _: Which) {
        if let Some(file) = &self.file {
            file.unlock();
        }
        self.local.unlock();
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use crate::lock::health::{Health, check_lock_file};
    use crate::lock::lockfile::{Paths, Patience, Retry, enter, held_elsewhere, reopen, retry_attach};
    use crate::system::access::Access;
    use crate::system::descriptor::{Descriptor, Identity, closed};
    use crate::system::error::AttachError;
    use crate::system::ofd::{self, APART_BYTE, FILE_LOCK_BYTE, FILE_REGIME_BYTE, LockKind, SLOTS};
    use std::io;
    use std::path::Path;

    #[derive(Debug)]
    pub(super) struct LockFile {
        descriptor: Descriptor,
        paths: Paths,
    }

    /// Takes the byte of the processes that share a kind of lock.
    fn join(descriptor: &Descriptor, paths: &Paths, byte: u32) -> Result<bool, AttachError> {
        let taken = descriptor.borrow().and_then(|fd| ofd::try_lock(fd, byte, LockKind::Shared));
        taken.map_err(|error| AttachError::io("lock", &paths.lock, error))
    }

    impl LockFile {
        /// On a file system that other machines may see.
        pub(super) fn open(directory: &Path, access: Access) -> Result<Self, AttachError> {
            Self::open_with(directory, access, Patience::default())
        }

        /// The same, but waits as long as `patience` says.
        pub(super) fn open_with(
            directory: &Path,
            access: Access,
            patience: Patience,
        ) -> Result<Self, AttachError> {
            let paths = Paths::of(directory)?;
            let descriptor = retry_attach(&paths, patience, || {
                let descriptor = Descriptor::open(&paths.lock, access)?;
                if !enter(&descriptor, &paths.lock, LockKind::Shared)? {
                    return Ok(Err(Retry::Busy));
                }
                // Taken first, then looked; see `attach::join`.
                let is_mixed = !join(&descriptor, &paths, FILE_REGIME_BYTE)?
                    || held_elsewhere(&descriptor, &paths.lock, 0, SLOTS)?
                    || held_elsewhere(&descriptor, &paths.lock, APART_BYTE, 1)?;
                if is_mixed {
                    return Ok(Err(Retry::Mixed));
                }
                reopen(&descriptor);
                Ok(Ok(descriptor))
            })?;
            Ok(Self { descriptor, paths })
        }

        /// On a local file system, while no process shares memory.
        pub(super) fn open_apart(
            directory: &Path,
            access: Access,
            patience: Patience,
            why: &AttachError,
            forgo: &mut dyn FnMut(&Paths, Identity) -> Result<(), AttachError>,
        ) -> Result<Self, AttachError> {
            let paths = Paths::of(directory)?;
            let descriptor = retry_attach(&paths, patience, || {
                let descriptor = Descriptor::open(&paths.lock, access)?;
                if !enter(&descriptor, &paths.lock, LockKind::Exclusive)? {
                    return Ok(Err(Retry::Busy));
                }
                if held_elsewhere(&descriptor, &paths.lock, 0, SLOTS)? {
                    return Err(AttachError::Unrecovered { path: paths.hot.clone() });
                }
                if held_elsewhere(&descriptor, &paths.lock, FILE_REGIME_BYTE, 1)? {
                    return Ok(Err(Retry::Mixed));
                }
                if !held_elsewhere(&descriptor, &paths.lock, APART_BYTE, 1)? {
                    forgo(&paths, descriptor.identity)?;
                    descriptor.note(&why.to_string());
                }
                if !join(&descriptor, &paths, APART_BYTE)? {
                    return Ok(Err(Retry::Busy));
                }
                reopen(&descriptor);
                Ok(Ok(descriptor))
            })?;
            Ok(Self { descriptor, paths })
        }

        pub(super) fn try_lock(&self) -> io::Result<bool> {
            let granted = ofd::try_lock(self.descriptor.borrow()?, FILE_LOCK_BYTE, LockKind::Exclusive)?;
            if granted && !self.descriptor.is_ours() {
                return Err(closed());
            }
            Ok(granted)
        }

        pub(super) fn unlock(&self) {
            // Not if the number means another file by now, whose lock this would release.
            if self.descriptor.is_ours() {
                let _ = self.descriptor.borrow().and_then(|fd| ofd::unlock(fd, FILE_LOCK_BYTE));
            }
        }

        pub(super) fn is_open(&self) -> bool {
            self.descriptor.is_ours()
        }

        pub(super) fn check(&self) -> Health {
            check_lock_file(&self.descriptor, &self.paths.lock)
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use crate::lock::health::Health;
    use crate::system::access::Access;
    use crate::system::error::AttachError;
    use std::fs::{File, TryLockError};
    use std::io;
    use std::path::Path;

    /// `flock` and its like belong to the open file, as byte locks do on Linux. Inherited descriptors are not closed in
    /// a forked child here.
    #[derive(Debug)]
    pub(super) struct LockFile(File);

    impl LockFile {
        pub(super) fn open(directory: &Path, _: Access) -> Result<Self, AttachError> {
            let path = directory.join("cache.lock");
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            options.open(&path).map(Self).map_err(|error| AttachError::io("open", &path, error))
        }

        pub(super) fn try_lock(&self) -> io::Result<bool> {
            match self.0.try_lock() {
                Ok(()) => Ok(true),
                Err(TryLockError::WouldBlock) => Ok(false),
                Err(TryLockError::Error(error)) => Err(error),
            }
        }

        pub(super) fn unlock(&self) {
            let _ = self.0.unlock();
        }

        #[expect(clippy::unused_self, reason = "the same face as on Linux")]
        pub(super) fn is_open(&self) -> bool {
            true
        }

        #[expect(clippy::unused_self, reason = "the same face as on Linux")]
        pub(super) fn check(&self) -> Health {
            Health::Sound
        }
    }
}
