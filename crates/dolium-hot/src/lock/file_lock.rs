//! The write lock where shared memory cannot be had: network file systems, and platforms other than Linux.
//!
//! Owns the same contract as [`Shared`](crate::Shared)'s lock, kept by a lock on one byte of `cache.lock` (elsewhere
//! than on Linux, on the whole file). Refuses a directory whose other users have the lock word. The kernel releases a
//! dead owner's lock, so there is nobody to bury; waiters poll.

use crate::lock::guard::{Guard, Release, Which};
use crate::lock::health::Health;
use crate::lock::wait::{Acquired, Slice, wait};
use crate::system::access::Access;
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
    file: platform::LockFile,
    generation: u64,
    local: LocalLock,
}

impl FileLock {
    /// Joins `directory`, which must exist, and makes `cache.lock` there if need be.
    pub fn attach(directory: &Path, access: Access) -> Result<Self, AttachError> {
        let generation = fork::generation();
        Ok(Self(Arc::new(FileMember {
            file: platform::LockFile::open(directory, access)?,
            generation,
            local: LocalLock::new(),
        })))
    }

    /// As [`Lock::acquire`](crate::Lock::acquire).
    pub fn acquire(
        &self,
        patience: Option<Duration>,
        tick: &mut dyn FnMut() -> bool,
    ) -> Result<Guard, LockError> {
        let member = &self.0;
        let mut pause = FIRST_PAUSE;
        let acquired = wait(&member.local, member.generation, patience, tick, |slice| {
            member.attempt(slice, &mut pause)
        })?;
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
        self.0.file.check()
    }
}

impl FileMember {
    fn attempt(&self, slice: Slice, pause: &mut Duration) -> io::Result<Option<Acquired>> {
        loop {
            if self.file.try_lock()? {
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
        self.file.is_open()
    }

    fn release(&self, _: Which) {
        self.file.unlock();
        self.local.unlock();
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use crate::lock::health::{Health, check_lock_file};
    use crate::lock::lockfile::{Again, Paths, enter, held_elsewhere, persist};
    use crate::system::access::Access;
    use crate::system::descriptor::{Descriptor, closed};
    use crate::system::error::AttachError;
    use crate::system::ofd::{self, FILE_LOCK_BYTE, FILE_REGIME_BYTE, Kind, OPEN_BYTE, SLOTS};
    use std::io;
    use std::path::Path;

    #[derive(Debug)]
    pub(super) struct LockFile {
        descriptor: Descriptor,
        paths: Paths,
    }

    impl LockFile {
        pub(super) fn open(directory: &Path, access: Access) -> Result<Self, AttachError> {
            let paths = Paths::of(directory)?;
            let descriptor = persist(&paths, || {
                let descriptor = Descriptor::open(&paths.lock, access)?;
                if !enter(&descriptor, &paths.lock, Kind::Shared)? {
                    return Ok(Err(Again::Busy));
                }
                let lock = |byte| {
                    descriptor
                        .borrow()
                        .and_then(|fd| ofd::try_lock(fd, byte, Kind::Shared))
                        .map_err(|error| AttachError::io("lock", &paths.lock, error))
                };
                // Taken first, then looked; see `attach::join`.
                if !lock(FILE_REGIME_BYTE)? || held_elsewhere(&descriptor, &paths.lock, 0, SLOTS)? {
                    return Ok(Err(Again::Mixed));
                }
                let _ = descriptor.borrow().and_then(|fd| ofd::unlock(fd, OPEN_BYTE));
                Ok(Ok(descriptor))
            })?;
            Ok(Self { descriptor, paths })
        }

        pub(super) fn try_lock(&self) -> io::Result<bool> {
            let granted = ofd::try_lock(self.descriptor.borrow()?, FILE_LOCK_BYTE, Kind::Exclusive)?;
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
