//! Owns this process's part in the shared memory of a directory, the writer lock and the hot tier: attaching to
//! it, and anew when the files behind it are gone. Lock and tier themselves are `dolium-hot`'s.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use dolium_hot::{Access, AttachError, FileSystem, Guard, Health, LockError, Patience, Successor, Tier};

use crate::store::{Handle, SqliteBacking};
use crate::system::error::{Error, Result};
use crate::system::files;
use crate::system::fork_gate;
use crate::system::wait::{Deadline, Wait, may_continue};

/// A held writer lock, with the tier that came with it. Its holder answers for that tier, even if other threads let go
/// of theirs meanwhile.
#[must_use = "the lock is released when this is dropped"]
pub(crate) struct Held {
    guard: Guard,
    tier: Option<Tier>,
}

impl Held {
    pub fn tier(&self) -> Option<&Tier> {
        self.tier.as_ref()
    }

    /// The lock alone.
    pub fn into_guard(self) -> Guard {
        self.guard
    }
}

/// Whether the directory lies on a file system that is not fit for memory shared by processes.
pub(crate) fn is_network(directory: &Path) -> bool {
    // One that could not be made yet will lie where its parent does.
    let there = directory.ancestors().find(|path| files::exists(path)).unwrap_or(directory);
    !matches!(dolium_hot::filesystem(there), Ok((FileSystem::Local, _)))
}

/// How long a caller waits at least for a process that prepares a tier. That is short work, and comes once, so that an
/// impatient caller need not hear of it. Only a process that is stopped meanwhile takes longer.
const PREPARED: Duration = Duration::from_secs(1);

/// How long a caller with so much time waits for a process that prepares a tier.
pub(super) fn to_prepare(timeout: Option<Duration>) -> Option<Duration> {
    timeout.map(|timeout| timeout.max(PREPARED))
}

/// How often a caller joins anew what it has to lock. A tier that writers fill may be replaced by a larger one several times
/// in a row, and each time before a caller that stands behind others gets its lock.
const TRIES: u32 = 64;

pub(crate) struct WriterLock {
    directory: PathBuf,
    /// Changed only with `changing` held. Readers may find nothing for a moment while
    /// [`take_unused`](Self::take_unused) looks, so a caller may believe "nothing" only with `changing` held, too.
    attached: ArcSwapOption<Attached>,
    changing: Mutex<()>,
}

#[derive(Clone)]
struct Attached {
    lock: dolium_hot::WriterLock,
    tier: Option<Tier>,
    /// Why the system refused a tier.
    refusal: Option<Arc<str>>,
}

/// What of the shared memory a process has.
pub(crate) enum Hot {
    /// It has not attached yet.
    Unattached,
    /// The directory has no tier.
    None,
    Tier(Tier),
}

