//! Notices that the program closed descriptors that are not its own, as daemons do.
//!
//! SQLite goes on using the numbers of its descriptors, which may mean files of the program by then: it would write into
//! them. So each connection is opened beside a descriptor of ours, the sentinel, and is not used, nor even closed, once
//! the sentinel's number means something else. SQLite also knows each database by its inode, together with the
//! descriptors that its connections share; so a database that lost a connection in this way is not opened again in this
//! process.
//!
//! This sees who closes all descriptors, or all above the first few, not who closes a single one by mistake.

use std::os::fd::{IntoRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use self::mark::Mark;
use crate::system::files::{self, Identity};

/// A descriptor that is told from any other by what it is at.
#[derive(Debug)]
pub(crate) struct Sentinel {
    /// None once it was given up.
    descriptor: Option<OwnedFd>,
    mark: Mark,
}

/// That of the connections which are open now.
static CURRENT: Mutex<Weak<Sentinel>> = Mutex::new(Weak::new());

/// Databases that must not be opened again.
static SEVERED: Mutex<Vec<Identity>> = Mutex::new(Vec::new());
static ANY: AtomicBool = AtomicBool::new(false);

impl Sentinel {
    /// Returns the sentinel for a new connection, or `None` if the system has no descriptor for it: the connection goes
    /// without.
    pub fn current() -> Option<Arc<Self>> {
        let known = lock(&CURRENT).upgrade();
        if let Some(known) = known.filter(|known| known.is_intact()) {
            return Some(known);
        }
        let fresh = Arc::new(Self::new()?);
        *lock(&CURRENT) = Arc::downgrade(&fresh);
        Some(fresh)
    }

    fn new() -> Option<Self> {
        let (descriptor, mark) = mark::make()?;
        Some(Self { descriptor: Some(descriptor), mark })
    }

    /// Whether its number still means it. One system call.
    pub fn is_intact(&self) -> bool {
        self.descriptor.as_ref().and_then(mark::of) == Some(self.mark)
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        if !self.is_intact() {
            // The number is the program's now, if it is anything.
            let _ = self.descriptor.take().map(IntoRawFd::into_raw_fd);
        }
    }
}

/// An empty file in memory whose offset is a random number. Asking for the offset costs less than half of an `fstat`.
#[cfg(target_os = "linux")]
mod mark {
    use std::os::fd::OwnedFd;

    use rustix::fs::{MemfdFlags, SeekFrom, memfd_create, seek};

    pub(super) type Mark = u64;

    pub(super) fn make() -> Option<(OwnedFd, Mark)> {
        let descriptor = memfd_create("dolium", MemfdFlags::CLOEXEC).ok()?;
        let mut random = [0; 8];
        getrandom::fill(&mut random).ok()?;
        // Far behind the end of any file, and within the largest offset.
        let mark = u64::from_ne_bytes(random) >> 2 | 1 << 60;
        seek(&descriptor, SeekFrom::Start(mark)).ok()?;
        Some((descriptor, mark))
    }

    pub(super) fn of(descriptor: &OwnedFd) -> Option<Mark> {
        seek(descriptor, SeekFrom::Current(0)).ok()
    }
}

/// The directory for temporary files, by its device and inode.
#[cfg(not(target_os = "linux"))]
mod mark {
    use std::os::fd::OwnedFd;

    use rustix::fs::{Mode, OFlags, fstat, open};

    pub(super) type Mark = (u64, u64);

    pub(super) fn make() -> Option<(OwnedFd, Mark)> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = open(std::env::temp_dir(), flags, Mode::empty()).ok()?;
        let mark = of(&descriptor)?;
        Some((descriptor, mark))
    }

    pub(super) fn of(descriptor: &OwnedFd) -> Option<Mark> {
        let found = fstat(descriptor).ok()?;
        Some((found.st_dev as u64, found.st_ino))
    }
}

/// Returns whether something is open beside a sentinel that was closed. The caller must give it up before it opens
/// anything.
pub(crate) fn is_broken() -> bool {
    lock(&CURRENT).upgrade().is_some_and(|known| !known.is_intact())
}

/// A connection to this database is lost.
pub(crate) fn sever(database: &Path) {
    lock(&SEVERED).extend(files::identity(database));
    ANY.store(true, Ordering::Release);
}

/// Whether a connection to this database was lost. One load as long as there is none.
pub(crate) fn is_severed(database: &Path) -> bool {
    ANY.load(Ordering::Acquire)
        && files::identity(database).is_some_and(|database| lock(&SEVERED).contains(&database))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
