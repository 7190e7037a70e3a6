//! `cache.lock`: its open lock (byte 4,096), and whether other processes hold bytes of it. A note in it says why no memory
//! is shared; nothing else is read from the file or written to it. Waiting has a limit.

use crate::system::descriptor::{Descriptor, Identity, note};
use crate::system::error::AttachError;
use crate::system::ofd::{self, LockKind, OPEN_BYTE};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the open lock may be busy. It is held for well under a millisecond, unless its holder was stopped.
const BUSY: Duration = Duration::from_secs(10);

/// How long a process waits for others that prepare the shared file of a directory.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// As long as it takes without one.
    pub timeout: Option<Duration>,
    /// Called between two tries, with nothing held. `false` ends the wait with [`AttachError::Interrupted`].
    pub tick: fn() -> bool,
}

impl Default for Patience {
    /// Ten seconds, without interruptions.
    fn default() -> Self {
        Self { timeout: Some(BUSY), tick: || true }
    }
}

/// How long to wait for others to notice that the file was deleted: they look every 100 ms.
const NOTICE: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub(crate) struct Paths {
    pub(crate) directory: PathBuf,
    pub(crate) lock: PathBuf,
    pub(crate) hot: PathBuf,
}

impl Paths {
    /// Absolute, so that a `chdir` changes nothing.
    pub(crate) fn of(directory: &Path) -> Result<Self, AttachError> {
        let directory =
            std::path::absolute(directory).map_err(|error| AttachError::io("resolve", directory, error))?;
        Ok(Self { lock: directory.join("cache.lock"), hot: directory.join("cache.hot"), directory })
    }
}

/// Why to try again.
pub(crate) enum Retry {
    Busy,
    InUse,
    Mixed,
}

/// Runs `attempt` until it has a result or its reason to go on has lasted too long. Between attempts nothing is held.
pub(crate) fn retry_attach<T>(
    paths: &Paths,
    patience: Patience,
    mut attempt: impl FnMut() -> Result<Result<T, Retry>, AttachError>,
) -> Result<T, AttachError> {
    let start = Instant::now();
    let mut pause = Pause::new();
    loop {
        let outcome = attempt()?;
        let (limit, error): (_, fn(&Paths) -> AttachError) = match outcome {
            Ok(done) => return Ok(done),
            Err(Retry::Busy) => (patience.timeout, |paths| AttachError::Busy { path: paths.lock.clone() }),
            Err(Retry::InUse) => (Some(NOTICE), |paths| AttachError::InUse { path: paths.hot.clone() }),
            Err(Retry::Mixed) => (Some(NOTICE), |paths| AttachError::Mixed { path: paths.directory.clone() }),
        };
        if limit.is_some_and(|limit| start.elapsed() >= limit) {
            return Err(error(paths));
        }
        if !(patience.tick)() {
            return Err(AttachError::Interrupted { path: paths.lock.clone() });
        }
        pause.sleep();
    }
}

/// Between one and eight milliseconds, differently in every process, so that a crowd spreads out.
struct Pause(u64);

impl Pause {
    fn new() -> Self {
        Self(random() | 1)
    }

    fn sleep(&mut self) {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        std::thread::sleep(Duration::from_micros(1000 + self.0 % 7000));
    }
}

/// Returns why the processes that use a directory share no memory there, if one of them was refused it. Only looks.
#[must_use]
pub fn note_in(directory: &Path) -> Option<String> {
    File::open(directory.join("cache.lock")).ok().and_then(|file| note(&file))
}

/// Takes the open lock of the file that has the name now. Dropping the descriptor gives it back.
pub(crate) fn enter(descriptor: &Descriptor, path: &Path, kind: LockKind) -> Result<bool, AttachError> {
    let granted = descriptor
        .borrow()
        .and_then(|fd| ofd::try_lock(fd, OPEN_BYTE, kind))
        .map_err(|error| AttachError::io("lock", path, error))?;
    // The file may have been deleted between its opening and now.
    let current = Identity::at(path).map_err(|error| AttachError::io("examine", path, error))?;
    Ok(granted && current == Some(descriptor.identity))
}

pub(crate) fn held_elsewhere(
    descriptor: &Descriptor,
    path: &Path,
    first: u32,
    count: u32,
) -> Result<bool, AttachError> {
    descriptor
        .borrow()
        .and_then(|fd| ofd::held_elsewhere(fd, first, count))
        .map_err(|error| AttachError::io("examine the locks of", path, error))
}

/// Gives the open lock back.
pub(crate) fn reopen(descriptor: &Descriptor) {
    let _ = descriptor.borrow().and_then(|fd| ofd::unlock(fd, OPEN_BYTE));
}

pub(crate) fn random() -> u64 {
    let mut bytes = [0; 8];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(8) => u64::from_ne_bytes(bytes),
        // No such call here: the hash maps of the standard library are seeded, too.
        _ => std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), Instant::now()),
    }
}