impl WriterLock {
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_path_buf(),
            attached: ArcSwapOption::empty(),
            changing: Mutex::default(),
        }
    }

    /// Waits for the lock until the deadline. Not inside the fork gate.
    pub fn acquire(&self, handle: &Arc<Handle>, deadline: &mut Deadline) -> Result<Held> {
        let mut tries = 0;
        loop {
            let Attached { lock, tier, .. } = self.attach(handle, to_prepare(deadline.left()), None)?;
            let error = match lock.acquire(deadline.left(), &mut may_continue) {
                // The process that replaced the database has told the tier so. Other processes now use another lock
                // than the tier's.
                Ok(_) if tier.as_ref().is_some_and(|tier| !tier.is_live()) => {
                    String::from("another process replaced the hot tier; try again")
                }
                Ok(guard) => return Ok(Held { guard, tier }),
                Err(LockError::Timeout) => {
                    return Err(Error::Timeout {
                        directory: self.directory.clone(),
                        waited: deadline.waited(),
                        done: 0,
                    });
                }
                Err(LockError::Interrupted) => return Err(Error::Interrupted),
                // Its files were taken away, or a fork happened while waiting.
                Err(error) => error.to_string(),
            };
            self.detach();
            tries += 1;
            if tries == TRIES {
                return Err(Error::Lock { directory: self.directory.clone(), detail: error });
            }
        }
    }

    /// Shows `f` the tier, if it is at hand: the short way, which neither waits nor writes what other threads write.
    /// Whether it is still in use `f` has to see.
    #[inline]
    pub fn with_tier<T>(&self, f: impl FnOnce(&Tier) -> T) -> Option<T> {
        let attached = self.attached.load();
        attached.as_ref()?.tier.as_ref().filter(|tier| !tier.is_inherited()).map(f)
    }

    /// The tier, as far as it is known. A tier that may not be used any more is let go of.
    pub fn hot(&self) -> Hot {
        let _inside = fork_gate::enter();
        let _changing = self.change();
        match self.attached.load().as_deref() {
            None => Hot::Unattached,
            Some(Attached { tier: None, .. }) => Hot::None,
            Some(Attached { tier: Some(tier), .. }) if tier.is_live() => Hot::Tier(tier.clone()),
            Some(_) => {
                self.attached.store(None);
                Hot::Unattached
            }
        }
    }

    /// Returns the tier, for a caller inside the fork gate.
    pub fn tier_inside(&self) -> Option<Tier> {
        let _changing = self.change();
        self.attached.load().as_ref()?.tier.clone().filter(Tier::is_live)
    }

    /// Attaches if need be. Not inside the fork gate: it may wait for a process that prepares the tier, as long as `timeout`
    /// says.
    pub fn join(&self, handle: &Arc<Handle>, timeout: Option<Duration>) -> Result<Hot> {
        Ok(self.attach(handle, timeout, None)?.tier.map_or(Hot::None, Hot::Tier))
    }

    /// Makes the file of a tier of about `bytes` bytes that may come after this one. Returns `None` where the file system
    /// has no nameless files. It is an error if another process makes one, if the disk refuses it, if the tier ends, and if
    /// another thread wants this one to end.
    pub fn prepare_successor(&self, handle: &Handle, tier: &Tier, bytes: u64) -> Result<Option<Successor>> {
        let mut may_go_on = || tier.is_live() && !handle.is_wanted();
        let made = Successor::prepare(&self.directory, self.access(handle), bytes, &mut may_go_on);
        made.map_err(Error::io(self.directory.join("cache.hot")))
    }

    /// Attaches to the tier that comes after one that has ended.
    pub fn succeed(&self, handle: &Arc<Handle>, successor: Successor, wait: Wait) -> Result<()> {
        // Lets go of the one that has ended.
        let _ = self.hot();
        let timeout = to_prepare(Deadline::new(wait).left());
        self.attach(handle, timeout, Some(successor)).map(drop)
    }

    fn access(&self, handle: &Handle) -> Access {
        let rights = Access::like(&handle.database).or_else(|_| Access::within(&self.directory));
        rights.unwrap_or_default()
    }

    fn attach(
        &self,
        handle: &Arc<Handle>,
        timeout: Option<Duration>,
        mut successor: Option<Successor>,
    ) -> Result<Attached> {
        {
            let _inside = fork_gate::enter();
            let _changing = self.change();
            if let Some(attached) = self.attached.load().as_deref() {
                return Ok(attached.clone());
            }
        }
        let patience = Patience { timeout, tick: may_continue };
        let mut attach = |bytes| {
            let mut backing = SqliteBacking::new(handle);
            let (access, successor) = (self.access(handle), successor.take());
            let attached = dolium_hot::WriterLock::attach_tier(
                &self.directory,
                access,
                patience,
                bytes,
                &mut backing,
                successor,
            );
            attached.map_err(|error| {
                backing.take_error().unwrap_or_else(|| self.explain(handle, patience, error))
            })
        };
        let bytes = handle.hot_size();
        let attached = match attach(bytes) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                handle.make_directory()?;
                attach(bytes)
            }
            other => other,
        };
        let (lock, refusal) = attached?;
        let refusal: Option<Arc<str>> = refusal.map(|refusal| refusal.to_string().into());
        if lock.is_apart() {
            match handle.names_tier() {
                Ok(true) => return Err(self.excluded(refusal.as_deref())),
                Err(error @ (Error::Denied { .. } | Error::Severed { .. })) => return Err(error),
                // It is asked again by what follows, which also repairs what it meets.
                Ok(false) | Err(_) => {}
            }
        }
        let tier = lock.tier();
        let _inside = fork_gate::enter();
        let _changing = self.change();
        if let Some(first) = self.attached.load().as_deref() {
            return Ok(first.clone());
        }
        let attached = Attached { lock, tier, refusal };
        self.attached.store(Some(Arc::new(attached.clone())));
        Ok(attached)
    }

    /// Ends the membership in good order: `clear` says in the database that there is no tier. A membership that another
    /// thread uses stays. Returns `false` if dirty records must be drained before.
    pub fn leave(&self, clear: impl FnOnce(Option<(u64, u64)>) -> Result<bool>) -> Result<bool> {
        let Some(Attached { lock, tier, .. }) = self.take_unused(|tier| !tier.is_dirty()) else {
            return Ok(!self.tier_inside().is_some_and(|tier| tier.is_dirty()));
        };
        drop(tier);
        lock.leave(clear)?;
        Ok(true)
    }

    fn take_unused(&self, accept: impl Fn(&Tier) -> bool) -> Option<Attached> {
        let _inside = fork_gate::enter();
        let _changing = self.change();
        // No thread finds it meanwhile, so that no clone appears after the look. A thread that found it before is
        // counted.
        let attached = self.attached.swap(None)?;
        let is_unused = |attached: &Attached| {
            attached.lock.holders() == 1 + usize::from(attached.tier.is_some())
                && attached.tier.as_ref().is_none_or(&accept)
        };
        match Arc::try_unwrap(attached) {
            Ok(attached) if is_unused(&attached) => return Some(attached),
            Ok(attached) => self.attached.store(Some(Arc::new(attached))),
            Err(attached) => self.attached.store(Some(attached)),
        }
        None
    }

    /// Whether the process does without memory that others here may share.
    pub fn is_apart(&self) -> bool {
        self.attached.load().as_ref().is_some_and(|attached| attached.lock.is_apart())
    }

    /// Whether the lock keeps other processes out, too.
    pub fn is_exclusive(&self) -> bool {
        self.attached.load().as_ref().is_none_or(|attached| attached.lock.is_exclusive())
    }

    /// Why the system refused this process a tier.
    pub fn refusal(&self) -> Option<Arc<str>> {
        self.attached.load().as_ref()?.refusal.clone()
    }

    /// Others have put a tier in front of the database since this process came to do without one. It attaches anew the
    /// next time.
    pub fn exclude(&self) -> Error {
        let refusal = self.refusal();
        self.detach();
        self.excluded(refusal.as_deref())
    }

    fn excluded(&self, refusal: Option<&str>) -> Error {
        let why = refusal.unwrap_or("shared memory is refused");
        Error::Lock {
            directory: self.directory.clone(),
            detail: format!(
                "other processes keep entries in memory that this one cannot share ({why}); allow it to share them, or \
                 store hot_size=0 in the cache and close the cache in all processes"
            ),
        }
    }

    fn explain(&self, handle: &Handle, patience: Patience, error: AttachError) -> Error {
        match error {
            AttachError::Busy { .. } => Error::Timeout {
                directory: self.directory.clone(),
                waited: patience.timeout.unwrap_or(Duration::MAX),
                done: 0,
            },
            AttachError::Interrupted { .. } => Error::Interrupted,
            AttachError::Io { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied && files::is_hidden(&handle.database) =>
            {
                files::denied(&handle.database)
            }
            AttachError::Io { path, source, .. } => Error::io(path)(source),
            other => Error::Lock { directory: self.directory.clone(), detail: other.to_string() },
        }
    }

    /// Lets go of the lock's files, unless another thread uses them; the next write attaches again.
    pub fn detach_unused(&self) {
        drop(self.take_unused(|_| true));
    }

    fn detach(&self) {
        let _inside = fork_gate::enter();
        let _changing = self.change();
        self.attached.store(None);
    }

    /// In a forked child: what is attached is the parent's.
    pub fn reset(&self) {
        self.detach();
    }

    /// What has become of the files behind our back, if any are attached.
    fn health(&self) -> Health {
        self.attached.load().as_ref().map_or(Health::Sound, |attached| attached.lock.check())
    }

    /// Whether files were removed or closed behind our back.
    pub fn is_unhealthy(&self) -> bool {
        !matches!(self.health(), Health::Sound)
    }

    /// Whether the files were removed or replaced, as by a program that removes the directory.
    pub fn is_gone(&self) -> bool {
        matches!(self.health(), Health::LockGone | Health::FileGone)
    }

    /// Gives such files up.
    pub fn detach_unhealthy(&self) {
        let _inside = fork_gate::enter();
        let _changing = self.change();
        if self.is_unhealthy() {
            self.attached.store(None);
        }
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::Cache;

    #[test]
    fn who_holds_the_lock_keeps_the_tier_while_another_thread_closes() {
        let directory = tempfile::tempdir().expect("directory");
        let cache = Cache::open(directory.path()).expect("cache");
        cache.set("a", 1).expect("set");
        let handle = Handle::of(directory.path(), false);
        let held = handle.acquire(&mut Deadline::new(Wait::Forever)).expect("lock");
        std::thread::scope(|scope| scope.spawn(|| cache.close()).join().expect("thread")).expect("close");
        assert!(handle.tier.get().is_some(), "it was taken away");
        // What the housekeeper does where the file is gone.
        handle.tier.lock.detach();
        assert!(held.tier().is_some_and(Tier::is_live), "it does not belong to the lock");
    }
}
