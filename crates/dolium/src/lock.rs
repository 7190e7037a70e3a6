//! Owns this process's part in the shared memory of a directory, the writer lock and the hot tier: attaching to
//! it, and anew when the files behind it are gone. Lock and tier themselves are `dolium-hot`'s.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dolium_hot::{Access, AttachError, FileSystem, Health, LockError, Tier};

use crate::error::{Error, Result};
use crate::files;
use crate::gate;
use crate::handle::{Behind, Handle};
use crate::wait::{Deadline, may_continue};

pub(crate) use dolium_hot::Guard;

/// Whether the directory lies on a file system that is not fit for memory shared by processes.
pub(crate) fn is_network(directory: &Path) -> bool {
    // One that could not be made yet will lie where its parent does.
    let there = directory.ancestors().find(|path| files::exists(path)).unwrap_or(directory);
    !matches!(dolium_hot::filesystem(there), Ok((FileSystem::Local, _)))
}

pub(crate) struct WriterLock {
    directory: PathBuf,
    attached: Mutex<Option<Attached>>,
}

#[derive(Clone)]
struct Attached {
    lock: dolium_hot::WriterLock,
    tier: Option<Tier>,
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
        Self { directory: directory.to_path_buf(), attached: Mutex::new(None) }
    }

    /// Waits for the lock until the deadline. Not inside the gate.
    pub fn acquire(&self, handle: &Arc<Handle>, deadline: &mut Deadline) -> Result<Guard> {
        let mut tries = 0;
        loop {
            let Attached { lock, tier } = self.attach(handle)?;
            let error = match lock.acquire(deadline.left(), &mut may_continue) {
                // Whoever replaced the database has told the tier so; its lock is not the one that others use now.
                Ok(_) if tier.is_some_and(|tier| !tier.is_live()) => {
                    String::from("the hot tier was replaced")
                }
                Ok(guard) => return Ok(guard),
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
            if tries > 3 {
                return Err(Error::Lock { directory: self.directory.clone(), detail: error });
            }
        }
    }

    /// The tier, as far as it is known. A tier that may not be used any more is let go of.
    pub fn hot(&self) -> Hot {
        let _pass = gate::enter();
        let mut attached = self.lock();
        match attached.as_ref() {
            None => Hot::Unattached,
            Some(Attached { tier: None, .. }) => Hot::None,
            Some(Attached { tier: Some(tier), .. }) if tier.is_live() => Hot::Tier(tier.clone()),
            Some(_) => {
                *attached = None;
                Hot::Unattached
            }
        }
    }

    /// The tier, from inside the gate. Whoever holds the lock has attached.
    pub fn tier_inside(&self) -> Option<Tier> {
        self.lock().as_ref().and_then(|attached| attached.tier.clone()).filter(Tier::is_live)
    }

    /// Attaches if need be. Not inside the gate: it may wait for other processes.
    pub fn join(&self, handle: &Arc<Handle>) -> Result<Hot> {
        let Attached { tier, .. } = self.attach(handle)?;
        Ok(tier.map_or(Hot::None, Hot::Tier))
    }

    fn attach(&self, handle: &Arc<Handle>) -> Result<Attached> {
        {
            let _pass = gate::enter();
            if let Some(attached) = self.lock().as_ref() {
                return Ok(attached.clone());
            }
        }
        let access = Access::like(&handle.database).unwrap_or_default();
        let attach = |bytes| {
            let mut base = Behind::new(handle);
            let attached = dolium_hot::WriterLock::attach_tier(&self.directory, access, bytes, &mut base);
            attached.map_err(|error| base.take_error().unwrap_or_else(|| self.explain(error)))
        };
        let bytes = handle.hot_size();
        let attached = match attach(bytes) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                files::create_directory(&self.directory)?;
                attach(bytes)
            }
            // The locks need a page, the tier much more.
            Err(Error::Full { .. }) if bytes > 0 => attach(0),
            other => other,
        };
        let lock = attached?;
        let tier = lock.tier();
        let _pass = gate::enter();
        Ok(self.lock().get_or_insert(Attached { lock, tier }).clone())
    }

    /// Ends the membership in good order, once all is drained: `clear` says in the database that there is no tier.
    pub fn leave(&self, clear: impl FnOnce() -> Result<()>) -> Result<()> {
        let attached = {
            let _pass = gate::enter();
            self.lock().take()
        };
        if let Some(Attached { lock, tier }) = attached {
            drop(tier);
            lock.leave(clear)?;
        }
        Ok(())
    }

    fn explain(&self, error: AttachError) -> Error {
        match error {
            AttachError::Io { path, source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => Error::ReadOnly { directory: self.directory.clone() },
                _ => Error::io(path)(source),
            },
            other => Error::Lock { directory: self.directory.clone(), detail: other.to_string() },
        }
    }

    /// Lets go of the lock's files; the next write attaches again.
    pub fn detach(&self) {
        let _pass = gate::enter();
        let attached = self.lock().take();
        drop(attached);
    }

    /// In a forked child: what is attached is the parent's.
    pub fn reset(&self) {
        self.detach();
    }

    /// Notices files that were removed or closed behind our back.
    pub fn look_after(&self) {
        let _pass = gate::enter();
        let mut attached = self.lock();
        if attached.as_ref().is_some_and(|attached| !matches!(attached.lock.check(), Health::Sound)) {
            *attached = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Attached>> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
